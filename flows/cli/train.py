"""`xmodal train`, `checkpoints`: heads on the vectors of a snapshot."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows import ephemeral
from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, say, show


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe (YAML, fields of TrainRecipe); its defaults without one.")
    ] = None,
    lake: LakeOption = None,
    noisy: Annotated[
        Literal["drop", "weight", "soft"] | None,
        typer.Option(help="What becomes of pairs the study of correspondence doubts."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the first weights and the order of rows.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a head a side on stored vectors; keep it in the lake, and say what it finds on pairs kept apart."""
    from dataclasses import asdict

    ephemeral.ahead()
    from flows.train import train as flow
    from schemas.recipes import TrainRecipe, load

    wanted = TrainRecipe(name="default") if recipe is None else load(recipe, TrainRecipe)
    changed = {name: value for name, value in (("noisy", noisy), ("seed", seed)) if value is not None}
    done = flow(wanted.model_copy(update=changed), lake_uri(lake))
    if as_json:
        print_json(asdict(done))
        return
    say(f"Checkpoint {done.checkpoint}: {done.pairs} pairs trained on, {done.tested} kept apart.")
    rows = [
        (
            name.replace("_", " "),
            "" if name not in done.before else f"{done.before[name]:.1f}",
            f"{value:.1f}",
        )
        for name, value in done.recall.items()
    ]
    show("On the pairs kept apart, per cent (ranks as they are)", ("", "vectors", "head"), rows)


def checkpoints(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """List what was trained in a lake: by which recipe, on which data."""
    from storage import checkpoints as stored
    from storage import lake as lakes

    found = stored.checkpoints(lakes.open(lake_uri(lake)))
    if as_json:
        print_json([{"id": one} | meta for one, meta in found.items()])
        return
    rows = [
        (one[:12], meta["recipe"].get("name", ""), meta["head"]["name"] if meta["head"] else "",
         meta["loss"]["name"] if meta["loss"] else "", meta["seed"], meta["snapshot_id"], meta.get("pairs", ""))
        for one, meta in found.items()
    ]  # fmt: skip
    show("", ("checkpoint", "recipe", "head", "loss", "seed", "snapshot", "pairs"), rows)
