"""`xmodal export`: rows of a snapshot to files that others read."""

from typing import Annotated, Literal

import typer

from flows import ephemeral
from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, say


def export(
    format: Annotated[  # noqa: A002 - what users call it
        str, typer.Argument(help="csv, huggingface, lance, parquet or webdataset; `xmodal methods exports`.")
    ],
    target: Annotated[str, typer.Argument(help="An empty folder, or an object-store URL.")],
    lake: LakeOption = None,
    at: AtOption = None,
    where: Annotated[
        str | None,
        typer.Option(
            help='Condition over `pairs p JOIN media m`, e.g. "m.width_px > 512 AND p.clean > 0.9".'
        ),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option(help="Statement that gives digest or media_id, and text_id for single pairs."),
    ] = None,
    use: Annotated[str, typer.Option(help="Which ranking orders a medium's texts.")] = "training",
    media: Annotated[
        Literal["original", "thumbnail", "none"], typer.Option(help="Which bytes go along.")
    ] = "original",
    shard_mb: Annotated[int, typer.Option(min=1, help="Media of about this size share a file.")] = 256,
    as_json: JsonOption = False,
) -> None:
    """Write what is kept, with manifest, licences and a datasheet of what was left out and why."""
    from dataclasses import asdict

    ephemeral.ahead()
    from flows.export import export as flow
    from schemas.recipes import MethodRef

    done = flow(
        target, MethodRef(name=format), lake_uri(lake), statement=sql, where=where, at=at, use=use, media=media,
        shard_bytes=shard_mb << 20,
    )  # fmt: skip
    if as_json:
        print_json(asdict(done))
        return
    if done.unchanged:
        say(
            f"{done.target} already holds this: {done.media} media of {done.snapshot_id}. Nothing was written anew."
        )
        return
    say(
        f"{done.media} media of {done.snapshot_id} in {done.files} files, {done.size_bytes / 1e6:.1f} MB: {done.target}"
    )
    if done.missing:
        say(f"{done.missing} chosen media could not be read: missing.jsonl says why")
    say(
        "datasheet.md says what was left out and why; licences.csv whose it is; manifest.json lists every file's digest"
    )
