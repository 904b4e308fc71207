"""Figures of noisy correspondence: a score's histogram with its division, and recall recovered as noise grows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.dividers.contract import Division

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_PX, HEIGHT_PX, DPI = 900, 560, 100
BINS = 40
# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/: told apart with every common colour blindness.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#6B6B6B"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES = ("-", "--", "-.", ":")


def score_histogram(
    scores: NDArray[np.floating],
    division: Division,
    path: Path | None = None,
    *,
    truth: NDArray[np.bool_] | None = None,
    mismatched: NDArray[np.floating] | None = None,
    title: str = "Score per pair",
) -> "Figure":
    """Draw the scores, the two components the division sees in them, and its estimate of the noise.

    The clean component is the histogram weighted by P(clean), the noisy one that weighted by 1 - P(clean); they
    add up to the histogram, so they show any divider, whatever it fits.

    Args:
        scores: (N,) score per pair.
        division: What a divider made of them.
        path: Where to write a PNG of 900 x 560 px; None: nowhere.
        truth: (N,) whether the pair is true, where that is known: then the two kinds are drawn apart.
        mismatched: (M,) scores of pairs known to be wrong; drawn scaled to the estimated noise, or to all pairs
            where there is no estimate.
        title: Above the figure.

    Raises:
        DataError: There are no scores, or one is not finite.
        ValueError: Shapes differ.
    """
    if scores.shape != division.clean.shape or (truth is not None and truth.shape != scores.shape):
        shapes = [scores.shape, division.clean.shape, *([] if truth is None else [truth.shape])]
        raise ValueError(f"scores, division and truth must be of one shape, found {shapes}")
    shown = scores if mismatched is None else np.concatenate([scores, mismatched])
    if len(scores) == 0 or not np.isfinite(shown).all():
        raise DataError(
            f"{len(scores)} scores, {int((~np.isfinite(shown)).sum())} not finite: nothing to draw"
        )

    figure, axes = _canvas(title)
    low, high = float(shown.min()), float(shown.max())
    pad = 0.5 * (low == high)  # a histogram of one value still needs a width
    edges = np.linspace(low - pad, high + pad, BINS + 1)
    if truth is None:
        axes.hist(scores, edges.tolist(), color=GREY, alpha=0.35, label="pairs")
    else:
        axes.hist(
            [scores[truth], scores[~truth]],
            edges.tolist(),
            stacked=True,
            color=[SKY, ORANGE],
            alpha=0.6,
            label=[f"true ({int(truth.sum()):,})", f"wrong ({int((~truth).sum()):,})"],
        )
    for weight, colour, dash, label in (
        (division.clean, BLUE, "-", "clean component"),
        (1 - division.clean, VERMILION, "--", "noisy component"),
    ):
        axes.stairs(
            np.histogram(scores, edges, weights=weight)[0],
            edges,
            color=colour,
            linestyle=dash,
            linewidth=2.2,
            label=label,
        )
    if mismatched is not None and len(mismatched):
        share = 1.0 if division.noise_rate is None else division.noise_rate
        scale = np.full(len(mismatched), share * len(scores) / len(mismatched))
        axes.stairs(
            np.histogram(mismatched, edges, weights=scale)[0],
            edges,
            color=BLACK,
            linestyle=":",
            linewidth=2.2,
            label="mismatched on purpose",
        )
    axes.set_xlabel("score (higher: likelier true)")
    axes.set_ylabel("pairs")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_title(_estimate(division, truth), loc="left", fontsize=12, color=GREY)
    axes.legend(frameon=False, fontsize=12)
    return _written(figure, path)


def recovery_curves(
    rows: Sequence[Mapping[str, Any]],
    path: Path | None = None,
    *,
    value: str = "r10",
    label: str = "R@10 (%)",
    title: str = "Recall under noise, by remedy",
) -> "Figure":
    """Draw recall by noise rate, a line per remedy: the mean over seeds, and one standard deviation about it.

    Args:
        rows: One a run: `remedy`, `rate` in [0, 1], and the value.
        path: Where to write a PNG of 900 x 560 px; None: nowhere.
        value: Key of the value.
        label: What the value is, with its unit.
        title: Above the figure.

    Raises:
        DataError: There are no rows, one lacks a key, or a value is not finite.
    """
    runs: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(rows):
        if missing := [key for key in ("remedy", "rate", value) if key not in row]:
            raise DataError(f"row {number} has no {missing[0]!r}; it has {', '.join(map(str, row))}")
        if not np.isfinite([row["rate"], row[value]]).all():
            raise DataError(f"row {number} has rate {row['rate']} and {value} {row[value]}; run it again")
        runs[str(row["remedy"])][float(row["rate"])].append(float(row[value]))
    if not runs:
        raise DataError("there are no rows: nothing to draw")

    figure, axes = _canvas(title)
    for number, (remedy, by_rate) in enumerate(runs.items()):
        rates = sorted(by_rate)
        means = np.array([np.mean(by_rate[rate]) for rate in rates])
        spread = np.array([np.std(by_rate[rate], ddof=1) if len(by_rate[rate]) > 1 else 0 for rate in rates])
        colour = PALETTE[number % len(PALETTE)]
        x = 100 * np.array(rates)
        axes.plot(
            x,
            means,
            color=colour,
            marker=MARKERS[number % len(MARKERS)],
            linestyle=DASHES[number // len(PALETTE) % len(DASHES)],
            linewidth=2,
            markersize=7,
            label=remedy,
        )
        axes.fill_between(x, means - spread, means + spread, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("mismatched training pairs (%)")
    axes.set_ylabel(label)
    axes.set_xticks(sorted({100 * rate for by_rate in runs.values() for rate in by_rate}))
    axes.set_ylim(bottom=0)
    seeds = [len(values) for by_rate in runs.values() for values in by_rate.values()]
    counted = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    axes.set_title(
        f"mean and standard deviation of {counted} runs a point", loc="left", fontsize=12, color=GREY
    )
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    figure.legend(loc="outside right upper", frameon=False, fontsize=12)
    return _written(figure, path)


def save_png(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, the same bytes for the same figure. Return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
    return path


def _canvas(title: str) -> "tuple[Figure, Axes]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it would hold every figure, and look for a screen.
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.02, ha="left", fontsize=15)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=12)
    axes.xaxis.label.set_fontsize(13)
    axes.yaxis.label.set_fontsize(13)
    return figure, axes


def _estimate(division: Division, truth: NDArray[np.bool_] | None) -> str:
    if division.noise_rate is None:
        said = "estimated noise: cannot tell"
    else:
        said = f"estimated noise {100 * division.noise_rate:.0f} %"
        if division.low is not None and division.high is not None:
            said += f" (95 %: {100 * division.low:.0f} to {100 * division.high:.0f})"
    if truth is not None:
        said += f", true noise {100 * float((~truth).mean()):.0f} %"
    return said if division.separable else f"{said}; not separable, nothing should be dropped"


def _written(figure: "Figure", path: Path | None) -> "Figure":
    if path is not None:
        save_png(figure, path)
    return figure
