"""`xmodal caption`, `captions`: write texts about media, and see who wrote what, how it was judged, and who is served it."""

import base64
import html
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import ephemeral
from flows.cli.output import (
    AtOption,
    JsonOption,
    LakeOption,
    lake_uri,
    print_json,
    printable,
    progress,
    say,
    show,
)

app = typer.Typer(
    help="Texts the platform wrote: who wrote what, how it was judged, who is served it.",
    no_args_is_help=True,
)


def caption(
    recipe: Annotated[
        Path, typer.Argument(help="A recipe of captions (YAML), or the name of one that ships.")
    ],
    lake: LakeOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Write about so many media at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write texts about media that lack one, judge them, and rank them beside the raw ones. Again: only what changed."""
    ephemeral.ahead()
    from flows.caption import caption as flow
    from flows.recipes import find_recipe
    from schemas.recipes import CaptionRecipe, load
    from storage import lake as lakes

    wanted = load(find_recipe(recipe, "captions"), CaptionRecipe)
    if limit is not None:
        wanted = wanted.model_copy(update={"limit": limit})
    with progress(quiet=as_json):
        flow(wanted, lake=lake_uri(lake))
    row = lakes.open(lake_uri(lake)).runs()[0]
    counts, costs = json.loads(row["counts"]), json.loads(row["costs"])
    if as_json:
        print_json(row | {"counts": counts, "costs": costs})
        return
    if row["status"] == "unchanged":
        say(f"Nothing to write about: the snapshot is still {row['read_snapshot']}.")
        return
    say(f"Snapshot {row['written_snapshot']} of {lake_uri(lake)}, from {row['read_snapshot']}.")
    show("", ("step", "what", "n"), [(step, what, n) for step, c in counts.items() for what, n in c.items()])
    spent = [
        (c["step"], c["items"], f"{c['wall_s']:.1f}", f"{c['cpu_s']:.1f}")
        for c in costs
        if c["wall_s"] >= 0.05
    ]
    show("Where time went", ("step", "items", "wall s", "CPU s"), spent)


@app.command("list")
def list_captions(
    lake: LakeOption = None,
    status: Annotated[
        str | None, typer.Option(help="List the drafts that are accepted, refused, rewritten or failed.")
    ] = None,
    generator: Annotated[str | None, typer.Option(help="Only those of this captioner.")] = None,
    at: AtOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many drafts to list.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Count drafts by captioner and status, or list those of a status with their reasons."""
    from collections import Counter

    from schemas.errors import DataError
    from storage import lake as lakes

    known = ("accepted", "refused", "rewritten", "failed")
    if status is not None and status not in known:
        raise DataError(f"there is no status {status!r}; a draft is {', '.join(known)}")
    found = [
        row
        for row in _read(lakes.open(lake_uri(lake)), "captions", at, "active")
        if (status is None or row["status"] == status)
        and (generator is None or row["generator"] == generator)
    ]
    if status is None and not as_json:
        counts = Counter((row["generator"], row["status"]) for row in found)
        show("", ("captioner", "status", "n"), [(*who, n) for who, n in sorted(counts.items())])
        return
    listed = sorted(found, key=lambda row: str(row["caption_id"]))[:limit]
    if as_json:
        print_json([_plain(row) for row in listed])
        return
    cells = [
        (row["media_id"][:10], row["generator"], row["status"], row["text"], row["reason"]) for row in listed
    ]
    show("", ("medium", "captioner", "status", "text", "reason"), cells)


@app.command("show")
def show_captions(
    medium: Annotated[str, typer.Argument(help="Id of a medium; the first characters are enough.")],
    lake: LakeOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every text of one medium, raw and written, with scores, support of each statement and verdict."""
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    media_id, uri, texts, drafts, served = _of_medium(opened, medium, at)
    if as_json:
        print_json(
            {
                "media_id": media_id,
                "uri": uri,
                "texts": texts,
                "captions": [_plain(r) for r in drafts],
                "served": served,
            }
        )
        return
    say(f"{media_id}  {printable(uri)}".replace("[", "\\["))
    uses: dict[str, list[str]] = {}
    for row in served:
        uses.setdefault(row["text_id"], []).append(f"{row['use']} {row['rank']}")
    rows = [
        (row["origin"], row["role"], "kept" if row["kept"] is not False else f"dropped: {row['dropped_by']}",
         ", ".join(uses.get(row["text_id"], [])), row["text"])
        for row in texts
    ]  # fmt: skip
    show("Texts", ("origin", "role", "verdict", "served for", "text"), rows)
    for row in drafts:
        scores = ", ".join(f"{name} {value}" for name, value in json.loads(row["scores"] or "{}").items())
        title = f"{row['generator']} {row['version']}, attempt {row['attempt']}: {row['status']}"
        said = [
            (
                statement["kind"],
                statement["text"],
                _number(statement["confidence"]),
                _number(statement["support"]),
            )
            for statement in json.loads(row["statements"] or "[]")
        ]
        say()
        show(title, ("", ""), [("text", row["text"]), ("reason", row["reason"]), ("scores", scores),
                               ("parents", ", ".join(parent[:10] for parent in row["parents"] or []))])  # fmt: skip
        if said:
            show("", ("statement", "words", "confidence", "support"), said)


@app.command("sheet")
def sheet(
    out: Annotated[Path, typer.Argument(help="Where to write the page.")],
    lake: LakeOption = None,
    at: AtOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many media.")] = 40,
) -> None:
    """Write an HTML contact sheet: media with their raw texts and what was written about them."""
    from storage import lake as lakes

    opened = lakes.open(lake_uri(lake))
    page, count = contact_sheet(opened, at, limit)
    out.write_text(page, encoding="utf-8")
    say(f"{count} media in {out}")


def contact_sheet(lake: Any, at: str | None, limit: int) -> tuple[str, int]:
    """Return a page of media with raw and written texts, and how many there are. All texts are escaped."""
    drafts: dict[str, list[dict[str, Any]]] = {}
    for row in _read(lake, "captions", at, "active"):
        if row["status"] in ("accepted", "refused"):
            drafts.setdefault(row["media_id"], []).append(row)
    chosen = sorted(drafts)[:limit]
    named = ", ".join(f"'{one}'" for one in chosen) or "''"
    pictures = {
        row["media_id"]: row["thumbnail"]
        for row in _read(lake, "media", at, f"media_id IN ({named})", ["media_id", "thumbnail"])
    }
    pairs = _read(lake, "pairs", at, f"media_id IN ({named}) AND present AND role <> 'synthetic'")
    names = {row["text_id"] for row in pairs}
    listed = ", ".join(f"'{one}'" for one in sorted(names)) or "''"
    texts = {
        row["text_id"]: row["text"]
        for row in _read(lake, "texts", at, f"text_id IN ({listed})", ["text_id", "text"])
    }
    cells = []
    for one in chosen:
        image = base64.b64encode(pictures.get(one) or b"").decode()
        raw = "".join(
            f'<li class="{"kept" if row["kept"] is not False else "dropped"}">{html.escape(texts.get(row["text_id"], ""))}'
            f" <small>{html.escape(row['role'] or '')}</small></li>"
            for row in pairs
            if row["media_id"] == one
        )
        written = "".join(
            f'<li class="{html.escape(row["status"])}">{html.escape(row["text"] or "")} '
            f"<small>{html.escape(row['generator'])}{': ' + html.escape(row['reason']) if row['reason'] else ''}</small></li>"
            for row in drafts[one]
        )
        cells.append(
            f'<figure><img src="data:image/webp;base64,{image}" alt="" loading="lazy"><figcaption><b>came with</b><ul>{raw}</ul>'
            f"<b>written</b><ul>{written}</ul><code>{one[:12]}</code></figcaption></figure>"
        )
    return _PAGE.format(count=len(cells), cells="\n".join(cells)), len(cells)


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Captions of {count} media</title><style>
:root {{ color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }}
main {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)) }}
figure {{ margin: 0; padding: .6rem; border: 1px solid #8885; border-radius: .4rem; overflow-wrap: anywhere }}
img {{ display: block; width: 100%; height: 12rem; object-fit: contain; background: #fff }}
ul {{ margin: .2rem 0 .5rem; padding-left: 1.1rem }} small {{ opacity: .75 }}
.dropped, .refused {{ text-decoration: line-through; opacity: .7 }} .refused small {{ display: block; text-decoration: none }}
.accepted {{ font-weight: 600 }}
</style><h1>Captions of {count} media</h1><p>Struck out: dropped or refused.</p><main>
{cells}
</main></html>
"""


def _of_medium(
    lake: Any, medium: str, at: str | None
) -> tuple[str, str, list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    from schemas.errors import DataError

    if not medium.isalnum() or len(medium) < 6:
        raise DataError(f"{medium!r} is no id: give at least 6 of its letters and digits")
    upper = medium[:-1] + chr(ord(medium[-1]) + 1)
    within = f"media_id >= '{medium}' AND media_id < '{upper}'"
    found = _read(lake, "media", at, within, ["media_id", "uri"])
    if len(found) != 1:
        raise DataError(f"{len(found)} media have an id that starts with {medium!r}; name one")
    media_id = found[0]["media_id"]
    mine = f"media_id = '{media_id}'"
    pairs = _read(lake, "pairs", at, f"{mine} AND present")
    listed = ", ".join(f"'{row['text_id']}'" for row in pairs) or "''"
    texts = {row["text_id"]: row for row in _read(lake, "texts", at, f"text_id IN ({listed})")}
    both = [
        {
            "text_id": row["text_id"], "pair_id": row["pair_id"], "role": row["role"], "kept": row["kept"],
            "dropped_by": row["dropped_by"], "text": texts[row["text_id"]]["text"],
            "language": texts[row["text_id"]]["language"], "origin": texts[row["text_id"]]["origin"],
        }
        for row in pairs
    ]  # fmt: skip
    drafts = sorted(
        _read(lake, "captions", at, f"{mine} AND active"), key=lambda row: (row["generator"], row["attempt"])
    )
    served = _read(lake, "served", at, f"{mine} AND active", ["text_id", "use", "rank", "score"])
    order = sorted(both, key=lambda row: (row["origin"] == "synthetic", row["role"] or "", row["text"]))
    return (
        media_id,
        found[0]["uri"] or "",
        order,
        drafts,
        sorted(served, key=lambda row: (row["use"], row["rank"])),
    )


def _read(
    lake: Any, table: str, at: str | None, where: str, columns: list[str] | None = None
) -> list[dict[str, Any]]:
    """Return rows of a table; none where the snapshot has no such table yet."""
    if table not in lake.tables(at):
        return []
    rows: list[dict[str, Any]] = lake.read(table, at=at, where=where, columns=columns).to_pylist()
    return rows


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `captions` with its JSON opened and its digest left out."""
    opened = {
        name: json.loads(row[name] or "null")
        for name in ("statements", "slots", "facts", "scores", "cost", "params")
    }
    return {name: value for name, value in row.items() if name != "row_digest"} | opened


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
