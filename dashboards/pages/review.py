"""Review: doubtful pairs one after the other, judged by keys; several people at once, each with pairs of their own."""

import threading
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import JSONResponse

from dashboards.journal import Journal, Say
from dashboards.pages.cards import cards, is_id, pair_cards, reasons_of, rows_by_id, texts_of
from dashboards.site import Site
from schemas.errors import DataError, XmodalError
from storage.versions import Snapshot
from tasks.search import search

LEASE_S = 300.0  # how long a pair that one person looks at is kept from the others
QUEUE = 5000  # pairs lined up
NEIGHBOURS = 6
SAYS: dict[str, Say] = {"accept": "keep", "reject": "drop"}
Person = Annotated[str, Form(min_length=1, max_length=80)]


@dataclass
class Desk:
    """Who looks at what. Lives as long as the server; verdicts do not depend on it."""

    looks: dict[str, tuple[str, float]] = field(default_factory=dict)  # pair -> who, until when
    passed: dict[str, dict[str, None]] = field(default_factory=dict)  # person -> pairs they skipped, in order
    lock: threading.Lock = field(default_factory=threading.Lock)

    def give(self, person: str, queue: list[str], taken: set[str]) -> str | None:
        """Return the next pair for a person, and keep it from others for a while. Skipped ones come back at the end."""
        now = time.monotonic()
        with self.lock:
            self.looks = {pair: look for pair, look in self.looks.items() if look[1] > now}
            passed = self.passed.setdefault(person, {})
            free = [
                pair
                for pair in queue
                if pair not in taken and self.looks.get(pair, (person, 0.0))[0] == person
            ]
            in_order = [pair for pair in free if pair not in passed] or [
                pair for pair in passed if pair in set(free)
            ]
            if not in_order:
                return None
            for pair in [pair for pair, look in self.looks.items() if look[0] == person]:
                del self.looks[pair]
            self.looks[in_order[0]] = (person, now + LEASE_S)
            return in_order[0]

    def skip(self, person: str, pair_id: str) -> None:
        """Put a pair at the end of a person's queue."""
        with self.lock:
            passed = self.passed.setdefault(person, {})
            passed.pop(pair_id, None)
            passed[pair_id] = None
            self.looks.pop(pair_id, None)


def routes(site: Site) -> APIRouter:
    """Return the routes of review."""
    router, desk = APIRouter(), Desk()
    writes = [Depends(site.sessions.check)]

    @router.get("/review")
    def review(request: Request) -> Response:
        person = site.actions.person if site.actions else ""
        return site.show(request, "review.html", person=person, **_progress(site))

    @router.get("/review/next")
    def following(request: Request, person: Annotated[str, Query(min_length=1, max_length=80)]) -> Response:
        head = site.head()
        taken = set(site.actions.journal.waiting()) if site.actions else set()
        pair_id = desk.give(person, queue(site, head), taken)
        return site.show(
            request, "_review.html", "_review.html", item=_item(site, head, pair_id) if pair_id else None
        )

    @router.get("/review/pair/{pair_id}")
    def pair(request: Request, pair_id: str) -> Response:
        head = site.head()
        return site.show(request, "_review.html", "_review.html", item=_item(site, head, pair_id))

    @router.get("/review/progress")
    def progress() -> dict[str, Any]:
        return _progress(site)

    @router.post("/review/verdict", dependencies=writes)
    def verdict(
        pair_id: Annotated[str, Form(max_length=64)], say: Annotated[str, Form(pattern="^(accept|reject)$")],
        person: Person, comment: Annotated[str, Form(max_length=500)] = "",
    ) -> dict[str, Any]:  # fmt: skip
        actions = site.can_write()
        if not is_id(pair_id) or not rows_by_id(
            site.lake, site.head(), "pairs", "pair_id", [pair_id], ["pair_id"]
        ):
            raise DataError("no pair of this lake has this id")
        number = actions.journal.add(pair_id, SAYS[say], person, comment)
        return {"number": number, **_progress(site)}

    @router.post("/review/skip", dependencies=writes)
    def skip(pair_id: Annotated[str, Form(max_length=64)], person: Person) -> dict[str, Any]:
        site.can_write()
        desk.skip(person, pair_id)
        return _progress(site)

    @router.post("/review/undo", dependencies=writes)
    def undo(person: Person) -> Response:
        taken_back = site.can_write().journal.undo(person)
        if taken_back is None:
            return JSONResponse(
                {"pair_id": None, "message": "there is nothing of yours to undo", **_progress(site)}
            )
        was = "accepted" if taken_back.say == "keep" else "rejected"
        return JSONResponse(
            {"pair_id": taken_back.subject_id, "message": f"no longer {was}", **_progress(site)}
        )

    return router


