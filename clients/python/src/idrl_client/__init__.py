"""A typed client of the idrl API; `python -m idrl_client` is the command `idrl`."""

from idrl_client.client import Client
from idrl_client.errors import (
    IdrlError,
    LocalFault,
    NotFound,
    NotLoggedIn,
    Refused,
    TaskFailed,
    Unreachable,
)

__all__ = [
    "Client",
    "IdrlError",
    "LocalFault",
    "NotFound",
    "NotLoggedIn",
    "Refused",
    "TaskFailed",
    "Unreachable",
]
