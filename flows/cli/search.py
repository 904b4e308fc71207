"""`xmodal search`: look for media by words or by a picture."""

import base64
import html
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated, Literal

import typer

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
        Path | None, typer.Option(help="A picture to look for.", exists=True, dir_okay=False)
    ] = None,
    lake: LakeOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 10,
    at: AtOption = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder, where the lake has several.")] = None,
    by: Annotated[
        Literal["media", "texts", "both"], typer.Option(help="What words are compared with.")
    ] = "both",
    open_sheet: Annotated[
        bool, typer.Option("--open", help="Write an HTML contact sheet and open it.")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="Where to write the contact sheet.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the kept media nearest to a text or a picture."""
    from storage import lake as lakes
    from tasks.search import search as find

    results = find(lakes.open(lake_uri(lake)), text, image=image, k=k, at=at, encoder=encoder, by=by)
    thumbnails = _thumbnails(results.hits)
    if as_json:
        print_json(
            {
                "snapshot": results.snapshot_id,
                "encoder": results.encoder,
                "hits": [
                    {
                        "media_id": hit.media_id,
                        "similarity": round(hit.similarity, 4),
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
            (n, f"{hit.similarity:.3f}", "; ".join(hit.texts)[:70], path)
            for n, (hit, path) in enumerate(zip(results.hits, thumbnails, strict=True), 1)
        ]
        show(f"{results.encoder} at {results.snapshot_id}", ("", "similarity", "texts", "thumbnail"), rows)
    if open_sheet or sheet:
        path = sheet or Path(tempfile.mkdtemp(prefix="xmodal-")) / "search.html"
        path.write_text(contact_sheet(text or str(image), results), encoding="utf-8")
        if not as_json:
            say(f"contact sheet: {path}")
        if open_sheet:
            webbrowser.open(path.resolve().as_uri())


def contact_sheet(query: str, results: "object") -> str:
    """Return a page with the results' pictures. Nothing is loaded from elsewhere; all text is escaped."""
    figures = "".join(
        f'<figure><img alt="" src="data:image/webp;base64,{base64.b64encode(hit.thumbnail).decode()}">'
        f"<figcaption>{html.escape('; '.join(hit.texts))}<br><small>{hit.similarity:.3f} "
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
