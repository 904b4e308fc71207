"""`xmodal encoders`: which encoders' vectors a lake has, and going over from one to another."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import ephemeral
from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, progress, say, show

if TYPE_CHECKING:
    from tasks.upgrade import Standing

app = typer.Typer(help="Encoders of a lake, and going over from one to another.", no_args_is_help=True)


@app.command("list")
def list_(lake: LakeOption = None, at: AtOption = None, as_json: JsonOption = False) -> None:
    """List the encoders whose vectors a snapshot has, and the bridges between them."""
    from schemas.errors import DataError
    from storage import bridges
    from storage import lake as lakes
    from storage.search import encoder_tables

    opened = lakes.open(lake_uri(lake))
    snapshot = opened.snapshot(at) if at else opened.head()
    if snapshot is None:
        raise DataError(f"{opened.uri} is empty: run `xmodal curate RECIPE` or `xmodal demo` first")
    tables: list[dict[str, Any]] = [
        {
            "table": entry.table,
            "encoder": entry.ref.get("name", ""),
            "dim": entry.identity.get("dim", ""),
            **{
                side: opened.dataset(entry.table, snapshot).count_rows(filter=f"side = '{side}'")
                for side in ("media", "text")
            },
        }
        for entry in encoder_tables(opened, snapshot)
    ]
    found: list[dict[str, Any]] = []
    for one, meta in bridges.bridges(opened).items():
        stored = bridges.load(opened, one)
        left = bridges.missing(opened, snapshot, stored.old, stored.new)
        known = stored.new.table in snapshot.versions
        found.append(
            {
                "bridge": one,
                "from": stored.new.table,
                "to": stored.old.table,
                "method": meta["recipe"]["bridge"]["name"],
                "state": "serving" if left else "retired" if known else "not begun",
                "media_left": left,
                "measured": meta["measured"],
            }
        )
    if as_json:
        print_json({"snapshot": snapshot.snapshot_id, "tables": tables, "bridges": found})
        return
    rows = [(row["table"], row["encoder"], row["dim"], row["media"], row["text"]) for row in tables]
    show(f"Vectors at {snapshot.snapshot_id}", ("table", "encoder", "dim", "media", "texts"), rows)
    if found:
        show(
            "Bridges",
            ("bridge", "queries of", "to vectors of", "method", "state", "media left"),
            [
                (row["bridge"][:12], row["from"], row["to"], row["method"], row["state"], row["media_left"])
                for row in found
            ],
        )


@app.command("upgrade")
def upgrade(
    old: Annotated[str, typer.Argument(help="The encoder whose vectors are there, or its table.")],
    new: Annotated[str, typer.Argument(help="The encoder to go over to.")],
    lake: LakeOption = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="A parameter of the new encoder, as name=value.")
    ] = None,
    bridge: Annotated[str, typer.Option(help="What leads queries to old vectors.")] = "procrustes",
    step: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of the media from one snapshot to the next.")
    ] = 0.25,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Steps to take now; 0 only builds the bridge. All by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what the bridge draws.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Go over to another encoder while search goes on: learn a bridge, serve over it, encode the media step by step."""
    from dataclasses import asdict

    import yaml

    ephemeral.ahead()
    from flows.upgrade import upgrade as flow
    from schemas.errors import RecipeError
    from schemas.recipes import MethodRef
    from schemas.upgrade import UpgradeRecipe
    from tasks.upgrade import report_standing

    params: dict[str, Any] = {}
    for one in param or []:
        name, sign, value = one.partition("=")
        if not sign:
            raise RecipeError(f"a parameter is given as name=value; found {one!r}")
        params[name] = yaml.safe_load(value)
    recipe = UpgradeRecipe(
        old=old, new=MethodRef(name=new, params=params), bridge=MethodRef(name=bridge), step=step, seed=seed
    )
    token = report_standing.set(lambda standing: None if as_json else say(_line(standing)))
    try:
        with progress(quiet=as_json):
            done = flow(recipe, lake_uri(lake), steps)
    finally:
        report_standing.reset(token)
    if as_json:
        print_json(
            {
                "snapshot": done.snapshot.snapshot_id,
                "bridge": done.bridge,
                "complete": done.complete,
                "measured": done.measured,
                "standings": [asdict(standing) for standing in done.standings],
            }
        )
        return
    kinds = (("old", "old query, old vectors"), ("cross", "new query, old vectors"), ("new", "new, new"))
    columns = [f"{way}_r{k}" for way in ("text_to_media", "media_to_text") for k in (1, 10)]
    show(
        "On held-out pairs, per cent",
        ("", *(column.replace("_", " ") for column in columns)),
        [(said, *(f"{done.measured[kind][column]:.1f}" for column in columns)) for kind, said in kinds],
    )
    say(
        f"{done.snapshot.snapshot_id}: every medium has new vectors; bridge {done.bridge[:12]} is retired."
        if done.complete
        else f"{done.snapshot.snapshot_id}: bridge {done.bridge[:12]} serves; run the same command again to go on."
    )


def _line(standing: "Standing") -> str:
    share = 100 * standing.seen / max(standing.media, 1)
    return (
        f"{standing.snapshot_id}: {standing.seen} of {standing.media} media ({share:.0f} %) have new vectors; held-out "
        f"texts find their media at R@1 {standing.recall['r1']:.1f} and R@10 {standing.recall['r10']:.1f} per cent"
    )
