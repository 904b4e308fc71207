"""`xmodal tables`: what a snapshot holds."""

from typing import Annotated

import typer

from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, show


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
