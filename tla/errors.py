"""The exceptions whose message is for the user."""


class UserError(Exception):
    """A mistake the user can mend: its message holds what was got, what is possible, and what to do.

    Commands print the message and exit with its status. Anything else that escapes a command is a bug.
    """

    status = 2


class RunsFailed(UserError):
    """Some runs of a study could not be trained, whatever the reason; the others are finished and kept."""

    status = 1


class Damaged(UserError):
    """A file is not what was written there: which one and how, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what

    def __str__(self) -> str:
        return "; ".join(self.args)
