"""What can go wrong, each with the exit code that the command ends with."""

from typing import ClassVar


class IdrlError(Exception):
    """The message is a sentence for people that says what to do."""

    exit_code: ClassVar[int] = 1


class TaskFailed(IdrlError):
    """A task ended without its clips."""

    exit_code = 1


class WrongUsage(IdrlError):
    """The command does not have such an option or argument."""

    exit_code = 2


class NotLoggedIn(IdrlError):
    """There is no key, or the system refuses it."""

    exit_code = 3


class NotFound(IdrlError):
    """The account has no such thing."""

    exit_code = 4


class Unreachable(IdrlError):
    """No system answers at the address, or not now."""

    exit_code = 5


class Refused(IdrlError):
    """The system does not accept the call; `code` is the one of its problem document."""

    exit_code = 6

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class LocalFault(IdrlError):
    """A file or folder of this machine cannot be used, or what arrived was damaged."""

    exit_code = 7
