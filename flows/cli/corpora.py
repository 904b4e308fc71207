"""`xmodal corpora`: which corpora there are, and getting one."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Corpora to try everything on.", no_args_is_help=True)

Cache = Annotated[Path | None, typer.Option("--cache", help="Folder of fetched corpora; else XMODAL_CACHE.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_corpora(cache: Cache = None, as_json: AsJson = False) -> None:
    """List the corpora, and which of them are here."""
    from schemas.settings import Settings
    from tasks.corpora import CORPORA, manifest_if_here

    place = cache or Settings().cache
    rows = [
        {
            "name": name,
            "media_count": corpus.media_count,
            "licence": corpus.licence,
            "about": corpus.about,
            "manifest": str(manifest_if_here(name, place) or ""),
        }
        for name, corpus in CORPORA.items()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        here = "here" if row["manifest"] else "-"
        facts = f"{row['name']:<8} {row['media_count']:>6,} media  {row['licence']:<16}  {here:<4}"
        typer.echo(f"{facts}  {row['about']}")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="One of `xmodal corpora list`.")],
    cache: Cache = None,
    unpacked: Annotated[
        Path | None, typer.Option("--from", help="Unpacked copy of the packages to use.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Get a corpus and print the path of its manifest; progress goes to standard error."""
    from schemas.errors import CorpusError, RecipeError
    from schemas.recipes import MethodRef
    from schemas.settings import Settings
    from tasks.catalog import build
    from tasks.corpora import CORPORA

    params = {} if unpacked is None else {"unpacked": unpacked}
    try:
        corpus = build(CORPORA, MethodRef(name=name, params=params))
        manifest = corpus.get(cache or Settings().cache, report=lambda line: typer.echo(line, err=True))
    except (CorpusError, RecipeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps({"name": name, "manifest": str(manifest)}) if as_json else str(manifest))
