"""The plots: PNG files that docs/performance.md shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Points = Sequence[tuple[float, float]]


def bars(folder: Path, name: str, title: str, unit: str, values: Mapping[str, float]) -> Path:
    """Draw one horizontal bar for each value, with its number."""
    figure, axes = _figure(title, height=1.2 + 0.4 * len(values))
    drawn = axes.barh(list(values), list(values.values()), color="tab:blue")
    axes.bar_label(drawn, fmt="%.4g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    return _save(figure, folder / f"{name}.png")


def lines(
    folder: Path,
    name: str,
    title: str,
    axes_names: tuple[str, str],
    curves: Mapping[str, Points],
    scale: str = "",
) -> Path:
    """Draw a curve through each list of points; `scale` is the logarithmic axes: x, y or xy."""
    figure, axes = _figure(title)
    for label, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    return _finish(figure, axes, folder / f"{name}.png", axes_names, scale)


def scatter(
    folder: Path,
    name: str,
    title: str,
    axes_names: tuple[str, str],
    groups: Mapping[str, Mapping[str, tuple[float, float]]],
    scale: str = "",
) -> Path:
    """Draw a labelled point for each value, one colour for each group."""
    figure, axes = _figure(title)
    for group, points in groups.items():
        axes.scatter(*zip(*points.values(), strict=True), s=18, label=group)
        for label, place in points.items():
            axes.annotate(label, place, fontsize=6, xytext=(3, 3), textcoords="offset points")
    return _finish(figure, axes, folder / f"{name}.png", axes_names, scale)


def _figure(title: str, height: float = 4.5) -> tuple[Any, Any]:
    # Imported late: it starts threads, and measured work runs in forked children.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(alpha=0.3)
    return figure, axes


def _finish(figure: Any, axes: Any, path: Path, axes_names: tuple[str, str], scale: str) -> Path:  # noqa: ANN401 # untyped library
    axes.set_xlabel(axes_names[0])
    axes.set_ylabel(axes_names[1])
    axes.set(**{f"{axis}scale": "log" for axis in scale})
    axes.legend()
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:  # noqa: ANN401 # untyped library
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date or version inside, the same figures give the same file.
    figure.savefig(path, dpi=100, metadata={"Software": None})
    return path
