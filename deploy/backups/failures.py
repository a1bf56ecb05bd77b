"""The one failure of both commands."""


class Failed(Exception):
    """The command ends without a result; `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
