"""Small lakes for SQL, and an engine over their vectors that compares with everything."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds

from schemas.tables import CONTENT, embeddings
from storage import rows
from storage.lake import Lake, Snapshot

DIM = 4
VECTORS = "embeddings_tiny"
Rows = Iterable[Mapping[str, Any]]


def digest(kind: str, number: int) -> str:
    return f"{kind}{number:03d}"


def commit(
    lake: Lake, *, tag: str | None = None, vectors: Mapping[str, np.ndarray] | None = None, **tables: Rows
) -> Snapshot:
    """Upsert rows, missing columns null, and commit them."""
    with lake.writer() as writer:
        for name, given in tables.items():
            spec = CONTENT[name]
            listed = [{column: None for column in spec.schema.names} | dict(row) for row in given]
            table = pa.Table.from_pylist(listed, schema=spec.schema)
            writer.upsert(spec, pds.dataset(rows.with_digest(table, spec)))
        if vectors:
            spec = embeddings(VECTORS, DIM)
            listed = [
                {
                    "item_id": item,
                    "side": "text" if item.startswith("t") else "media",
                    "modality": "text" if item.startswith("t") else "image",
                    "encoder_digest": "e",
                    "vector": vector.tolist(),
                    "run_id": "r",
                }
                for item, vector in vectors.items()
            ]
            table = pa.Table.from_pylist(listed, schema=spec.schema)
            writer.upsert(spec, pds.dataset(rows.with_digest(table, spec)))
        return writer.commit(tag=tag, recipe_digest="d", run_id="r")


def media(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "media_id": digest("m", number), "modality": "audio" if number % 5 == 4 else "image", "media_type": "image/png",
        "size_bytes": 1000 + number, "width_px": 100 * number, "height_px": 50, "present": True, "kept": True,
        "locators": [f"{number}.png"], "thumbnail": b"webp", "run_id": "r",
    } | changes  # fmt: skip


def text(number: int, **changes: Any) -> dict[str, Any]:
    words = ("red bicycle", "green tree", "blue boat", "old red house")[number % 4]
    return {
        "text_id": digest("t", number), "text": f"{words} {number}", "language": "en", "origin": "raw",
        "length_chars": 10 + number, "present": True, "kept": True, "run_id": "r",
    } | changes  # fmt: skip


def pair(medium: int, its_text: int, **changes: Any) -> dict[str, Any]:
    return {
        "pair_id": f"p{medium:03d}{its_text:03d}", "media_id": digest("m", medium), "text_id": digest("t", its_text),
        "role": "title", "present": True, "kept": True, "run_id": "r",
    } | changes  # fmt: skip


def score(
    subject: str, subject_id: str, method: str, value: float | None, params: str = "a", **changes: Any
) -> dict[str, Any]:
    return {
        "score_id": f"{subject_id}/{method}/{params}", "subject": subject, "subject_id": subject_id, "method": method,
        "params_digest": params, "inputs": "study", "value": value, "run_id": "r1",
    } | changes  # fmt: skip


def decision(
    subject: str, subject_id: str, rule: str, verdict: str = "drop", **changes: Any
) -> dict[str, Any]:
    return {
        "decision_id": f"{subject_id}/{rule}", "subject": subject, "subject_id": subject_id, "verdict": verdict,
        "rule": rule, "method": "consensus", "params_digest": "a", "value": 0.1, "threshold": "P(true) at most 0.2",
        "rule_digest": "study", "position": 0, "active": True, "run_id": "r1",
    } | changes  # fmt: skip


def verdict(subject: str, subject_id: str, said: str, **changes: Any) -> dict[str, Any]:
    return {
        "verdict_id": f"{subject_id}/0", "subject": subject, "subject_id": subject_id, "verdict": said, "person": "ada",
        "comment": "seen it", "active": True, "made_at": datetime(2026, 1, 1, tzinfo=UTC), "run_id": "r",
    } | changes  # fmt: skip


def unit(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def encoded(words: str) -> np.ndarray:
    """Return what the tiny encoder makes of words."""
    return unit(sum(ord(char) for char in words))


class Exact:
    """An engine that compares with every vector of the snapshot. Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def _ranked(
        self, lake: Lake, snapshot: Snapshot | None, query: np.ndarray, k: int, side: str
    ) -> pa.Table:
        assert snapshot is not None
        self.calls += 1
        found = lake.dataset(VECTORS, snapshot).to_table(filter=f"side = '{side}'")
        ids = found["item_id"].to_pylist()
        scores = np.stack([np.asarray(v, np.float32) for v in found["vector"].to_pylist()]) @ query
        best = sorted(range(len(ids)), key=lambda n: (-scores[n], ids[n]))[:k]
        return pa.table(
            {
                "digest": pa.array([ids[n] for n in best], pa.string()),
                "score": pa.array([scores[n] for n in best], pa.float32()),
                "rank": pa.array(range(1, len(best) + 1), pa.int32()),
            }
        )

    def search(
        self,
        lake: Lake,
        snapshot: Snapshot | None,
        words: str,
        *,
        k: int = 10,
        modality: str | None = None,
        side: str = "media",
    ) -> pa.Table:
        found = self._ranked(lake, snapshot, encoded(words), 1000, side)
        if modality is not None:
            kinds = {
                row["media_id"]: row["modality"]
                for row in lake.dataset("media", snapshot).to_table().to_pylist()
            }
            found = found.filter(pa.array([kinds[item] == modality for item in found["digest"].to_pylist()]))
        return found.slice(0, k)

    def match(self, lake: Lake, snapshot: Snapshot | None, words: str, *, k: int = 10) -> pa.Table:
        texts = lake.dataset("texts", snapshot).to_table().to_pylist()
        counted = [
            (sum(word in row["text"].split() for word in words.split()), row["text_id"]) for row in texts
        ]
        best = sorted(((-n, item) for n, item in counted if n), key=lambda pair: pair)[:k]
        return pa.table(
            {"digest": pa.array([i for _, i in best], pa.string()), "score": [float(-n) for n, _ in best]}
        )

    def similar_to(self, lake: Lake, snapshot: Snapshot | None, item: str, *, k: int = 10) -> pa.Table:
        found = lake.dataset(VECTORS, snapshot).to_table(filter=f"item_id = '{item}'")["vector"].to_pylist()
        if not found:
            raise ValueError(f"no vector of {item}")
        ranked = self._ranked(lake, snapshot, np.asarray(found[0], np.float32), k + 1, "media")
        return ranked.filter(pa.array([other != item for other in ranked["digest"].to_pylist()])).slice(0, k)

    def similarity(self, lake: Lake, snapshot: Snapshot | None, words: str) -> Callable[..., pa.Array]:
        found = lake.dataset(VECTORS, snapshot).to_table().to_pylist()
        known = {
            row["item_id"]: float(np.asarray(row["vector"], np.float32) @ encoded(words)) for row in found
        }

        def of(column: pa.Array) -> pa.Array:
            if pa.types.is_string(column.type):
                return pa.array([known.get(item) for item in column.to_pylist()], pa.float64())
            return pa.array([float(np.asarray(v, np.float32) @ encoded(words)) for v in column.to_pylist()])

        return of

    def options(self) -> dict[str, Any]:
        """Return what `lake.sql` takes."""
        tables = {
            "search": self.search, "match": self.match, "similar_to": self.similar_to, "neighbours": self.similar_to,
            "hybrid": self.search,
        }  # fmt: skip
        return {"functions": tables, "scalars": {"similarity": self.similarity}}


