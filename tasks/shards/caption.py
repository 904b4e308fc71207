"""Write about a shard of media, judge what was written, and rewrite once what was refused."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.digests import key, params_digest, text_digest
from schemas.errors import DataError
from schemas.recipes import CaptionRecipe
from schemas.tables import CAPTIONS, REWRITES
from tasks.assessors import ASSESSORS
from tasks.captioners import CAPTIONERS
from tasks.captioners._reading import admitted, statements_of
from tasks.captioners.contract import Captioner, Corpus, Failure, Known, Medium
from tasks.catalog import build, method_digest
from tasks.encoders.contract import Encoder
from tasks.factual.read import factual
from tasks.negatives import REWRITERS
from tasks.run import Run, ShardReport, cpu_seconds
from tasks.shards.drafts import Judge, Judged, caption_id
from tasks.shards.embed import picture, require_unit, vector_rows
from tasks.shards.screen import named_scores

VECTOR = pa.list_(pa.float32())
TO_CAPTION = pa.schema(
    [
        pa.field("media_id", pa.string()),
        pa.field("modality", pa.string()),
        pa.field("thumbnail", pa.binary()),
        pa.field("vector", VECTOR),
        pa.field("texts", pa.string()),  # JSON [{text_id, text, language, role, kept}]
        pa.field("inputs", pa.string()),
    ]
)
CORPUS_MEDIA = pa.schema([pa.field("media_id", pa.string()), pa.field("vector", VECTOR)])
CORPUS_TEXTS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("text_id", "text", "language", "role")),
        pa.field("vector", VECTOR),
    ]
)
CORPUS_PAIRS = pa.schema([pa.field("media", pa.int64()), pa.field("text", pa.int64())])
LEARNED = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("name", "dtype", "shape")),
        pa.field("data", pa.large_binary()),
    ]
)
OUTCOMES = ("captions", "scores", "vectors", "rewrites")
SYNTHETIC = "synthetic"  # origin and role of what is written here
PAIR_METHOD = "caption: {}"  # what an assessor's score of a pair is called in `scores`


@dataclass(frozen=True)
class CaptionRun(Run):
    """A run that writes captions."""

    recipe: CaptionRecipe  # type: ignore[assignment]  # a run of another kind of recipe

    learned_from: str = ""  # digest of the pairs that learners see


def caption_shard(run: CaptionRun, name: str) -> ShardReport:
    """Write about one staged shard with every captioner of the recipe. Runs in a worker."""
    with cpu_seconds() as cpu:
        shard = run.staging.read(run.staging.path("to-caption", f"{name}.arrow"))
        media = [_medium(row) for row in shard.to_pylist()]
        inputs = shard["inputs"].to_pylist()
        judge = _judge(run, media, [json.loads(said) for said in shard["texts"].to_pylist()])
        written: list[Judged] = []
        rows: list[dict[str, object]] = []
        for number in range(len(run.recipe.captioners)):
            captioner = ready(run, number)
            drafts = captioner(media)
            if len(drafts) != len(media):
                raise DataError(
                    f"captioner {captioner.name!r} gave {len(drafts)} drafts for {len(media)} media; nothing was committed"
                )
            for place, draft in enumerate(drafts):
                said = admitted(draft)
                if isinstance(said, Failure):
                    rows.append(_failed(run, number, media[place], inputs[place], said))
                else:
                    written.append(Judged(place, number, said, statements_of(said)))
        judged = judge(written)
        rows += [_row(run, one, judge, inputs) for one in judged]
        last = [one for one in judged if one.status != "rewritten"]
        counts = _write(run, name, judge, rows, last)
    return ShardReport(counts, len(media), cpu[0], read_bytes=shard.nbytes)


_KEPT: dict[str, dict[object, Any]] = {}  # of one run at a time: what a worker keeps for its next shard


def _once(run: CaptionRun, what: object, make: Callable[[], Any]) -> Any:
    """Return what was made for this run before, or make it."""
    where = run.staging.path()
    if where not in _KEPT:
        _KEPT.clear()
    kept = _KEPT.setdefault(where, {})
    if what not in kept:
        kept[what] = make()
    return kept[what]


def ready(run: CaptionRun, number: int) -> Captioner:
    """Return a captioner of the recipe, having learnt what it learns. Kept for the worker's next shard."""
    captioner: Captioner = _once(run, ("captioner", number), lambda: _ready(run, number))
    return captioner


