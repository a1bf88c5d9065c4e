"""The one error a user is meant to read. Floor 0: knows nothing."""


class SfvError(Exception):
    """Bad input: one sentence naming the file or field, the cause and the cure."""
