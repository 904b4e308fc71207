"""What a consumer of an export has to know: what is in it, what was left out and why, whose it is.

Follows the questions of Gebru et al. 2021, "Datasheets for Datasets" (https://arxiv.org/abs/1803.09010) that the tables can
answer; motivation, consent and intended use are the owner's to add.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from schemas.tables import DECISIONS, DIVISIONS, MEDIA, PAIRS, QUARANTINE, SOURCES, TEXTS, VERDICTS
from storage.lake import Lake
from storage.places import Place
from storage.scratch import scratch
from storage.selection import Selection
from storage.staging import Staging
from storage.workbench import Workbench, workbench

# Title: what is counted, and among which rows.
IN_IT = {
    "Media by type": ("coalesce(media_type, 'unknown')", "media"),
    "Media by licence": ("coalesce(licence, 'not stated')", "media"),
    "Texts by origin": ("origin", "texts"),
    "Texts by role": ("role", "chosen WHERE text_id IS NOT NULL"),
    "Texts by language": ("language", "texts"),
}
LEFT_OUT = {
    "Inputs, by what became of them": ("outcome", "base_sources"),
    "Inputs refused (quarantine), by reason": ("reason", "base_quarantine WHERE active"),
    "Media dropped, by the first rule": ("dropped_by", "base_media WHERE present AND kept IS false"),
    "Texts dropped, by the first rule": ("dropped_by", "base_texts WHERE present AND kept IS false"),
    "Pairs dropped, by the first rule": ("dropped_by", "base_pairs WHERE present AND kept IS false"),
    "Statements of people": ("verdict || ' ' || subject", "base_verdicts WHERE active"),
}
COUNT = "SELECT {}, count(*) FROM {} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50"
STUDY = """
SELECT scorer, divider, separable, noise_rate, noise_rate_low, noise_rate_high, pairs, clean, disputed, noisy
FROM base_divisions WHERE active
"""


def datasheet(
    lake: Lake, selection: Selection, manifest: Mapping[str, Any], missing: Sequence[Mapping[str, str]]
) -> str:
    """Return the sheet as Markdown."""
    with scratch("sheet") as folder:
        staging = Staging(Place(folder), "sheet")
        with workbench(lake, lake.snapshot(selection.snapshot_id), staging) as bench:
            bench.add_base(DECISIONS, DIVISIONS, MEDIA, PAIRS, QUARANTINE, SOURCES, TEXTS, VERDICTS)
            bench.offer("chosen", lambda: selection.rows)
            bench.execute("CREATE TEMP VIEW media AS SELECT * FROM chosen WHERE rank = 1")
            bench.execute(
                "CREATE TEMP VIEW texts AS SELECT DISTINCT ON (text_id) * FROM chosen WHERE text_id IS NOT NULL"
            )
            return "\n".join(
                [*_head(bench, selection, manifest, missing), *_counts(bench), *_study(bench), ""]
            )


def licences(rows: pa.Table) -> str:
    """Return a CSV of licence, credit and how many media have them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["licence", "credit", "media"])
    with duckdb.connect() as con:
        con.register("rows", rows.select(["licence", "credit", "rank"]))
        found = con.execute(
            "SELECT licence, credit, count(*) FROM rows WHERE rank = 1 GROUP BY ALL ORDER BY 3 DESC, 1, 2"
        ).fetchall()
    writer.writerows([("" if value is None else value for value in row) for row in found])
    return out.getvalue()


def _head(
    bench: Workbench, selection: Selection, manifest: Mapping[str, Any], missing: Sequence[Mapping[str, str]]
) -> list[str]:
    media, texts, kept = (
        int(bench.rows(sql)[0][0])
        for sql in (
            "SELECT count(*) FROM media",
            "SELECT count(*) FROM texts",
            "SELECT count(*) FROM base_media WHERE present AND kept IS NOT false",
        )
    )
    lines = [
        "# Datasheet",
        "",
        f"Snapshot `{selection.snapshot_id}` (content digest `{selection.digest}`), as {manifest['format']['name']}, "
        f"media: {manifest['media']}. Written by Xmodal {manifest['code_version']}.",
        "",
        f"* {media:,} media chosen, of {kept:,} that the snapshot keeps; {manifest['rows']:,} are in the files.",
        f"* {texts:,} distinct texts, ranked for the use `{selection.use}`.",
    ]
    if selection.where:
        lines += ["", "Chosen by:", "", "```sql", selection.where.replace("```", "` ` `"), "```"]
    if missing:
        reasons: dict[str, int] = {}
        for one in missing:
            reasons[one["reason"]] = reasons.get(one["reason"], 0) + 1
        lines += _table("Chosen, but their bytes could not be had (missing.jsonl)", sorted(reasons.items()))
    return lines


def _counts(bench: Workbench) -> list[str]:
    lines = ["", "## What is in it"]
    for title, counted in IN_IT.items():
        lines += _table(title, bench.rows(COUNT.format(*counted)))
    lines += [
        "",
        "## What the snapshot left out, and why",
        "",
        "Nothing is deleted: every row below can still be looked at and restored.",
    ]
    for title, counted in LEFT_OUT.items():
        lines += _table(title, bench.rows(COUNT.format(*counted)))
    return lines


def _study(bench: Workbench) -> list[str]:
    found = bench.rows(STUDY)
    if not found:
        return ["", "Whether texts describe their media was not studied."]
    scorer, divider, separable, rate, low, high, pairs, clean, disputed, noisy = found[0]
    noise = (
        "could not be estimated" if rate is None else f"{rate:.1%} (95 % interval {low:.1%} to {high:.1%})"
    )
    return [
        "",
        "## Do texts describe their media?",
        "",
        f"Studied by `{scorer}` and `{divider}` over {pairs:,} pairs: {clean:,} clean, {disputed:,} disputed, {noisy:,} noisy. "
        f"Estimated share of wrong pairs before filtering: {noise}."
        + ("" if separable else " Clean and wrong pairs could not be told apart, so none was dropped for it."),
    ]  # fmt: skip


def _table(title: str, rows: Sequence[tuple[Any, ...]]) -> list[str]:
    if not rows:
        return []
    cells = [f"| {_cell(name)} | {count:,} |" for name, count in rows]
    return ["", f"### {title}", "", "| | count |", "|---|---|", *cells]


def _cell(value: object) -> str:
    """Return a value that cannot break the table, nor be markup."""
    text = " ".join(str(value).split())[:200]
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text
