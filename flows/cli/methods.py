"""`xmodal methods`: every method, its parameters and its paper."""

from dataclasses import MISSING, fields
from typing import Annotated, Any

import typer

from flows.cli.output import JsonOption, print_json, show


def methods(
    family: Annotated[str | None, typer.Argument(help="Only this family.")] = None,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes that ship instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the methods a recipe can name, from the code itself."""
    from flows.recipes import shipped
    from schemas.errors import RecipeError
    from tasks.assessors import ASSESSORS
    from tasks.bridges import BRIDGES
    from tasks.captioners import CAPTIONERS
    from tasks.codes import CODERS
    from tasks.diagnostics import DIAGNOSTICS
    from tasks.dividers import DIVIDERS
    from tasks.encoders import ENCODERS
    from tasks.exports import EXPORTERS
    from tasks.filters import FILTERS
    from tasks.fusion import FUSIONS
    from tasks.heads import HEADS
    from tasks.injectors import INJECTORS
    from tasks.late import LATE_SCORERS
    from tasks.losses import LOSSES
    from tasks.metrics import METRICS
    from tasks.miners import MINERS
    from tasks.negatives import REWRITERS
    from tasks.noise import NOISE_SCORERS
    from tasks.repairs import REPAIRS
    from tasks.rerankers import RERANKERS
    from tasks.similarities import SIMILARITIES
    from tasks.soft_labels import SOFT_LABELS
    from tasks.sources import SOURCES

    if recipes:
        found = {name: str(path) for name, path in shipped().items()}
        if as_json:
            print_json(found)
        else:
            show("", ("recipe", "file"), list(found.items()))
        return
    families: dict[str, dict[str, Any]] = {
        "assessors": ASSESSORS,
        "bridges": BRIDGES,
        "captioners": CAPTIONERS,
        "codes": CODERS,
        "diagnostics": DIAGNOSTICS,
        "dividers": DIVIDERS,
        "encoders": ENCODERS,
        "exports": EXPORTERS,
        "filters": FILTERS,
        "fusion": FUSIONS,
        "heads": HEADS,
        "injectors": INJECTORS,
        "late": LATE_SCORERS,
        "losses": LOSSES,
        "metrics": METRICS,
        "miners": MINERS,
        "negatives": REWRITERS,
        "noise": NOISE_SCORERS,
        "repairs": REPAIRS,
        "rerankers": RERANKERS,
        "similarities": SIMILARITIES,
        "soft-labels": SOFT_LABELS,
        "sources": SOURCES,
    }
    if family is not None and family not in families:
        raise RecipeError(f"no family is called {family!r}; known: {', '.join(families)}")
    rows = [
        {
            "family": name,
            "method": method.name,
            "about": (method.__doc__ or "").strip().splitlines()[0],
            "parameters": {f.name: None if f.default is MISSING else f.default for f in fields(method)},
            "source": method.source.cite(),
            "departs": method.source.departs,
        }
        for name, listed in families.items()
        if family in (None, name)
        for method in listed.values()
    ]
    if as_json:
        print_json(rows)
        return
    show(
        "",
        ("family", "method", "about", "parameters", "source"),
        [
            (
                r["family"],
                r["method"],
                r["about"],
                ", ".join(f"{k}={v}" for k, v in r["parameters"].items()),
                r["source"],
            )
            for r in rows
        ],
    )
