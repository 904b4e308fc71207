"""`xmodal decisions`: which rule spoke against what, why, and what people say to it."""

from collections import Counter
from typing import Annotated, Any, Literal

import typer

from flows import ephemeral
from flows.cli.output import AtOption, JsonOption, LakeOption, lake_uri, print_json, say, show
from storage.quoting import literal

app = typer.Typer(help="Which rule spoke against what, why, and what people say to it.", no_args_is_help=True)

Ids = Annotated[
    list[str],
    typer.Argument(help="Ids of decisions, pairs, media or texts; the first characters are enough."),
]
By = Annotated[str, typer.Option("--by", help="Who says so; the user by default.")]
Comment = Annotated[str, typer.Option(help="Why, in your words.")]


@app.command("list")
def list_decisions(
    lake: LakeOption = None,
    rule: Annotated[str | None, typer.Option(help="List the subjects of this rule.")] = None,
    kind: Annotated[
        str | None, typer.Option("--class", help="List the pairs of this class: noisy or disputed.")
    ] = None,
    at: AtOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many subjects to list.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Count decisions by rule, or list one rule's subjects with score, threshold, texts and reasons."""
    from schemas.errors import DataError
    from storage import lake as lakes
    from tasks.correspond import RULES

    opened = lakes.open(lake_uri(lake))
    if kind is not None:
        if kind not in RULES:
            raise DataError(f"there is no class {kind!r}; decisions speak of {' and '.join(RULES)} pairs")
        rule = RULES[kind]
    where = "active" if rule is None else f"active AND rule = {literal(rule)}"
    rows = opened.read("decisions", at=at, where=where).to_pylist()
    if rule is None and not as_json:
        counts = Counter((row["rule"], row["verdict"], row["subject"], row["threshold"]) for row in rows)
        show(
            "",
            ("rule", "verdict", "subject", "threshold", "n"),
            [(*what, n) for what, n in counts.most_common()],
        )
        return
    listed = _each_text_first(opened, at, rows)[:limit]
    about = _about(opened, at, listed)
    if as_json:
        print_json([row | about[row["decision_id"]] for row in listed])
        return
    cells = [
        (row["decision_id"][:10], row["subject"], "" if row["value"] is None else f"{row['value']:.3f}",
         (about[row["decision_id"]]["text"] or "")[:50], (about[row["decision_id"]]["medium"] or "")[-40:],
         "; ".join(about[row["decision_id"]]["reasons"][:3])[:100])
        for row in listed
    ]  # fmt: skip
    show(rule or "", ("decision", "subject", "score", "text", "medium", "reasons"), cells)
    say(f"{len(listed)} of {len(rows)}; look closer with `xmodal decisions explain DECISION`")


@app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="A decision, pair, medium or text.")],
    lake: LakeOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say all that is known for and against one subject: decisions, scores, reasons, proposals, verdicts."""
    from storage import lake as lakes
    from tasks.review import find

    opened = lakes.open(lake_uri(lake))
    ((subject, subject_id, _),) = find(opened, [name], at)
    has = opened.tables(at)

    def rows(table: str, column: str) -> list[dict[str, Any]]:
        found = (
            opened.read(table, at=at, where=f"{column} = '{subject_id}'").to_pylist() if table in has else []
        )
        return [
            {k: v for k, v in row.items() if k not in ("row_digest", "thumbnail", "run_id")} for row in found
        ]

    found: dict[str, Any] = {
        "subject": subject,
        "id": subject_id,
        "decisions": rows("decisions", "subject_id"),
        "verdicts": rows("verdicts", "subject_id"),
        "scores": rows("scores", "subject_id"),
        "reasons": rows("reasons", "pair_id"),
        "repairs": rows("repairs", "pair_id"),
    }
    pair = {
        "pair": rows("pairs", "pair_id"),
        "text": rows("texts", "text_id"),
        "media": rows("media", "media_id"),
    }[subject]
    found |= {"row": pair[0]}
    if subject == "pair":
        found |= _sides(opened, at, pair)[subject_id]
    if as_json:
        print_json(found)
        return
    show(
        f"{subject} {subject_id}",
        ("", ""),
        [(k, str(v)[:110]) for k, v in found["row"].items() if v is not None],
    )
    if subject == "pair":
        show("", ("", ""), [("text", found["text"]), ("medium", found["medium"])])
    show(
        "decisions",
        ("rule", "verdict", "score", "threshold", "stands"),
        [
            (r["rule"], r["verdict"], _number(r["value"]), r["threshold"], "yes" if r["active"] else "no")
            for r in found["decisions"]
        ],
    )
    show("scores", ("method", "value"), [(r["method"], _number(r["value"])) for r in found["scores"]])
    order = {"scorer": 0, "rule": 1, "better-text": 2, "better-media": 3}
    reasons = sorted(
        (r for r in found["reasons"] if r["active"]),
        key=lambda r: (order[r["kind"]], r["method"], r["position"]),
    )
    show(
        "reasons",
        ("kind", "method", "value", "own", "said"),
        [(r["kind"], r["method"], _number(r["value"]), _number(r["own"]), r["said"][:80]) for r in reasons],
    )
    texts = _texts(opened, at, [r["text_id"] for r in found["repairs"] if r["text_id"]])
    show(
        "proposals",
        ("kind", "label", "text"),
        [
            (r["kind"], _number(r["label"]), texts.get(r["text_id"] or "", "its own"))
            for r in found["repairs"]
            if r["active"]
        ],
    )
    show("verdicts", ("person", "verdict", "stands", "comment"),
         [(r["person"], r["verdict"], "yes" if r["active"] else "no", r["comment"]) for r in found["verdicts"]])  # fmt: skip


@app.command()
def accept(ids: Ids, lake: LakeOption = None, by: By = "", comment: Comment = "") -> None:
    """Agree that these be dropped. The verdict is a row, wins over every rule, and teaches the next curation."""
    _state("drop", ids, lake, by, comment)


@app.command()
def reject(ids: Ids, lake: LakeOption = None, by: By = "", comment: Comment = "") -> None:
    """Disagree: these are kept, whatever rules say. The verdict is a row and teaches the next curation."""
    _state("keep", ids, lake, by, comment)


@app.command()
def undo(
    ids: Annotated[list[str] | None, typer.Argument(help="Decisions or subjects; or give --run.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Undo all that this run did: the snapshot before it holds again.")
    ] = None,
    lake: LakeOption = None,
    by: By = "",
    comment: Comment = "",
) -> None:
    """Withdraw a verdict of a person where one stands; else keep what a rule dropped. Or undo a whole run."""
    ephemeral.ahead()
    from flows.review import state_verdict, undo_run
    from schemas.errors import DataError
    from storage import lake as lakes
    from tasks.review import Statement, find

    uri = lake_uri(lake)
    if (run is None) == (not ids):
        raise DataError("name what to undo: ids of decisions or subjects, or --run and the id of a run")
    if run is not None:
        again = undo_run(lakes.open(uri), run)
        say(f"{again.snapshot_id} holds what was there before {run} (digest {again.digest[:12]})")
        return
    opened = lakes.open(uri)
    standing = set()
    if "verdicts" in opened.tables():
        standing = set(
            opened.read("verdicts", columns=["subject_id"], where="active")["subject_id"].to_pylist()
        )
    for name in ids or []:
        ((subject, subject_id, _),) = find(opened, [name])
        what: Literal["withdraw", "keep"] = "withdraw" if subject_id in standing else "keep"
        snapshot = state_verdict(Statement(what, (name,), by, comment), uri)
        said = "the verdict is withdrawn" if what == "withdraw" else "kept, whatever rules say"
        say(f"{subject} {subject_id[:16]}: {said} ({snapshot.snapshot_id})")


def _state(what: Literal["keep", "drop"], ids: list[str], lake: str | None, by: str, comment: str) -> None:
    ephemeral.ahead()
    from flows.review import state_verdict
    from tasks.review import Statement

    snapshot = state_verdict(Statement(what, tuple(ids), by, comment), lake_uri(lake))
    say(f"{len(ids)} {'kept' if what == 'keep' else 'dropped'} by verdict ({snapshot.snapshot_id})")


def _each_text_first(opened: Any, at: str | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return decisions by score, but one of each text before a second of any: a title pasted a thousand times is one line."""
    by_score = sorted(
        rows, key=lambda row: (row["value"] is None, row["value"] or 0, str(row["decision_id"]))
    )
    if not any(row["subject"] == "pair" for row in rows):
        return by_score
    pairs = opened.read("pairs", at=at, columns=["pair_id", "text_id"])
    text_of = dict(zip(pairs["pair_id"].to_pylist(), pairs["text_id"].to_pylist(), strict=True))
    seen: Counter[str] = Counter()
    place = {}
    for row in by_score:
        text = text_of.get(row["subject_id"], row["subject_id"])
        place[row["decision_id"]] = seen[text]
        seen[text] += 1
    return sorted(by_score, key=lambda row: place[row["decision_id"]])


