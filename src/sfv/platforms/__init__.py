"""Files as messengers take them: their limits in one table, a search for the best file under them, and a check."""
