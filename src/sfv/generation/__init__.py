"""A still becomes a moving picture: fit, condition, sample, finish. Knows no file and no flag."""