def _ready(run: CaptionRun, number: int) -> Captioner:
    captioner = build(CAPTIONERS, run.recipe.captioners[number])
    if not captioner.learns:
        return captioner
    if run.staging.exists(f"learned-{number}.arrow") and hasattr(captioner, "with_state"):
        stored = run.staging.read(run.staging.path(f"learned-{number}.arrow")).to_pylist()
        state = {
            row["name"]: np.frombuffer(row["data"], row["dtype"]).reshape(json.loads(row["shape"]))
            for row in stored
        }
        restored: Captioner = captioner.with_state(state)
        return restored
    return captioner.learn(read_corpus(run))


def read_corpus(run: CaptionRun) -> Corpus:
    """Return the staged pairs that learners may see."""
    corpus: Corpus = _once(run, "corpus", lambda: _read_corpus(run))
    return corpus


def _read_corpus(run: CaptionRun) -> Corpus:
    media, texts, pairs = (
        run.staging.read(run.staging.path("corpus", f"{part}.arrow")) for part in ("media", "texts", "pairs")
    )
    return Corpus(
        tuple(media["media_id"].to_pylist()),
        _vectors(media["vector"], run),
        tuple(Known(**row) for row in texts.drop_columns(["vector"]).to_pylist()),
        _vectors(texts["vector"], run),
        np.stack([pairs["media"].to_numpy(), pairs["text"].to_numpy()], axis=1).astype(np.int64),
        Encoded(run),
    )


@dataclass(frozen=True)
class Encoded:
    """The run's encoder on texts, each text once."""

    run: CaptionRun

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of texts. (N, D)."""
        known: dict[str, NDArray[np.float32]] = _once(self.run, "vectors", dict)
        encoder: Encoder = _once(self.run, "encoder", self.run.build_encoder)
        fresh = sorted({text for text in texts} - known.keys(), key=lambda text: (len(text), text))
        if fresh:
            if len(known) > 50_000:
                known.clear()
                fresh = sorted(set(texts), key=lambda text: (len(text), text))
            known.update(zip(fresh, encoder(fresh), strict=True))
        dim = self.run.encoder.dim if self.run.encoder else 0
        return np.stack([known[text] for text in texts]) if len(texts) else np.empty((0, dim), np.float32)


def _judge(run: CaptionRun, media: Sequence[Medium], said: Sequence[Sequence[dict[str, Any]]]) -> Judge:
    """Return who judges drafts about a shard's media; those that the staged gallery lacks are put behind it."""
    gallery = run.staging.read(run.staging.path("gallery.arrow"))
    place = {media_id: row for row, media_id in enumerate(gallery["media_id"].to_pylist())}
    vectors = _vectors(gallery["vector"], run)
    strangers = [m for m in media if m.media_id not in place and m.vector is not None]
    if strangers:
        place |= {m.media_id: len(vectors) + row for row, m in enumerate(strangers)}
        vectors = np.concatenate([vectors, np.array([m.vector for m in strangers], np.float32)])
    return Judge(
        recipe=run.recipe,
        media=media,
        raw=[[row["text"] for row in rows if row["kept"]] for rows in said],
        gallery_vec=vectors,
        own=np.array([place.get(m.media_id, -1) for m in media], np.int64),
        encode=Encoded(run),
    )


def _medium(row: dict[str, Any]) -> Medium:
    vector = None if row["vector"] is None else np.array(row["vector"], np.float32)
    said = tuple(
        Known(known["text_id"], known["text"], known["language"], known["role"])
        for known in json.loads(row["texts"])
        if known["read"]
    )
    return Medium(row["media_id"], picture(row["thumbnail"]), vector, said)


def _by(run: CaptionRun, number: int) -> dict[str, object]:
    ref = run.recipe.captioners[number]
    method = CAPTIONERS[ref.name]
    return {
        "generator": ref.name,
        "version": method.version,
        "params": json.dumps(ref.params, sort_keys=True),
        "params_digest": params_digest(ref.model_dump(mode="json")),
        "learned_from": run.learned_from if method.learns else "",
        "active": True,
        "run_id": run.run_id,
    }


def _failed(run: CaptionRun, number: int, medium: Medium, inputs: str, why: Failure) -> dict[str, object]:
    empty = dict.fromkeys(CAPTIONS.schema.names)
    said = f"{why.reason}: {why.message}" if why.message else why.reason
    return empty | _by(run, number) | {
        "caption_id": caption_id(medium.media_id, run.recipe.captioners[number], 1),
        "media_id": medium.media_id,
        "attempt": 1,
        "status": "failed",
        "reason": said[:500],
        "parents": [],
        "cost": json.dumps(dict(why.cost), sort_keys=True) if why.cost else None,
        "inputs": inputs,
    }  # fmt: skip


