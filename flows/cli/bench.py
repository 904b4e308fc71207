"""`xmodal bench`: measure methods where the truth is known."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows import ephemeral
from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, progress, say, show

if TYPE_CHECKING:
    from tasks.bench import Report

app = typer.Typer(help="Measure methods where the truth is known.", no_args_is_help=True)


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
    ephemeral.ahead()
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


@app.command("bias")
def bias(
    lake: LakeOption = None,
    at: AtOption = None,
    encoder: Annotated[
        str | None, typer.Option(help="Whose vectors; the table with most by default.")
    ] = None,
    role: Annotated[list[str] | None, typer.Option(help="Roles of the human texts.")] = None,
    generator: Annotated[str | None, typer.Option(help="Only texts of this captioner.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Does a search favour the texts the platform wrote over human ones of the same media? Before and after the remedy."""
    from dataclasses import asdict

    from storage import lake as lakes
    from tasks.bias import measure, record

    opened = lakes.open(lake_uri(lake))
    report = measure(
        opened, at=at, encoder=encoder, roles=tuple(role or ("caption", "title")), generator=generator
    )
    record(opened, report)
    if as_json:
        print_json(asdict(report))
        return
    say(
        f"{report.media} media of {report.snapshot.snapshot_id} with a human and a generated text, {report.encoder}."
    )
    say("Relative difference in per cent, 95 % interval; negative: generated texts are favoured.")
    rows = [
        (name, *(f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" for value, (low, high) in (
            (report.before.delta[name], report.before.interval[name]),
            (report.after.delta[name], report.after.interval[name]),
        )), "{:+.1f} to {:+.1f}".format(*report.before.control[name]))
        for name in report.before.delta
    ]  # fmt: skip
    show("", ("metric", "before", "after", "sources named at random"), rows)
    found = [
        (name, f"{report.before.found[name]:.1f}", f"{value:.1f}")
        for name, value in report.after.found.items()
    ]
    show("Either text found, per cent", ("metric", "before", "after"), found)
    low, high = report.difference.null
    say(
        f"Differences of sources: mean cosine {report.difference.cosine:.3f}; with signs at random {low:.3f} to {high:.3f}."
    )


@app.command("retrieval")
def retrieval(
    lake: LakeOption = None,
    at: AtOption = None,
    encoder: Annotated[
        str | None, typer.Option(help="Whose vectors; the table with most by default.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Texts, and media, to ask with.")] = 500,
    role: Annotated[list[str] | None, typer.Option(help="Only texts of these roles.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Ask texts for their media and media for their texts, every way the snapshot can be searched, and time it."""
    from dataclasses import asdict

    from storage import lake as lakes
    from tasks.bench_retrieval import measure, record

    opened = lakes.open(lake_uri(lake))
    report = measure(opened, at=at, encoder=encoder, queries=queries, roles=tuple(role or ()), seed=seed)
    record(opened, report, seed=seed)
    if as_json:
        print_json(asdict(report) | {"rsum": report.rsum})
        return
    say(f"{report.queries} queries a direction in {report.snapshot.snapshot_id}, {report.encoder}; per cent.")
    names = ("R@1", "R@5", "R@10", "share@10", "MRR", "MAP", "nDCG@10")
    rows = [
        (row.way, row.direction, *(f"{100 * row.mean[name]:.1f}" for name in names), f"{row.median_rank:g}",
         f"{row.p50_ms:.1f}", f"{row.p95_ms:.1f}")
        for row in report.rows
        if not row.skipped
    ]  # fmt: skip
    show("", ("", "", *names, "median rank", "p50 ms", "p95 ms"), rows)
    show("rsum, of 600", ("", ""), [(way, f"{value:.1f}") for way, value in report.rsum.items()])
    for way in dict.fromkeys((row.way, row.skipped) for row in report.rows if row.skipped):
        say(escape(f"{way[0]} was not measured: {way[1]}"))


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
