"""Precision, recall and size of the context as the threshold falls, drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import DataError
from tasks.figures import DASHES, DPI, HEIGHT_PX, PALETTE, WIDTH_PX, save_png
from tasks.rerankers.cut import CutCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cut_figure(
    curves: Mapping[str, CutCurve], path: Path | None = None, *, title: str = "Where to cut"
) -> "Figure":
    """Draw, for each way to score, precision over recall, and both over how many candidates are kept.

    Args:
        curves: By what they are called.
        path: Where to write a PNG of 900 x 560 px; None: nowhere.
        title: Above the figure.

    Raises:
        DataError: There are no curves.
    """
    if not curves:
        raise DataError("there are no curves: nothing to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it would hold every figure, and look for a screen.
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.02, ha="left", fontsize=15)
    left, right = figure.subplots(1, 2)
    for number, (name, curve) in enumerate(curves.items()):
        look = {
            "color": PALETTE[number % len(PALETTE)],
            "linestyle": DASHES[number % len(DASHES)],
            "linewidth": 2,
        }
        left.plot(100 * curve.recall, 100 * curve.precision, label=name, **look)
        right.plot(curve.size, 100 * curve.precision, **look)
    left.set_xlabel("recall (%)", fontsize=13)
    left.set_ylabel("precision (%)", fontsize=13)
    right.set_xlabel("kept a query", fontsize=13)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#DDDDDD", linewidth=0.8)
        axes.set_ylim(0, 100 * max(float(np.max(curve.precision)) for curve in curves.values()) + 2)
        axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    if path is not None:
        save_png(figure, path)
    return figure
