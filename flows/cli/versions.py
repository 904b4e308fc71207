"""`xmodal versions`: what the lake held and holds; two versions side by side and why; which ones may go."""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, printable, say, show

if TYPE_CHECKING:
    from storage.difference import Difference, Row, TableDifference
    from storage.retention import Plan

app = typer.Typer(
    help="Versions of the lake: list, look, compare and say why, tag, restore, let old ones go.",
    no_args_is_help=True,
)

Ref = Annotated[str, typer.Argument(metavar="REF", help="Snapshot id, tag or digest.")]

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
:root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif }} body {{ margin: 24px }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: 2px 16px 2px 0; vertical-align: top;
overflow-wrap: anywhere }} td.n {{ text-align: right }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 16px; margin: 12px 0 }}
figure {{ margin: 0; border-top: 3px solid #8884; padding-top: 4px; overflow-wrap: anywhere }}
figure.added {{ border-color: #2a9d4a }} figure.removed {{ border-color: #d33 }} figure.changed {{ border-color: #d90 }}
img {{ width: 100%; height: 160px; object-fit: contain; background: #fff }} small {{ opacity: .75 }} del {{ opacity: .7 }}
</style><h1>{title}</h1><p>{about}</p>{settings}{tables}</html>
"""


@app.command("list")
def list_versions(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """List every version: tags, counts, what changed since the one before, and whether its data is still there."""
    from storage import history
    from storage import lake as lakes

    found = history.versions(lakes.open(lake_uri(lake)))
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"{lake_uri(lake)} is empty: run `xmodal demo` or `xmodal curate RECIPE`.")
        return
    rows = [
        (v.snapshot.snapshot_id, f"{v.snapshot.created_at:%Y-%m-%d %H:%M:%S}", ", ".join(v.tags), v.flow,
         v.snapshot.row_counts.get("media", 0), v.snapshot.row_counts.get("texts", 0),
         v.snapshot.row_counts.get("pairs", 0), v.changed, history.SAID[v.data])
        for v in found
    ]  # fmt: skip
    columns = (
        "version",
        "committed (UTC)",
        "tags",
        "made by",
        "media",
        "texts",
        "pairs",
        "since the one before",
        "data",
    )
    show("", columns, rows)


@app.command("show")
def show_version(ref: Ref, lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Say all that is on record of a version: tables, recipe, run, costs."""
    from storage import history
    from storage import lake as lakes

    found = history.describe(lakes.open(lake_uri(lake)), ref)
    if as_json:
        print_json(found)
        return
    version, snapshot = found.version, found.version.snapshot
    facts = [
        ("version", snapshot.snapshot_id), ("after", snapshot.parent_id or "none: the first"),
        ("committed (UTC)", f"{snapshot.created_at:%Y-%m-%d %H:%M:%S}"), ("tags", ", ".join(version.tags) or "none"),
        ("since the one before", version.changed), ("data", history.SAID[version.data]), ("digest", snapshot.digest),
        ("made by", version.flow), ("run", snapshot.run_id),
    ]  # fmt: skip
    if found.run is not None:
        run = found.run
        facts += [
            ("recipe", run["recipe"]), ("recipe digest", run["recipe_digest"]), ("code", run["code_version"]),
            ("read", run["read_snapshot"] or "nothing"),
            ("took", f"{(run['finished_at'] - run['started_at']).total_seconds():.0f} s"),
        ]  # fmt: skip
    show("", ("", ""), facts)
    rows = [
        (
            t.table,
            t.rows,
            "" if t.kept is None else t.kept,
            t.version,
            t.digest[:12],
            "" if t.readable else "gone",
        )
        for t in found.tables
    ]
    show("Tables", ("table", "rows", "kept", "version", "digest", ""), rows)
    for flow, recipe in found.recipes.items():
        show(
            f"Recipe in force: {flow}",
            ("", ""),
            [(name, _short(value)) for name, value in (recipe or {}).items()],
        )
    if found.run is not None:
        costs = [
            (
                c["step"],
                c["items"],
                f"{c['wall_s']:.1f}",
                f"{c['cpu_s']:.1f}",
                f"{c['gpu_s']:.1f}",
                c["written_bytes"],
            )
            for c in found.run["costs"] or []
            if c["wall_s"] >= 0.05
        ]
        show("Costs", ("step", "items", "wall s", "CPU s", "GPU s", "bytes written"), costs)
        if per := found.run["cost_per_1000_kept"]:
            say(
                f"per 1,000 kept: {per['wall_s']:.1f} s wall, {per['cpu_s']:.1f} s CPU, {per['gpu_s']:.1f} s GPU"
            )


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="Snapshot id, tag or digest.")],
    after: Annotated[str, typer.Argument(help="Snapshot id, tag or digest.")],
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None,
    tables: Annotated[
        list[str] | None, typer.Option("--table", help="Only this table; may be given again.")
    ] = None,
    lake: LakeOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Sample rows of a table.")] = 5,
    page: Annotated[
        Path | None, typer.Option("--html", help="Write a page with thumbnails here.", dir_okay=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions and say why: counts by table, column and cause, and sample rows.

    A cause is the rule and its threshold, the person, the captioner and its version, the scorer, or the input behind a
    row. Rows that left their source or are no longer active count as removed.
    """
    from storage import difference as differences
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    wanted = [*([table] if table else []), *(tables or [])]
    found = differences.difference(opened, before, after, tables=wanted or None, limit=limit)
    if page is not None:
        page.write_text(diff_page(found, differences.thumbnails(opened, found)), encoding="utf-8")
    if as_json:
        print_json(_as_json(found))
        return
    if found.settings:
        rows = [
            (s.name, "" if s.before is None else s.before, "" if s.after is None else s.after)
            for s in found.settings
        ]
        show("Settings", ("setting", before, after), rows)
    differing = {name: t for name, t in found.tables.items() if t.added or t.removed or t.changed}
    counts = [(name, t.added, t.removed, t.changed, _columns(t)) for name, t in differing.items()]
    show(
        f"{found.before.snapshot_id} -> {found.after.snapshot_id}",
        ("table", "added", "removed", "changed", "columns"),
        counts,
    )
    for name, each in differing.items():
        show(f"Why: {name}", ("rows", "cause"), [(cause.rows, cause.said) for cause in each.causes])
        if each.rows:
            lines = [
                (row.change, row.key[:16], row.about[:60], _values(row)[:80], row.cause) for row in each.rows
            ]
            show("", ("change", "row", "about", "before -> after", "cause"), lines)
    if not differing:
        say("no row differs")
    if page is not None:
        say(f"page: {page}")


@app.command()
def tag(
    name: Annotated[str, typer.Argument(help="The tag.")],
    ref: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="Where it shall point; left out: where does it?")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tag.")] = False,
    lake: LakeOption = None,
) -> None:
    """Point a tag at a version, say where it points, or remove it. A tagged version's data is never let go."""
    from schemas.errors import DataError, NoSuchSnapshot
    from storage import history
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    if remove and ref is not None:
        raise DataError(f"--remove takes the tag alone, found {ref!r} too; leave one of them out")
    if remove or ref is not None:
        history.tag(opened, name, ref)
    if remove:
        say(f"{_plain(name)} is removed")
        return
    tags = opened.tags()
    if name not in tags:
        raise NoSuchSnapshot(f"there is no tag {name!r}; there are {', '.join(tags) or 'none'}")
    say(f"{_plain(name)} -> {tags[name]}")


@app.command()
def restore(ref: Ref, lake: LakeOption = None) -> None:
    """Make an earlier version the newest again, as a new version. Nothing in between is lost; tags stay."""
    from storage import history
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    head, again = opened.head(), history.restore(opened, ref)
    if head is not None and again.versions == head.versions:
        say(f"{head.snapshot_id} already holds what {_plain(ref)} holds")
        return
    say(f"{again.snapshot_id} now holds what {_plain(ref)} held (digest {again.digest[:12]})")


@app.command()
def gc(
    keep: Annotated[
        int, typer.Option(min=1, help="Newest versions to keep whole, beside the tagged ones.")
    ] = 10,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go; so it is without --yes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the data of old versions go. Says first which, what protects the others, and how many bytes come free.

    The newest and tagged versions always stay. What goes stays on record, but can no longer be read.
    """
    from schemas.errors import DataError
    from storage import lake as lakes
    from storage import retention

    if yes and dry_run:
        raise DataError("--yes does it and --dry-run does not; give one of them")
    opened = lakes.open(lake_uri(lake))
    if not yes:
        planned = retention.plan(opened, keep=keep)
        if as_json:
            print_json({"plan": _plan_json(planned), "done": None})
            return
        _show_plan(planned)
        say("nothing was done; --yes does it")
        return
    if not as_json:
        _show_plan(retention.plan(opened, keep=keep))
    done = retention.let_go(opened, keep=keep)
    if as_json:
        said = {"let_go": done.let_go, "spared": done.spared, "freed_bytes": done.freed_bytes}
        print_json({"plan": _plan_json(done.plan), "done": said})
        return
    say(f"{len(done.let_go)} versions let go, {done.freed_bytes:,} bytes freed")
    if done.spared:
        say(f"tagged meanwhile, and kept: {', '.join(done.spared)}")


def diff_page(found: "Difference", thumbnails: Mapping[str, bytes]) -> str:
    """Return a page that shows a difference, with pictures. Nothing is loaded from elsewhere; all text is escaped."""
    sections = []
    for name, table in found.tables.items():
        if not (table.added or table.removed or table.changed):
            continue
        causes = "".join(f'<tr><td class="n">{cause.rows}<td>{_safe(cause.said)}' for cause in table.causes)
        figures = "".join(_figure(row, thumbnails.get(row.media_id)) for row in table.rows)
        counts = f"{table.added} added, {table.removed} removed, {table.changed} changed"
        columns = f"<p>columns: {_safe(_columns(table))}</p>" if table.columns else ""
        sections.append(
            f"<h2>{_safe(name)}: {counts}</h2>{columns}<table><tr><th>rows<th>cause{causes}</table><main>{figures}</main>"
        )
    settings = "".join(
        f"<tr><td>{_safe(s.name)}<td>{_safe(s.before or '')}<td>{_safe(s.after or '')}"
        for s in found.settings
    )
    old, new = found.before, found.after
    about = f"committed {old.created_at:%Y-%m-%d %H:%M} and {new.created_at:%Y-%m-%d %H:%M} UTC"
    return _PAGE.format(
        title=_safe(f"{old.snapshot_id} → {new.snapshot_id}"),
        about=_safe(about),
        settings=f"<h2>Settings</h2><table><tr><th>setting<th>before<th>after{settings}</table>"
        if settings
        else "",
        tables="".join(sections) or "<p>No row differs.</p>",
    )


def _figure(row: "Row", thumbnail: bytes | None) -> str:
    picture = (
        f'<img alt="" src="data:image/webp;base64,{base64.b64encode(thumbnail).decode()}">'
        if thumbnail
        else ""
    )
    values = "".join(
        f"<br><small>{_safe(column)}: <del>{_safe(_short(row.before.get(column)))}</del> "
        f"{_safe(_short(row.after.get(column)))}</small>"
        for column in row.columns
    )
    return (
        f'<figure class="{_safe(row.change)}">{picture}<figcaption>{_safe(row.about or row.key[:16])}'
        f"<br><small>{_safe(row.change)}; {_safe(row.cause)}</small>{values}</figcaption></figure>"
    )


def _show_plan(planned: "Plan") -> None:
    rows = [
        (g.snapshot_id, f"{g.created_at:%Y-%m-%d %H:%M:%S}", g.run_id, f"{g.own_bytes:,}")
        for g in planned.let_go
    ]
    show("Would go", ("version", "committed (UTC)", "run", "bytes of its own"), rows)
    show("Stays", ("version", "protected by"), [(p.snapshot_id, ", ".join(p.by)) for p in planned.protected])
    show(
        "Bytes that come free",
        ("table", "bytes"),
        [(table, f"{size:,}") for table, size in planned.bytes_of.items()],
    )
    about = "" if planned.exact else "at least "
    say(
        f"{len(planned.let_go)} versions would go; {about}{planned.freed_bytes:,} bytes come free, "
        f"{planned.unnamed_bytes:,} of them of no version on record"
    )


def _plan_json(planned: "Plan") -> dict[str, Any]:
    return vars(planned) | {"freed_bytes": planned.freed_bytes}


def _as_json(found: "Difference") -> dict[str, Any]:
    tables = {
        name: vars(table) | {"causes": [vars(cause) | {"said": cause.said} for cause in table.causes]}
        for name, table in found.tables.items()
    }
    return vars(found) | {"tables": tables}


def _columns(table: "TableDifference") -> str:
    return ", ".join(f"{name} {n}" for name, n in table.columns.items())


def _values(row: "Row") -> str:
    return "; ".join(
        f"{name} {_short(row.before.get(name))} -> {_short(row.after.get(name))}" for name in row.columns
    )


def _short(value: object) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= 200 else f"{said[:197]}..."


def _safe(text: str) -> str:
    return html.escape(printable(text))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))
