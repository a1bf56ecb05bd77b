"""The reference for quality and size: x264 medium crf 23, typed by hand.

It is what a MoviePy user asks for. MoviePy's own clips are no reference for quality: its frames may
be shifted, and it stores colours by BT.601 without a tag that says so, which costs VMAF where
colours are strong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.implementations import by_hand
from bench.paired import Sample, ratio_of
from bench.report import Comparison
from worker_server.media import PartEdit, Profile

REFERENCE = "medium crf 23 by hand"
_PRESET, _CRF = "medium", 23
_VMAF = ("vmaf_mean", "vmaf_low")


@dataclass(frozen=True)
class Goal:
    """What a setting has to reach on every source."""

    max_bytes: float  # for one byte of the reference's
    min_vmaf_margin: float  # points above the reference's, for mean and 1st percentile
    min_speed: float  # MoviePy's time by its defaults, for one second of ours


GOALS = {"fast": Goal(1.8, -0.5, 8), "balanced": Goal(1.25, -0.5, 6), "small": Goal(0.95, 0.0, 2)}


def by_reference_encode(edit: PartEdit, output: Path) -> None:
    """Make the part with the reference encode's settings; x264 chooses the number of threads."""
    by_hand(replace(edit, profile=Profile(_PRESET, _CRF, threads=0)), output)


def size_ratio(sample: Sample, reference: Sample) -> float:
    return sample["size_bytes"] / reference["size_bytes"]


def vmaf_margins(sample: Sample, reference: Sample) -> tuple[float, float]:
    """Return how far the mean and the 1 % low lie above the reference's."""
    mean, low = (sample[name] - reference[name] for name in _VMAF)
    return mean, low


def goals_reached(samples: Mapping[str, tuple[Sample, Sample]]) -> list[str]:
    """Return the goals a setting reaches on all sources: its samples and the reference's."""
    return [
        name
        for name, goal in GOALS.items()
        if all(
            size_ratio(*pair) <= goal.max_bytes and min(vmaf_margins(*pair)) >= goal.min_vmaf_margin
            for pair in samples.values()
        )
    ]


def comparisons(
    source: str, name: str, sample: Sample, reference: Sample, level: str = "balanced"
) -> list[Comparison]:
    """Return size and quality of one source and the reference encode, with the goals of a level."""
    goal = GOALS[level]
    size = ratio_of([sample["size_bytes"]], [reference["size_bytes"]])
    margins = zip(("VMAF", "VMAF 1 % low"), vmaf_margins(sample, reference), strict=True)
    return [
        Comparison(f"{source}: bytes, {name} / {REFERENCE}", size, at_most=goal.max_bytes),
        *(
            Comparison(
                f"{source}: {measure}, {name} - {REFERENCE}",
                ratio_of([margin], [1.0]),
                at_least=goal.min_vmaf_margin,
            )
            for measure, margin in margins
        ),
    ]
