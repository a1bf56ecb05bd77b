"""The list of comparisons: each is a module of this package with a function `run`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench import sources
from bench.report import PLOTS, RESULTS, Report

# In the order in which they run.
NAMES = (
    "render",
    "copying",
    "profile",
    "job",
    "part",
    "share",
    "memory",
    "latency",
    "scale",
    "waiting",
    "api",
    "zip",
    "rows",
    "sandbox",
    "faults",
)


@dataclass(frozen=True)
class Options:
    """The command line's options."""

    video: Path | None = None  # instead of the sources that ffmpeg makes
    rounds: int = 3  # runs of each method
    quick: bool = False  # tiny sources: shows that everything runs; the figures mean nothing

    @property
    def results(self) -> Path:
        """Where the figures go; meaningless ones are kept apart."""
        return sources.CACHE / "quick" if self.quick else RESULTS

    def videos(self) -> dict[str, Path]:
        """Return the sources by name; those that do not exist yet are made now."""
        if self.video:
            return {self.video.name: self.video}
        if self.quick:
            return {"quick": sources.make(sources.QUICK)}
        as_from_a_camera = {name: sources.make(sources.hd(name)) for name in sources.PICTURES}
        footage = {name: sources.make(sources.footage(name)) for name in sources.FOOTAGE}
        return {"delivered": sources.make(sources.delivered()), **as_from_a_camera, **footage}

    @property
    def plots(self) -> Path:
        return sources.CACHE / "quick" if self.quick or self.video else PLOTS


def benchmark(name: str) -> Callable[[Options], Report]:
    """Return the `run` of a benchmark, whose module is imported only when it is chosen."""
    run: Callable[[Options], Report] = import_module(f"bench.{name}").run
    return run
