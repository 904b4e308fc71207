"""`xmodal tables`, `snapshots`, `tag`, `restore`, `diff`: what the lake holds and held."""

from typing import Annotated

import typer

from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, say, show


def tables(
    table: Annotated[str | None, typer.Argument(help="Show a table's columns and first rows.")] = None,
    lake: LakeOption = None,
    at: AtOption = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows to show of a table.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """List the tables of a snapshot, or look into one."""
    from schemas.tables import LOGS
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    if table is None:
        counts = opened.tables(at)
        if as_json:
            print_json(counts)
        else:
            show("", ("table", "rows"), sorted(counts.items()))
        return
    if table in LOGS:
        found = opened.read(table).slice(0, rows)
    else:
        names = [
            f.name
            for f in opened.dataset(table, at).schema
            if f.name not in ("thumbnail", "vector", "row_digest")
        ]
        found = opened.dataset(table, at).to_table(columns=names, limit=rows)
    if as_json:
        print_json(found.to_pylist())
        return
    show(table, ("column", "type"), [(field.name, field.type) for field in found.schema])
    for row in found.to_pylist():
        show(
            "",
            ("column", "value"),
            [(name, str(value)[:120]) for name, value in row.items() if value is not None],
        )


def snapshots(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """List the lake's snapshots and tags, oldest first."""
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    found, tags = opened.snapshots(), opened.tags()
    if as_json:
        print_json({"snapshots": found, "tags": tags})
        return
    rows = [
        (s.snapshot_id, f"{s.created_at:%Y-%m-%d %H:%M:%S}", ", ".join(t for t, to in tags.items() if to == s.snapshot_id),
         s.row_counts.get("media", 0), s.row_counts.get("pairs", 0), s.digest[:12], s.run_id)
        for s in found
    ]  # fmt: skip
    show("", ("snapshot", "committed (UTC)", "tags", "media", "pairs", "digest", "run"), rows)


def tag(
    name: Annotated[str, typer.Argument(help="The tag.")],
    snapshot: Annotated[
        str | None, typer.Argument(help="Where it shall point; left out: where does it?")
    ] = None,
    lake: LakeOption = None,
) -> None:
    """Move a tag to a snapshot, in one step for every reader."""
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    if snapshot is not None:
        opened.move_tag(name, snapshot)
    say(f"{name} -> {opened.snapshot(name).snapshot_id}")


def restore(
    snapshot: Annotated[str, typer.Argument(help="Snapshot id, tag or digest.")], lake: LakeOption = None
) -> None:
    """Make an earlier snapshot the newest again. Nothing in between is lost; the tags stay where they are."""
    from storage import lake as lakes

    again = lakes.open(lake_uri(lake)).restore(snapshot)
    say(f"{again.snapshot_id} now holds what {snapshot} held (digest {again.digest[:12]})")


def diff(
    before: Annotated[str, typer.Argument(help="Snapshot id, tag or digest.")],
    after: Annotated[str, typer.Argument(help="Snapshot id, tag or digest.")],
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the rows that differ between two snapshots, by table."""
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    names = sorted(opened.tables(before).keys() | opened.tables(after).keys())
    found = {name: opened.diff(name, before, after) for name in names}
    if as_json:
        print_json(found)
        return
    rows = [(name, len(d.added), len(d.removed), len(d.changed)) for name, d in found.items()]
    show(f"{before} -> {after}", ("table", "added", "removed", "changed"), rows)
