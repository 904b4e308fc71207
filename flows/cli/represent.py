"""`xmodal represent`: what is kept once more, as binary codes or token by token."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows import ephemeral
from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, progress, say

if TYPE_CHECKING:
    from tasks.represent import Represented

app = typer.Typer(
    help="Represent what is kept a second time, so that `search --first codes` or `--first late` can find it.",
    no_args_is_help=True,
)

RelearnOption = Annotated[
    bool, typer.Option("--relearn", help="Learn again from what is kept now, and make all rows anew.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of what is drawn.")]


@app.command("codes")
def codes(
    lake: LakeOption = None,
    encoder: Annotated[
        str | None, typer.Option(help="Whose vectors; the table with most by default.")
    ] = None,
    bits: Annotated[int, typer.Option(min=8, help="Length of a code; a multiple of 8.")] = 64,
    method: Annotated[
        str, typer.Option(help="Learns the codes: see `xmodal methods codes`.")
    ] = "reconstruction-relations",
    relearn: RelearnOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn binary codes from pairs and from what has no partner, and write those that are missing."""
    ephemeral.ahead()
    from flows.represent import codes as flow
    from schemas.recipes import MethodRef
    from schemas.represent import CodesRecipe

    ref = MethodRef(name=method, params={"bits": bits})
    recipe = CodesRecipe(encoder=encoder, method=ref, relearn=relearn, seed=seed)
    with progress(quiet=as_json):
        done = flow(recipe, lake_uri(lake))
    _told(done, as_json)


@app.command("tokens")
def tokens(
    lake: LakeOption = None,
    epochs: Annotated[int, typer.Option(min=1, help="Times each pair is learnt from.")] = 15,
    pairs: Annotated[int, typer.Option(min=2, help="Kept pairs that are learnt from, at most.")] = 4096,
    relearn: RelearnOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train token heads on kept pairs, and write vectors of the parts of pictures and texts that lack them."""
    ephemeral.ahead()
    from flows.represent import tokens as flow
    from schemas.represent import TokensRecipe

    recipe = TokensRecipe(epochs=epochs, pairs=pairs, relearn=relearn, seed=seed)
    with progress(quiet=as_json):
        done = flow(recipe, lake_uri(lake))
    _told(done, as_json)


def _told(done: "Represented", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "snapshot": done.snapshot.snapshot_id,
                "table": done.table,
                "checkpoint": done.checkpoint,
                "learnt": done.is_new,
                "written": done.written,
                "from": done.meta,
            }
        )
        return
    written = ", ".join(f"{rows:,} of {side}" for side, rows in done.written.items())
    learnt = f"learnt from {done.meta['pairs']:,} pairs" if done.is_new else "learnt before"
    say(
        f"{done.snapshot.snapshot_id}: {done.table}, rows written: {written}; {learnt}, checkpoint {done.checkpoint[:12]}"
    )
