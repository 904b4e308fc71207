"""One page about a snapshot, for whoever is to use it: self-contained, nothing loaded from elsewhere, all text escaped."""

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from schemas.tables import DECISIONS, DIVISIONS, MEDIA, METRICS, PAIRS, QUARANTINE, SOURCES, TEXTS, VERDICTS
from storage import history
from storage import quality as log
from storage.history import Described
from storage.lake import Lake
from storage.places import Place
from storage.quoting import literal, literals
from storage.scratch import scratch
from storage.staging import Staging
from storage.versions import Snapshot
from storage.workbench import Workbench, workbench
from tasks.datasheet import COUNT, IN_IT, LEFT_OUT, STUDY

PICTURES = 24  # of the sample
TEXTS_EACH = 3  # of a picture of the sample
LISTED = 20  # lines of a list whose length the corpus decides

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
:root {{ color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }} body {{ margin: 24px auto; max-width: 1100px;
padding: 0 16px }} table {{ border-collapse: collapse; margin: 8px 0 }} td, th {{ text-align: left; padding: 2px 16px 2px 0;
vertical-align: top; overflow-wrap: anywhere }} td.n {{ text-align: right; font-variant-numeric: tabular-nums }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 16px; margin: 12px 0 }}
figure {{ margin: 0; overflow-wrap: anywhere }} img {{ width: 100%; height: 130px; object-fit: contain; background: #fff }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: #8881; padding: 12px }} small {{ opacity: .75 }}
.failed, .raised {{ color: #c22; font-weight: 600 }} .skipped {{ opacity: .7 }}
</style><h1>{title}</h1><p>{about}</p>{sections}</html>
"""
# What the datasheet of an export counts over: here everything that is kept.
_VIEWS = (
    "CREATE TEMP VIEW media AS SELECT * FROM base_media WHERE present AND kept IS NOT false",
    "CREATE TEMP VIEW chosen AS SELECT p.*, t.text, t.language, t.origin FROM base_pairs p "
    "JOIN base_texts t USING (text_id) WHERE p.present AND p.kept IS NOT false",
    "CREATE TEMP VIEW texts AS SELECT DISTINCT ON (text_id) * FROM chosen ORDER BY text_id",
)
_SOURCES = """
SELECT source, count(*) FILTER (present), count(*) FILTER (outcome = 'kept'), count(*) FILTER (outcome = 'merged'),
       count(*) FILTER (outcome = 'filtered'), count(*) FILTER (outcome = 'quarantined')
FROM base_sources GROUP BY 1 ORDER BY 1
"""
_BALANCE = {
    "Kept media by folder": "SELECT text, count(DISTINCT media_id) FROM chosen WHERE role = 'folder' GROUP BY 1",
    "Kept media by credit": "SELECT coalesce(credit, 'not stated'), count(*) FROM media GROUP BY 1",
    "Kept pairs by role and language": "SELECT role || ', ' || language, count(*) FROM chosen GROUP BY 1",
    "Kept media by shape": "SELECT CASE WHEN width_px IS NULL THEN 'no picture' WHEN width_px > 1.2 * height_px THEN 'wide' "
    "WHEN height_px > 1.2 * width_px THEN 'tall' ELSE 'square' END, count(*) FROM media GROUP BY 1",
    "Kept texts a kept medium": "SELECT n || ' texts', count(*) FROM "
    "(SELECT count(p.pair_id) AS n FROM media m LEFT JOIN chosen p USING (media_id) GROUP BY m.media_id) GROUP BY 1",
}
_SAMPLE = f"""
SELECT m.media_id, m.uri, m.licence, m.credit, s.texts FROM (
  SELECT media_id, uri, licence, credit FROM media ORDER BY md5(media_id), 1 LIMIT {PICTURES}
) m LEFT JOIN (
  SELECT media_id, list(role || ': ' || text ORDER BY role, text_id)[:{TEXTS_EACH}] AS texts FROM chosen GROUP BY 1
) s USING (media_id) ORDER BY md5(m.media_id), 1
"""


def report(lake: Lake, ref: str) -> str:
    """Return the page about a snapshot.

    Args:
        lake: The lake.
        ref: Snapshot id, tag or digest.

    Raises:
        NoSuchSnapshot: Nothing has this name.
        LakeError: The snapshot's data has been let go.
    """
    snapshot = lake.snapshot(ref)
    history.check_readable(lake, snapshot)
    described = history.describe(lake, snapshot.snapshot_id)
    runs = history.led_by(lake, snapshot)
    with scratch("report") as folder:
        staging = Staging(Place(folder), "report")
        with workbench(lake, snapshot, staging) as bench:
            bench.add_base(DECISIONS, DIVISIONS, MEDIA, PAIRS, QUARANTINE, SOURCES, TEXTS, VERDICTS)
            for view in _VIEWS:
                bench.execute(view)
            sections = [
                _head(described),
                _of_sources(bench, described),
                _counted(bench, "Licences", {"Media by licence": COUNT.format(*IN_IT["Media by licence"])}),
                _steps(runs),
                _counted(bench, "What is in it", _counts(IN_IT)),
                _counted(bench, "What was left out, and why", _counts(LEFT_OUT)),
                _study(bench),
                _quality(lake, snapshot),
                _sample(lake, snapshot, bench),
                _counted(bench, "Balance", _listed(_BALANCE)),
                _bias(lake, snapshot),
                _again(described, runs),
            ]
    title = f"{ref}: {snapshot.snapshot_id}" if ref != snapshot.snapshot_id else ref
    about = f"Committed {snapshot.created_at:%Y-%m-%d %H:%M} UTC, content digest {snapshot.digest}."
    return _PAGE.format(title=_safe(title), about=_safe(about), sections="".join(sections))


def _counts(counted: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {title: COUNT.format(*what) for title, what in counted.items()}


def _listed(queries: Mapping[str, str]) -> dict[str, str]:
    return {title: f"{sql} ORDER BY 2 DESC, 1 LIMIT {LISTED}" for title, sql in queries.items()}


def _head(described: Described) -> str:
    version = described.version
    rows = [
        (fact.table, f"{fact.rows:,}", "" if fact.kept is None else f"{fact.kept:,}")
        for fact in described.tables
    ]
    facts = [
        ("tags", ", ".join(version.tags) or "none"), ("made by", version.flow),
        ("after", version.snapshot.parent_id or "nothing: the first"), ("since the one before", version.changed),
    ]  # fmt: skip
    return _section("Snapshot", _table(("", ""), facts), _table(("table", "rows", "kept"), rows))


def _of_sources(bench: Workbench, described: Described) -> str:
    recipe = described.recipes.get("curate") or {}
    known = {each["name"]: each for each in recipe.get("sources", ())}
    rows = [
        (name, known.get(name, {}).get("kind", ""), known.get(name, {}).get("location", ""), *counts)
        for name, *counts in bench.rows(_SOURCES)
    ]
    columns = ("source", "kind", "location", "items", "kept", "merged", "filtered", "quarantined")
    return _section("Sources", _table(columns, rows))


def _steps(runs: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for flow, run in runs.items():
        rows = [
            (step, name, f"{n:,}")
            for step, counts in (run["counts"] or {}).items()
            for name, n in counts.items()
            if n
        ]
        parts.append(
            f"<h3>{_safe(flow)}, run {_safe(run['run_id'])}</h3>{_table(('step', 'what', 'count'), rows)}"
        )
    note = "<p>Counts of the last run of each flow that led to the snapshot, in the order of its steps.</p>"
    return _section("What happened at each step", note, *parts)


def _counted(bench: Workbench, title: str, queries: Mapping[str, str]) -> str:
    parts = []
    for name, sql in queries.items():
        rows = [(what, f"{count:,}") for what, count in bench.rows(sql)]
        if rows:
            parts.append(f"<h3>{_safe(name)}</h3>{_table(('', 'count'), rows)}")
    return _section(title, *(parts or ["<p>Nothing.</p>"]))


def _study(bench: Workbench) -> str:
    found = bench.rows(STUDY)
    title = "Do texts describe their media?"
    if not found:
        return _section(title, "<p>It was not studied: the recipe has no <code>correspondence</code>.</p>")
    parts = []
    for scorer, divider, separable, rate, low, high, pairs, clean, disputed, noisy in found:
        noise = "could not be told" if rate is None else f"{rate:.1%}, 95 % interval {low:.1%} to {high:.1%}"
        facts = [
            ("share of wrong pairs before filtering", noise), ("studied by", f"{scorer}, {divider}"),
            ("pairs", f"{pairs:,}"), ("clean", f"{clean:,}"), ("disputed", f"{disputed:,}"), ("noisy", f"{noisy:,}"),
            ("clean and wrong pairs can be told apart", "yes" if separable else "no: none was dropped for it"),
        ]  # fmt: skip
        parts.append(_table(("", ""), facts))
    return _section(title, *parts)


def _quality(lake: Lake, snapshot: Snapshot) -> str:
    rows = log.results(lake, snapshot.snapshot_id)
    if not rows:
        return _section("Quality", "<p>It was not checked: <code>xmodal quality run</code> does.</p>")
    bad = log.blocking(rows)
    verdict = f"{len(bad)} critical expectations fail." if bad else "No critical expectation fails."
    against = rows[0]["against"] or "no snapshot"
    lines = "".join(
        f'<tr class="{_safe(row["status"])}"><td>{_safe(row["status"])}<td>{_safe(row["severity"])}<td>{_safe(row["table"])}'
        f"<td>{_safe(row['name'])}<td>{_safe(_number(row['observed']))}<td>{_safe(row['threshold'])}<td>{_safe(row['reason'])}"
        for row in sorted(rows, key=lambda row: (row["status"] not in log.BAD, row["status"] == "skipped"))
    )
    head = "<tr><th>status<th>severity<th>table<th>expectation<th>observed<th>threshold<th>found"
    note = f"<p>{_safe(verdict)} Checked {rows[0]['checked_at']:%Y-%m-%d %H:%M} UTC; drift against {_safe(against)}.</p>"
    return _section("Quality", note, f"<table>{head}{lines}</table>")


def _sample(lake: Lake, snapshot: Snapshot, bench: Workbench) -> str:
    rows = bench.rows(_SAMPLE)
    listed = literals(str(row[0]) for row in rows)
    pictures: dict[str, bytes | None] = {}
    if rows:
        found = lake.dataset("media", snapshot).to_table(
            columns=["media_id", "thumbnail"], filter=f"media_id IN ({listed})"
        )
        pictures = {row["media_id"]: row["thumbnail"] for row in found.to_pylist()}
    figures = "".join(
        _figure(
            pictures.get(media_id), media_id, [*(texts or ()), *(part for part in (licence, credit) if part)]
        )
        for media_id, _, licence, credit, texts in rows
    )
    note = f"<p>{len(rows)} kept media, drawn by a hash of their ids, with up to {TEXTS_EACH} kept texts each.</p>"
    return _section("Sample", note, f"<main>{figures}</main>")


def _figure(thumbnail: bytes | None, media_id: str, said: Iterable[str]) -> str:
    source = base64.b64encode(thumbnail).decode() if thumbnail else ""
    picture = f'<img alt="" src="data:image/webp;base64,{source}">' if source else "<p>no picture</p>"
    lines = "".join(f"<br>{_safe(each[:300])}" for each in said)
    return f"<figure>{picture}<figcaption><small>{_safe(media_id[:12])}</small>{lines}</figcaption></figure>"


def _bias(lake: Lake, snapshot: Snapshot) -> str:
    rows = lake.read(METRICS.name, where=f"data = {literal(snapshot.digest)} AND bench = 'bias'").to_pylist()
    if not rows:
        what = "Whether a search favours texts the platform wrote was not measured: <code>xmodal bench bias</code> does."
        return _section("Bias", f"<p>{what}</p>")
    last = max(row["measured_at"] for row in rows)
    lines = [(r["subject"], r["metric"], _number(r["value"])) for r in rows if r["measured_at"] == last]
    return _section("Bias", _table(("", "metric", "value"), sorted(lines)))


def _again(described: Described, runs: Mapping[str, Mapping[str, Any]]) -> str:
    snapshot, parts = described.version.snapshot, []
    for flow, recipe in described.recipes.items():
        text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
        version = runs[flow]["code_version"]
        parts.append(f"<h3>{_safe(flow)}, code {_safe(version)}</h3><pre>{_safe(text, lines=True)}</pre>")
    how = (
        "With these recipes, this code and the same inputs, <code>xmodal curate recipe.yaml</code> ends in a snapshot with the "
        f"digest <code>{_safe(snapshot.digest)}</code>, on any machine. The digest leaves out vectors, thumbnails and the "
        "values of scores, which may differ in their last bits."
    )
    encoders = [
        json.dumps(each, sort_keys=True, default=str)
        for run in runs.values()
        for each in run["encoders"] or ()
    ]
    listed = "".join(f"<li><code>{_safe(each)}</code>" for each in dict.fromkeys(encoders))
    return _section("How to make it again", f"<p>{how}</p><ul>{listed}</ul>", *parts)


def _section(title: str, *parts: str) -> str:
    return f"<h2>{_safe(title)}</h2>{''.join(parts)}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{_safe(column)}" for column in columns) if any(columns) else ""
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    is_number = text.replace(",", "").isdigit()
    return f'<td class="n">{_safe(text)}' if is_number else f"<td>{_safe(text)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _safe(text: object, *, lines: bool = False) -> str:
    """Return a text that can be no markup and drive no terminal."""
    kept = "".join(char if char.isprintable() or (lines and char == "\n") else " " for char in str(text))
    return html.escape(kept)


__all__ = ["report"]