def _about(lake: Any, at: str | None, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return {decision: text, medium, reasons} of decisions."""
    pairs = _read(lake, "pairs", "pair_id", [r["subject_id"] for r in rows if r["subject"] == "pair"], at)
    sides = _sides(lake, at, pairs)
    texts = _texts(lake, at, [r["subject_id"] for r in rows if r["subject"] == "text"])
    media = {
        r["media_id"]: r["locators"][0] if r["locators"] else r["uri"]
        for r in _read(
            lake, "media", "media_id", [r["subject_id"] for r in rows if r["subject"] == "media"], at
        )
    }
    reasons: dict[str, list[tuple[tuple[int, float], str]]] = {}
    if "reasons" in lake.tables(at):
        for r in _read(lake, "reasons", "pair_id", [p["pair_id"] for p in pairs], at):
            if r["active"] and not (r["kind"] == "scorer" and (r["own"] or 0) >= 0.5) and r["position"] == 0:
                rank = {"rule": 0, "better-text": 1, "scorer": 2, "better-media": 3}[r["kind"]]
                said = f"better: {r['said']!r}" if r["kind"] == "better-text" else r["said"]
                said = f"{r['method']} {said}" if r["kind"] == "scorer" else said
                if r["kind"] != "better-media":
                    reasons.setdefault(r["pair_id"], []).append(((rank, -(r["value"] or 0)), said))
    found = {}
    for row in rows:
        own = sides.get(row["subject_id"], {})
        found[row["decision_id"]] = {
            "text": own.get("text") or texts.get(row["subject_id"]),
            "medium": own.get("medium") or media.get(row["subject_id"]),
            "reasons": [said for _, said in sorted(reasons.get(row["subject_id"], []))],
        }
    return found


def _sides(lake: Any, at: str | None, pairs: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return {pair: its text, and where its medium was found}."""
    texts = _texts(lake, at, [p["text_id"] for p in pairs])
    media = {
        r["media_id"]: r["locators"][0] if r["locators"] else r["uri"]
        for r in _read(lake, "media", "media_id", [p["media_id"] for p in pairs], at)
    }
    return {p["pair_id"]: {"text": texts[p["text_id"]], "medium": media[p["media_id"]]} for p in pairs}


def _texts(lake: Any, at: str | None, ids: list[str]) -> dict[str, str]:
    return {r["text_id"]: r["text"] for r in _read(lake, "texts", "text_id", ids, at)}


def _read(lake: Any, table: str, column: str, ids: list[str], at: str | None) -> list[dict[str, Any]]:
    if not ids:
        return []
    wanted = ", ".join(f"'{one}'" for one in dict.fromkeys(ids))
    names = [n for n in lake.dataset(table, at).schema.names if n not in ("thumbnail", "row_digest")]
    return list(lake.read(table, at=at, columns=names, where=f"{column} IN ({wanted})").to_pylist())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
