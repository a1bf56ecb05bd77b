"""A typed client of the idrl API; `python -m idrl_client` is the command `idrl`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    """Import a name when it is used: the command must be able to catch an interrupt meanwhile."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module("idrl_client.client" if name == "Client" else "idrl_client.errors")
    return getattr(module, name)
