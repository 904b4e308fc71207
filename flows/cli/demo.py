"""`xmodal demo`: the main job on real media, in one command."""

from typing import Annotated

import typer

from flows.cli.output import say


def demo(lake: Annotated[str, typer.Option(help="Folder of the demo's lake.")] = "demo-lake") -> None:
    """Curate about 600 clip-art pictures with the texts their authors gave them, then search them."""
    from flows.cli.curate import run_curate
    from flows.cli.search import search
    from flows.recipes import shipped
    from schemas.recipes import load_recipe

    say("Curating the demo corpus: 600 public-domain drawings with their own titles, keywords and folders.")
    run_curate(load_recipe(shipped()["demo"]), lake)
    say()
    say('xmodal search "a bird"')
    search("a bird", lake=lake, k=5)
    say()
    say("Try next:")
    for command, what in (
        (f'.venv/bin/xmodal search "a red flower" --lake {lake} --open', "a search, with pictures"),
        (f".venv/bin/xmodal status --lake {lake}", "what ran, and where time went"),
        (
            f".venv/bin/xmodal curate demo --lake {lake}",
            "the same again: nothing changed, so nothing is done",
        ),
    ):
        say(f"  {command}\n      {what}")