def queue(site: Site, head: Snapshot) -> list[str]:
    """Return the pairs that rules doubt and nobody has judged: flagged ones first, then the dropped; least certain first."""
    return site.once(("queue", head.snapshot_id), lambda: _queue(site, head))


def _queue(site: Site, head: Snapshot) -> list[str]:
    if "decisions" not in head.versions:
        return []
    judged = (
        "SELECT subject_id FROM raw.verdicts WHERE active" if "verdicts" in head.versions else "SELECT ''"
    )
    rows = site.rows(
        "SELECT d.subject_id AS pair_id FROM raw.decisions d JOIN raw.pairs p ON p.pair_id = d.subject_id "
        f"WHERE d.active AND d.subject = 'pair' AND p.present AND d.subject_id NOT IN ({judged}) "
        "AND d.rule NOT LIKE 'caption: %' GROUP BY 1 "
        f"ORDER BY min(d.verdict = 'drop'), min(abs(coalesce(d.value, 0) - 0.5)), 1 LIMIT {QUEUE}",
        at=head.snapshot_id,
        limit=QUEUE,
    )
    return [row["pair_id"] for row in rows]


def _item(site: Site, head: Snapshot, pair_id: str) -> dict[str, Any]:
    """Return all a person needs to judge a pair."""
    lake = site.lake
    found = pair_cards(lake, head, [pair_id]) if is_id(pair_id) else []
    if not found:
        raise DataError("no pair of this lake has this id")
    card = found[0]
    beside = rows_by_id(
        lake, head, "pairs", "media_id", [card.media_id], ["pair_id", "text_id", "role", "present", "kept"]
    )
    others = [row for row in beside if row["present"] and row["pair_id"] != pair_id]
    texts = texts_of(lake, head, [row["text_id"] for row in others])
    columns = ["subject_id", "rule", "verdict", "value", "threshold", "active"]
    spoke = [
        row for row in rows_by_id(lake, head, "decisions", "subject_id", [pair_id], columns) if row["active"]
    ]
    scores = rows_by_id(lake, head, "scores", "subject_id", [pair_id], ["method", "value"])
    columns = ["kind", "position", "ref_id", "active"]
    fits = [
        row
        for row in rows_by_id(lake, head, "reasons", "pair_id", [pair_id], columns)
        if row["active"] and row["kind"] == "better-media"
    ]
    better = [row["ref_id"] for row in sorted(fits, key=lambda row: row["position"] or 0)]
    return {
        "card": card,
        "better": cards(lake, head, better[:NEIGHBOURS]),
        "others": [row | {"text": texts.get(row["text_id"], "")} for row in others],
        "decisions": spoke,
        "scores": sorted(scores, key=lambda row: row["method"]),
        "reasons": reasons_of(lake, head, [pair_id]).get(pair_id, []),
        "neighbours": _neighbours(site, head, card.media_id),
    }


def _neighbours(site: Site, head: Snapshot, media_id: str) -> list[Any]:
    """Return what resembles a medium; nothing where the lake has no vectors of it."""
    try:
        hits = search(site.lake, like=(media_id,), k=NEIGHBOURS + 1, at=head.snapshot_id).hits
    except XmodalError:
        return []
    return [hit for hit in hits if hit.media_id != media_id][:NEIGHBOURS]


def _progress(site: Site) -> dict[str, Any]:
    """Return how far the review is: pairs left, verdicts that wait, that the lake has, that it refused."""
    journal: Journal | None = site.actions.journal if site.actions else None
    counts = journal.counts() if journal else {}
    waiting = journal.waiting() if journal else {}
    head = site.head()
    left = [pair for pair in queue(site, head) if pair not in waiting]
    refused = [entry.message for entry in (journal.last(20) if journal else []) if entry.status == "refused"]
    return {
        "left": len(left), "waiting": len(waiting), "written": counts.get("written", 0),
        "refused": counts.get("refused", 0), "trouble": journal.trouble if journal else "",
        "last_refusal": refused[0] if refused else "", "snapshot": head.snapshot_id,
    }  # fmt: skip
