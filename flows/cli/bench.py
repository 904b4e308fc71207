"""`xmodal bench`: measure methods where the truth is known."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import JsonOption, print_json, progress, say

if TYPE_CHECKING:
    from tasks.bench import Report

app = typer.Typer(help="Measure methods where the truth is known.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `correspondence` a command of its own while it is the only one."""


@app.command("correspondence")
def correspondence(
    lake: Annotated[str, typer.Option(help="Where corpora and numbers are kept.")] = "bench-lake",
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes instead of an hour: one corpus, two rates, two seeds.")
    ] = False,
    corpus: Annotated[list[str] | None, typer.Option(help="Only these corpora.")] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Only these shares of mismatched units.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs per point.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for figures and report.md.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Plant mismatches in real corpora; measure how well they are found, and what mending them gives back."""
    from flows.bench import bench_correspondence
    from schemas.errors import RecipeError
    from tasks.bench import CORPORA, Plan
    from tasks.bench_report import markdown

    plan = Plan.quick() if quick else Plan()
    changed: dict[str, object] = {}
    if corpus:
        if strangers := sorted(set(corpus) - CORPORA.keys()):
            raise RecipeError(f"the bench knows no corpus {strangers[0]!r}; it knows {', '.join(CORPORA)}")
        changed["corpora"] = tuple(corpus)
    if rate:
        if not all(0 <= one < 1 for one in rate):
            raise RecipeError(
                f"a rate is a share of units from 0 to under 1; found {', '.join(map(str, rate))}"
            )
        changed["rates"] = tuple(sorted({0.0, *rate} if quick else set(rate)))
    if seeds:
        changed["seeds"] = seeds
    plan = replace(plan, **changed)  # type: ignore[arg-type]
    with progress(quiet=as_json):
        report = bench_correspondence(plan, lake, out)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.md").write_text(markdown(report, plan), encoding="utf-8")
    if as_json:
        print_json(_plain(report))
        return
    say(markdown(report, plan))


def _plain(report: "Report") -> list[dict[str, object]]:
    return [
        {
            "corpus": corpus,
            "protocol": protocol,
            "rate": rate,
            "subject": subject,
            "metric": metric,
            "values": values,
        }
        for ((corpus, protocol, rate), subject, metric), values in report.values.items()
    ]


__all__ = ["app"]