def filled(uri: str) -> Lake:
    """Make a lake of three snapshots, tagged v1 to v3.

    v1: ten media, texts and pairs. v2: a study of the pairs; some are dropped. v3: one pair left its source, one came, one
    text changed, a person spoke.
    """
    lake = Lake(uri)
    numbers = range(10)
    commit(
        lake,
        tag="v1",
        media=[media(n) for n in numbers],
        texts=[text(n) for n in numbers],
        pairs=[pair(n, n) for n in numbers],
        vectors={
            item: unit(seed) for seed, item in enumerate([digest(kind, n) for kind in "mt" for n in numbers])
        },
    )
    scores = [score("pair", f"p{n:03d}{n:03d}", "consensus", n / 10) for n in numbers]
    scores += [score("pair", f"p{n:03d}{n:03d}", "cosine", -n / 10) for n in numbers if n != 3]
    scores += [score("media", digest("m", n), "min-side", float(n)) for n in numbers]
    scores += [score("text", digest("t", n), "length-chars", float(10 + n)) for n in numbers]
    noisy, disputed = ["p000000", "p001001"], ["p002002"]
    commit(
        lake,
        tag="v2",
        scores=scores,
        divisions=[
            {
                "division_id": "d",
                "scorer": "consensus",
                "rule_digest": "study",
                "active": True,
                "separable": True,
            }
        ],
        decisions=[
            *(decision("pair", item, "correspondence: noisy") for item in noisy),
            *(decision("pair", item, "correspondence: disputed", "flag") for item in disputed),
            decision(
                "media", digest("m", 4), "min-side", method="min-side", value=4.0, threshold="at_least 32"
            ),
        ],
        media=[media(4, kept=False, dropped_by="min-side")],
        pairs=[
            pair(0, 0, kept=False, dropped_by="correspondence: noisy"),
            pair(1, 1, kept=False, dropped_by="correspondence: noisy"),
            pair(4, 4, kept=False, dropped_by="media: min-side"),
        ],
    )
    commit(
        lake,
        tag="v3",
        pairs=[pair(0, 0), pair(9, 9, present=False), pair(0, 1)],
        texts=[text(5, text="a red boat 5")],
        verdicts=[verdict("pair", "p000000", "keep"), verdict("pair", "p001001", "drop", active=False)],
    )
    return lake
