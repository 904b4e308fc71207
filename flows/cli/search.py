"""`xmodal search`: look for media by words or by a picture."""

import base64
import html
import math
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, say, show

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{query}</title><style>
:root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 16px }}
figure {{ margin: 0 }} img {{ width: 100%; height: 180px; object-fit: contain; background: #fff; border: 1px solid #8884 }}
figcaption {{ overflow-wrap: anywhere }} small {{ opacity: .7 }}
</style><h1>{query}</h1><p>{found}</p><main>{figures}</main></html>
"""


def search(
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            help="A picture to look for; with words: like it, and as they say.", exists=True, dir_okay=False
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(help="Digest of an item that results shall resemble; may be given again."),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option(help="Digest or words that results shall not resemble; may be given again."),
    ] = None,
    replace: Annotated[
        str | None, typer.Option(help="OLD=NEW: like the picture, but with the new word in place of the old.")
    ] = None,
    lake: LakeOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="How many of the best to pass over.")] = 0,
    at: AtOption = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder, where the lake has several.")] = None,
    by: Annotated[
        Literal["media", "texts", "both"], typer.Option(help="What words are compared with.")
    ] = "both",
    side: Annotated[Literal["media", "text"], typer.Option(help="What comes back.")] = "media",
    where: Annotated[
        str | None, typer.Option(help='Condition on columns of media (or texts), e.g. "width_px > 512".')
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="Only media of this kind; may be given again.")
    ] = None,
    first: Annotated[
        Literal["dense", "match", "hybrid", "late", "codes"],
        typer.Option(
            help="Find by vectors, by words (BM25), by both, token by token, or by binary codes; the last two after "
            "`xmodal represent`."
        ),
    ] = "dense",
    compare: Annotated[
        Literal["auto", "exact", "index"],
        typer.Option("--search", help="Compare with all, ask the index, or choose."),
    ] = "auto",
    diverse: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Spread results out: 1 is relevance alone, 0 difference alone (MMR)."
        ),
    ] = None,
    adjust: Annotated[
        bool,
        typer.Option(help="Use the similarity fitted to the snapshot, where `xmodal fit` found one better."),
    ] = True,
    slots: Annotated[
        Literal["auto", "all", "none"],
        typer.Option(
            help="Words that name values of the tables narrow the search: clear ones, all, or none. kind:value counts "
            "in both."
        ),
    ] = "auto",
    without: Annotated[
        list[str] | None,
        typer.Option(help="Kind of such words that is not to count, e.g. size; may be given again."),
    ] = None,
    open_sheet: Annotated[
        bool, typer.Option("--open", help="Write an HTML contact sheet and open it.")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="Where to write the contact sheet.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what is kept and nearest to words, a picture, items, or all of them together."""
    from schemas.errors import DataError
    from storage import lake as lakes
    from tasks.rerankers.mmr import MMR
    from tasks.search import search as find

    if replace is not None and "=" not in replace:
        raise DataError(f"--replace takes OLD=NEW, such as red=blue; found {replace!r}")
    old, _, new = (replace or "").partition("=")
    results = find(
        lakes.open(lake_uri(lake)), text, image=image, like=tuple(like or ()), unlike=tuple(unlike or ()),
        replace=(old, new) if replace else None, k=k, offset=offset, at=at, encoder=encoder, by=by, side=side,
        where=where, modality=tuple(modality or ()), first=first, search=compare, adjust=adjust,
        slots=slots, without=tuple(without or ()),
        reranker=MMR(trade=diverse) if diverse is not None else None,
    )  # fmt: skip
    thumbnails = _thumbnails(results.hits)
    if as_json:
        print_json(
            {
                "snapshot": results.snapshot_id,
                "encoder": results.encoder,
                "exact": results.exact,
                "notes": results.notes,
                "hits": [
                    {
                        "media_id": hit.media_id,
                        "item_id": hit.item_id,
                        "score": round(hit.score, 4),
                        "similarity": None if math.isnan(hit.similarity) else round(hit.similarity, 4),
                        "uri": hit.uri,
                        "texts": hit.texts,
                        "licence": hit.licence,
                        "thumbnail": path,
                    }
                    for hit, path in zip(results.hits, thumbnails, strict=True)
                ],
            }
        )
    else:
        rows = [
            (
                n,
                f"{hit.score if math.isnan(hit.similarity) else hit.similarity:.3f}",
                "; ".join(hit.texts)[:70],
                path,
            )
            for n, (hit, path) in enumerate(zip(results.hits, thumbnails, strict=True), 1 + offset)
        ]
        measure = "similarity" if results.encoder else "BM25"
        show(
            f"{results.encoder or 'words'} at {results.snapshot_id}",
            ("", measure, "texts", "thumbnail"),
            rows,
        )
        for note in results.notes:
            say(escape(note))
    if open_sheet or sheet:
        path = sheet or Path(tempfile.mkdtemp(prefix="xmodal-")) / "search.html"
        asked = text or str(image or ", ".join(like or ()))
        path.write_text(contact_sheet(asked, results), encoding="utf-8")
        if not as_json:
            say(f"contact sheet: {path}")
        if open_sheet:
            webbrowser.open(path.resolve().as_uri())


def contact_sheet(query: str, results: "object") -> str:
    """Return a page with the results' pictures. Nothing is loaded from elsewhere; all text is escaped."""
    figures = "".join(
        f'<figure><img alt="" src="data:image/webp;base64,{base64.b64encode(hit.thumbnail).decode()}">'
        f"<figcaption>{html.escape('; '.join(hit.texts))}<br><small>{hit.score:.3f} "
        f"{html.escape(hit.licence)}</small></figcaption></figure>"
        for hit in results.hits  # type: ignore[attr-defined]
    )
    found = f"{len(results.hits)} results from {results.encoder} at {results.snapshot_id}"  # type: ignore[attr-defined]
    return _PAGE.format(query=html.escape(query), found=html.escape(found), figures=figures)


def _thumbnails(hits: "object") -> list[str]:
    """Write the hits' thumbnails where a viewer can open them, by digest, and return their paths."""
    from schemas.settings import Settings

    folder = Settings().cache / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for hit in hits:  # type: ignore[attr-defined]
        path = folder / f"{hit.media_id[:16]}.webp"
        if hit.thumbnail and not path.exists():
            path.write_bytes(hit.thumbnail)
        paths.append(str(path) if hit.thumbnail else "")
    return paths
