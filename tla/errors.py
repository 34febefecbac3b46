"""The one exception that speaks to the user."""


class UserError(Exception):
    """A mistake the user can mend: says what was got, what is possible, and what to do.

    Commands print the message and exit with 2. Anything else that escapes a command is a bug.
    """
