"""The bench's numbers as tables a person reads: means with their spread over seeds."""

from collections.abc import Iterable, Sequence

import numpy as np

from tasks.bench import Plan, Point, Report
from tasks.shards.correspondence import REMEDY


def markdown(report: Report, plan: Plan) -> str:
    """Return the report in Markdown: detection, division, downstream recall, and what is larger than seed noise."""
    parts = [
        _detection(report),
        _division(report),
        _downstream(report, plan),
        _compared(report),
        _weights(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _detection(report: Report) -> str:
    subjects = report.subjects("auroc")
    rows = [
        [_named(point), *(_spread(report.of(point, subject, "auroc"), 3) for subject in subjects)]
        for point in report.points
        if any(report.of(point, subject, "auroc") for subject in subjects)
    ]
    return _section("AUROC of true over wrong pairs", ["", *subjects], rows)


def _division(report: Report) -> str:
    columns = {
        "separable": "separable",
        "noise_rate": "estimated noise",
        "noise_rate_error": "off by",
        "kept_precision": "kept: precision",
        "kept_recall": "kept: recall",
        "found_precision": "found: precision",
        "found_recall": "found: recall",
        "ece": "ECE",
        "brier": "Brier",
    }
    rows = [
        [_named(point), *(_spread(report.of(point, "consensus", metric), 2) for metric in columns)]
        for point in report.points
    ]
    return _section("The consensus divided at P(true) = 0.5", ["", *columns.values()], rows)


def _downstream(report: Report, plan: Plan) -> str:
    rows = []
    for point in report.points:
        recovered = report.recovered(point)
        cells = [_spread(report.of(point, f"arm: {arm}", "r10"), 1) for arm in plan.arms]
        rows.append([_named(point), *cells, "" if recovered is None else f"{recovered:.0%}"])
    return _section(
        "R@10 of a head trained after each remedy, both directions, per cent, on clean test pairs",
        ["", *plan.arms, f"{REMEDY}: gap recovered"],
        rows,
    )


def _compared(report: Report) -> str:
    others = list(dict.fromkeys(other for _, other in report.compared))
    rows = []
    for point in report.points:
        cells = []
        for other in others:
            one = report.compared.get((point, other))
            if one is None:
                cells.append("")
                continue
            sure = "**" if one.verdict == "larger than seed noise" else ""
            cells.append(f"{sure}{one.difference:+.1f}{sure} [{one.low:+.1f}, {one.high:+.1f}]")
        if any(cells):
            rows.append([_named(point), *cells])
    title = f"R@10 of `{REMEDY}` less that of each other arm: mean, 95 % interval; bold is larger than seed noise (Holm)"
    return _section(title, ["", *others], rows)


def _weights(report: Report) -> str:
    members = [subject for subject in report.subjects("weight")]
    rows = [
        [_named(point), *(_spread(report.of(point, member, "weight"), 2) for member in members)]
        for point in report.points
    ]
    return _section(
        "What each scorer counts in the consensus",
        ["", *(m.removeprefix("consensus: ") for m in members)],
        rows,
    )


def _named(point: Point) -> str:
    corpus, protocol, rate = point
    return f"{corpus}, {protocol}, {100 * rate:.0f} %"


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    head = [f"### {title}", "", f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    return "\n".join([*head, *lines])
