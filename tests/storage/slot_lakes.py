"""Small lakes whose tables name things, with vectors of a real encoder."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds

from schemas.tables import CAPTIONS, MEDIA, PAIRS, TEXTS, embeddings
from storage import rows
from storage.lake import Lake, Snapshot
from tasks.encoders.hashing import Hashing
from tasks.encoders.identity import identity

ENCODER = Hashing(dim=16)
TABLE = "embeddings_hashing"


def name(prefix: str, number: int) -> str:
    return f"{prefix}{number:063x}"


def medium(number: int, **said: Any) -> dict[str, Any]:
    """Return a medium; `texts` are (role, text) or (role, text, language), `vector` is what its picture shows."""
    return {
        "media_id": name("a", number), "modality": "image", "media_type": "image/png", "width_px": 100,
        "height_px": 100, "present": True, "kept": True, "texts": (), "shows": f"thing {number}",
    } | said  # fmt: skip


def filled(
    uri: str, media: list[dict[str, Any]], captions: list[dict[str, Any]] = ()
) -> tuple[Lake, Snapshot]:  # type: ignore[assignment]
    """Return a lake of media, their texts and vectors, and its snapshot."""
    lake = Lake(uri)
    texts: dict[tuple[str, str], dict[str, Any]] = {}
    pairs = []
    for one in media:
        for role, said, *more in one["texts"]:
            language = more[0] if more else "und"
            kept = more[1] if len(more) > 1 else True
            text = texts.setdefault(
                (said, language),
                {
                    "text_id": name("b", len(texts)), "text": said, "language": language, "origin": "raw",
                    "present": True, "kept": kept,
                },
            )  # fmt: skip
            pairs.append(
                {
                    "pair_id": name("c", len(pairs)), "media_id": one["media_id"], "text_id": text["text_id"],
                    "role": role, "present": True, "kept": more[2] if len(more) > 2 else True,
                }
            )  # fmt: skip
    shown = [one for one in media if one["shows"]]
    spec = embeddings(TABLE, ENCODER.dim)
    vectors = [
        {"item_id": one["media_id"], "side": "media", "modality": one["modality"], "vector": vector}
        for one, vector in zip(shown, ENCODER([one["shows"] for one in shown]), strict=True)
    ] + [
        {"item_id": one["text_id"], "side": "text", "modality": "text", "vector": ENCODER([one["text"]])[0]}
        for one in texts.values()
    ]
    said_of = {
        "xmodal.encoder": json.dumps(identity(ENCODER).__dict__),
        "xmodal.encoder_ref": json.dumps({"name": "hashing", "params": {"dim": ENCODER.dim}}),
    }
    with lake.writer() as writer:
        for table, given in (
            (MEDIA, media),
            (TEXTS, list(texts.values())),
            (PAIRS, pairs),
            (CAPTIONS, captions),
        ):
            listed = [
                {c: None for c in table.schema.names}
                | {c: v for c, v in row.items() if c in table.schema.names}
                for row in given
            ]
            writer.upsert(
                table, pds.dataset(rows.with_digest(pa.Table.from_pylist(listed, schema=table.schema), table))
            )
        listed = [
            {"encoder_digest": "e", "run_id": "r"}
            | row
            | {"vector": np.asarray(row["vector"], np.float32).tolist()}
            for row in vectors
        ]
        made = rows.with_digest(pa.Table.from_pylist(listed, schema=spec.schema), spec)
        writer.upsert(spec, pds.dataset(made), metadata=said_of)
        return lake, writer.commit(tag="latest", recipe_digest="d", run_id="r")


def drawn(seed: int, count: int = 24) -> list[dict[str, Any]]:
    """Return media with names, sizes, gaps and ties drawn."""
    draw = np.random.default_rng(seed)

    def some(values: list[Any], most: int) -> list[Any]:
        return [values[n] for n in draw.choice(len(values), int(draw.integers(0, most + 1)), replace=False)]

    words = [
        "dog",
        "Dogs",
        "traffic_light",
        "Red",
        "orange",
        "übung",
        "o'clock",
        "x'; DROP TABLE media; --",
        "church",
    ]
    folders = ["animals/dogs", "animals", "signs_and_symbols/Red", "animals/cats and dogs"]
    titles = ["the red dog of 1999", "a grey day", "Big Ben", "gray 2004", "orange juice", "12345", "x1999"]
    media = []
    for number in range(count):
        texts: list[tuple[Any, ...]] = [("keywords", ", ".join(some(words, 4)))]
        texts += [("folder", one) for one in some(folders, 2)]
        texts += [
            (
                "title",
                one,
                ["en", "it", "und"][draw.integers(3)],
                bool(draw.random() < 0.9),
                bool(draw.random() < 0.9),
            )
            for one in some(titles, 2)
        ]
        shape = None if draw.random() < 0.15 else int(draw.integers(1, 5)) * 100
        media.append(
            medium(
                number,
                texts=[one for one in texts if one[1]],
                width_px=shape,
                height_px=None if shape is None else int(draw.integers(1, 5)) * 100,
                licence=[None, "CC0-1.0", "GPL-2.0-only", "it's mine", "CC-BY-SA-4.0"][draw.integers(5)],
                modality=["image", "audio"][int(draw.random() < 0.3)],
                media_type=["image/png", "image/svg+xml", "audio/mpeg", None][draw.integers(4)],
                extra=[None, '{"year": 1999}', '{"file": "img_2004.png"}'][draw.integers(3)],
                present=bool(draw.random() < 0.9),
                kept=[True, None, False][draw.choice(3, p=[0.6, 0.25, 0.15])],
                shows=["dog", "red", "church", "orange", ""][draw.integers(5)],
            )
        )
    return media