def _row(run: CaptionRun, one: Judged, judge: Judge, inputs: Sequence[str]) -> dict[str, object]:
    """Return the row of a draft in `captions`."""
    draft = one.draft
    support = one.support.get("support", next(iter(one.support.values()), None))
    said = [
        asdict(statement) | {"support": None if support is None else round(float(support[row]), 4)}
        for row, statement in enumerate(one.statements)
    ]
    slots = [
        {
            "head": phrase.head,
            "assertion": phrase.assertion,
            "attributes": {attribute.kind: attribute.value for attribute in phrase.attributes},
        }
        for phrase in factual(draft.text, draft.language).phrases
    ]
    return _by(run, one.captioner) | {
        "caption_id": judge.caption_id(one),
        "media_id": judge.media[one.medium].media_id,
        "text_id": None if one.status == "rewritten" else _text_id(one),
        "text": draft.text,
        "language": draft.language,
        "attempt": one.attempt,
        "status": one.status,
        "reason": one.refused,
        "parents": sorted({*draft.parents, *([one.first] if one.first else [])}),
        "statements": json.dumps(said),
        "slots": json.dumps(slots),
        "facts": json.dumps(dict(draft.facts), sort_keys=True, default=str),
        "scores": json.dumps({name: _plain(value) for name, value in sorted(one.scores.items())}),
        "cost": json.dumps(dict(draft.cost), sort_keys=True),
        "inputs": inputs[one.medium],
    }


def _text_id(one: Judged) -> str:
    return text_digest(one.draft.text, one.draft.language, SYNTHETIC)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _write(
    run: CaptionRun, name: str, judge: Judge, rows: list[dict[str, object]], last: list[Judged]
) -> dict[str, int]:
    """Write what the shard came to; files appear whole, the one that says it is done last."""
    if run.encoder is None:
        raise ValueError("the run has no encoder")
    pair_ids = [key(judge.media[one.medium].media_id, _text_id(one)) for one in last]
    tables = []
    for gate in run.recipe.gates:
        values = np.array([one.scores.get(gate.method.name, np.nan) for one in last], np.float32)
        unique = {pair_id: row for row, pair_id in enumerate(pair_ids)}
        order = list(unique.values())
        tables.append(
            named_scores(
                run,
                PAIR_METHOD.format(gate.method.name),
                method_digest(build(ASSESSORS, gate.method)),
                "pair",
                pa.array(list(unique), pa.string()),
                values[order],
                run.encoder.digest,
            )
        )
    texts = {_text_id(one): one.draft.text for one in last}
    vectors = judge.encode(list(texts.values()))
    if len(vectors):
        require_unit(run.encoder.name, vectors, pa.chunked_array([list(texts)]), "text")
    out = {
        "scores": pa.concat_tables(tables) if tables else None,
        "vectors": vector_rows(
            run,
            pa.chunked_array([pa.array(list(texts), pa.string())]),
            "text",
            pa.chunked_array([pa.array(["text"] * len(texts), pa.string())]),
            vectors,
        ),
        "rewrites": pa.Table.from_pylist(_rewrites(run, last, judge.media), schema=REWRITES.schema),
        "captions": pa.Table.from_pylist(rows, schema=CAPTIONS.schema),
    }
    for part, table in out.items():
        if table is not None:
            run.staging.write(table, "captioned", part, f"{name}.arrow")
    return dict(Counter(f"{row['generator']}: {row['status']}" for row in rows))


def _rewrites(run: CaptionRun, last: list[Judged], media: Sequence[Medium]) -> list[dict[str, object]]:
    """Return hard negatives and paraphrases of accepted drafts, each once."""
    accepted = [one for one in last if not one.refused and one.draft.language == "en"]
    if not accepted:
        return []
    found: dict[str, dict[str, object]] = {}
    for ref in run.recipe.rewriters:
        rewriter = build(REWRITERS, ref)
        params = method_digest(rewriter)
        for made in rewriter(
            [one.draft.text for one in accepted], facts=[dict(one.draft.facts) for one in accepted]
        ):
            one = accepted[made.of]
            media_id, text_id = media[one.medium].media_id, _text_id(one)
            row = key(text_id, media_id, ref.name, params, made.text)
            found[row] = {
                "rewrite_id": row,
                "media_id": media_id,
                "text_id": text_id,
                "text": made.text,
                "kind": made.kind,
                "before": made.before,
                "after": made.after,
                "is_true": made.true,
                "method": ref.name,
                "params_digest": params,
                "active": True,
                "run_id": run.run_id,
            }
    return list(found.values())


def _vectors(column: pa.ChunkedArray, run: CaptionRun) -> NDArray[np.float32]:
    dim = run.encoder.dim if run.encoder else 0
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float32, copy=False).reshape(-1, dim)
