"""Faults of the web site that sources are downloaded from."""

from random import Random

from chaos.faults.base import Fault
from chaos.target import Target


class SourceUnavailable(Fault):
    """The site answers 503 to every request for a while."""

    name = "source_unavailable"
    hold_s = (10, 40)

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        target.sources.unavailable.set()

    def recover(self, target: Target) -> None:
        target.sources.unavailable.clear()
