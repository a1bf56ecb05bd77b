"""What a kind of fault is: it is injected, held for a while, and recovered."""

from abc import ABC, abstractmethod
from random import Random

from chaos.target import Target


class NotInjected(Exception):
    """The fault could not be injected just now, for example since its process does not run."""


class Fault(ABC):
    """One kind of fault. `hold_s` is for how long it lasts: least and most."""

    name: str
    hold_s: tuple[float, float] = (0, 0)

    def unavailable(self, target: Target) -> str | None:  # noqa: ARG002 # for those that are not always
        """Return why this machine cannot have the fault, None where it can."""
        return None

    @abstractmethod
    def inject(self, target: Target, random: Random) -> None:
        """Break something; raise NotInjected where there is nothing to break."""

    def recover(self, target: Target) -> None:  # noqa: B027 # the system recovers from most faults
        """Repair what the system does not. Called also when `inject` failed half-way."""
