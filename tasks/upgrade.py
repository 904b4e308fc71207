"""Go over to another encoder: lead its queries to the old vectors at once, then encode the media shard by shard."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.batch import PairBatch
from schemas.digests import key
from schemas.errors import DataError
from schemas.tables import MEDIA, PAIRS, TEXTS, TableSpec, embeddings
from storage import bridges
from storage.bridges import Bank
from storage.lake import Writer
from storage.search import encoder_table
from storage.versions import Snapshot
from storage.workbench import Workbench, workbench
from tasks.bridges import BRIDGES, Crossing, Rows
from tasks.catalog import build
from tasks.embed import TEXTS_PER_PICTURE, TO_EMBED
from tasks.encoders import EncoderIdentity, identity
from tasks.metrics import retrieval
from tasks.publish import _keep_vectors, record
from tasks.run import RETRY, Job, Step
from tasks.score import matrix
from tasks.shards.embed import PARTS, encode_shard
from tasks.shards.upgrade import UpgradeRun

FEWEST = 10  # texts that a bridge can be learnt from

_WANTED_TEXTS = """
SELECT t.text_id AS item_id, 'text' AS modality, t.text AS item FROM base_texts t ANTI JOIN new n ON n.item_id = t.text_id
WHERE t.present AND t.kept IS NOT FALSE AND (
  t.text_id IN (SELECT p.text_id FROM base_pairs p JOIN kept_media m USING (media_id) WHERE p.present)
  OR t.text_id NOT IN (SELECT text_id FROM base_pairs WHERE present)
) ORDER BY length(item) DESC, item_id
"""
_MEDIA = """
SELECT m.media_id AS item_id, m.modality, m.thumbnail AS item FROM base_media m SEMI JOIN chosen c ON c.item_id = m.media_id
ORDER BY item_id
"""
_KEPT_MEDIA = """
CREATE TEMP VIEW kept_media AS SELECT media_id, coalesce(cluster_id, media_id) AS cluster_id FROM base_media
WHERE present AND kept IS NOT FALSE AND phash IS NOT NULL AND list_contains({modalities}, modality)
"""
# Which groups are held out follows from their names alone: a growing lake goes on being tested on the same ones.
_KNOWN = """
CREATE TEMP VIEW known AS
SELECT p.media_id, p.text_id, m.cluster_id,
       ('0x' || substr(md5('held out ' || m.cluster_id), 1, 8))::UINTEGER / 4294967296.0 < {share} AS apart
FROM base_pairs p JOIN kept_media m USING (media_id) JOIN base_texts t USING (text_id)
SEMI JOIN old o ON o.item_id = p.media_id SEMI JOIN old u ON u.item_id = p.text_id
WHERE p.present AND p.kept IS NOT FALSE AND t.present AND t.kept IS NOT FALSE AND t.origin = 'raw'
"""
_SAMPLE = (
    "SELECT DISTINCT media_id AS item_id FROM known WHERE {which} ORDER BY md5(media_id), 1 LIMIT {most}"
)
_TESTED = """
SELECT DISTINCT media_id, text_id, cluster_id FROM known SEMI JOIN chosen c ON c.item_id = known.media_id
WHERE apart ORDER BY ALL
"""
_LEARNT = """
SELECT o.vector AS old, n.vector AS new FROM old o JOIN new n USING (item_id)
WHERE o.side = 'text' AND o.item_id IN (SELECT text_id FROM base_texts WHERE present AND kept IS NOT FALSE)
  AND o.item_id NOT IN (SELECT text_id FROM known WHERE apart)
ORDER BY md5(o.item_id), o.item_id LIMIT {most}
"""
_BOTH = """
SELECT c.item_id, o.vector AS old, n.vector AS new FROM chosen c JOIN old o USING (item_id) JOIN new n USING (item_id)
ORDER BY c.item_id
"""
_UNSEEN = "SELECT media_id AS item_id FROM kept_media ANTI JOIN new n ON n.item_id = media_id ORDER BY 1"
_SEEN = "SELECT media_id FROM kept_media SEMI JOIN new n ON n.item_id = media_id"


@dataclass(frozen=True)
class Planned:
    """What goes over to what.

    Args:
        run: The run, told who the new encoder is.
        old: The encoder that is left.
        new: The one that comes.
        paths: Staged vectors of texts.
        bridge: Id of the bridge, once there is one.
    """

    run: UpgradeRun
    old: Bank
    new: Bank
    paths: tuple[str, ...] = ()
    bridge: str = ""


@dataclass(frozen=True)
class Standing:
    """A state on the way, and what is found in it.

    Args:
        snapshot_id: Where it can be searched.
        seen: Kept media with a vector of the new encoder.
        media: Kept media it can encode.
        recall: {"r1", "r10": per cent} of held-out texts that look for their media, in this state.
    """

    snapshot_id: str
    seen: int
    media: int
    recall: Mapping[str, float]


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade led to.

    Args:
        snapshot: The newest snapshot.
        bridge: Id of the bridge.
        measured: {"old", "cross", "new": {direction and depth: per cent}} on held-out pairs.
        standings: Each state of this run, oldest first.
        complete: Every medium has a vector of the new encoder: the bridge is not needed any more.
    """

    snapshot: Snapshot
    bridge: str
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    standings: tuple[Standing, ...] = ()
    complete: bool = False


# Told every state as soon as it can be searched; the CLI prints it.
report_standing: ContextVar[Callable[[Standing], None]] = ContextVar(
    "report_standing", default=lambda standing: None
)


@task(cache_policy=NO_CACHE)
def plan(job: Job) -> Planned:
    """Find both encoders.

    Raises:
        DataError: The lake is empty, both are one, or the new one does not encode texts and media.
        NoSuchTable: The lake has no vectors of the old one.
    """
    run = job.run
    if not isinstance(run, UpgradeRun):
        raise TypeError(f"{run.flow} runs no recipe of an upgrade")
    if run.base is None:
        raise DataError("the lake is empty: there is nothing to upgrade; run `xmodal curate` first")
    build(BRIDGES, run.recipe.bridge)  # a wrong name or parameter is said before work starts
    entry = encoder_table(run.lake, run.base, run.recipe.old)
    old = Bank(entry.table, EncoderIdentity(**entry.identity).digest, entry.ref)  # type: ignore[arg-type]
    encoder = run.build_encoder()
    who = identity(encoder)
    if who.table == old.table:
        same = "with the same weights" if who.digest == old.digest else "with other weights"
        raise DataError(
            f"{run.recipe.new.name!r} {same} writes to {old.table} itself; name another encoder to go over to"
        )
    if "text" not in encoder.modalities or len(encoder.modalities) < 2:
        raise DataError(
            f"{encoder.name!r} encodes {', '.join(sorted(encoder.modalities))}; a bridge is learnt from texts and serves "
            "media, so the new encoder must know both"
        )
    new = Bank(who.table, who.digest, run.recipe.new.model_dump())
    return Planned(replace(run, encoder=who), old, new)


@task(cache_policy=NO_CACHE)
def texts(job: Job, planned: Planned) -> Planned:
    """Encode every kept text that the new encoder has not seen."""
    run = planned.run
    with job.ledger.step("embed texts") as step, _bench(planned) as bench:
        size = TEXTS_PER_PICTURE * _size(run)
        paths = _encoded(job, run, bench, step, "text", _WANTED_TEXTS, size)
    return replace(planned, paths=paths)


@task(cache_policy=NO_CACHE)
def bridge(job: Job, planned: Planned) -> Planned:
    """Learn a bridge, measure it on what it did not see, and keep it; the one that was kept before, if nothing changed.

    Raises:
        DataError: There are too few texts or pairs to learn from or to test on.
    """
    run = planned.run
    for one, meta in bridges.bridges(run.lake).items():
        whose = (meta["old"]["digest"], meta["new"]["digest"])
        if meta["recipe_digest"] == run.recipe.digest and whose == (planned.old.digest, planned.new.digest):
            return replace(planned, bridge=one)
    with job.ledger.step("bridge") as step, _bench(planned) as bench:
        sampled = {
            name: bench.table(_SAMPLE.format(which=which, most=most))
            for name, which, most in (
                ("learnt", "NOT apart", run.recipe.media),
                ("tested", "apart", run.recipe.tested),
            )
        }
        if min(map(len, sampled.values())) < 2:
            raise DataError(
                f"{len(sampled['learnt'])} media are left to learn from and {len(sampled['tested'])} to test on, and at "
                f"least 2 are needed of each; held_out is {run.recipe.held_out:g}, and only kept pairs with texts of their "
                "sources count, not names of files or what captioners wrote"
            )
        bench.con.register("chosen", pa.concat_tables(sampled.values()))
        paths = _encoded(job, run, bench, step, "media", _MEDIA, _size(run))
        kept = _learn(replace(planned, paths=(*planned.paths, *paths)), sampled)
    return replace(planned, bridge=kept)


@task(cache_policy=NO_CACHE, **RETRY)
def serve(job: Job, planned: Planned, writer: Writer) -> Planned:
    """Commit the texts' vectors: from here on queries of the new encoder are answered."""
    with job.ledger.step("serve") as step:
        return replace(planned, run=_committed(planned.run, planned.paths, writer, step), paths=())


@task(cache_policy=NO_CACHE, **RETRY)
def backfill(job: Job, planned: Planned, writer: Writer, steps: int | None = None) -> Upgraded:
    """Encode the media, a snapshot a step, and say after each what is found.

    Args:
        job: The run as it began.
        planned: What goes over to what.
        writer: The lake's writer.
        steps: How many at most in this run; all by default.
    """
    run, stored = planned.run, bridges.load(planned.run.lake, planned.bridge)
    standings: list[Standing] = []
    left = 0
    while True:
        with job.ledger.step(f"backfill {len(standings)}") as step:
            with _bench(planned) as bench:
                unseen, seen = bench.table(_UNSEEN), [row[0] for row in bench.rows(_SEEN)]
            total, left = len(seen) + len(unseen), len(unseen)
            said = standing(stored, _snapshot(run).snapshot_id, frozenset(seen), total)
            standings.append(said)
            report_standing.get()(said)
            if not left or (steps is not None and len(standings) > steps):
                break
            chosen = unseen.slice(0, next_stop(len(seen), total, run.recipe.step) - len(seen))
            with _bench(planned) as bench:
                bench.con.register("chosen", chosen)
                paths = _encoded(job, run, bench, step, "media", _MEDIA, _size(run))
            run = _committed(run, paths, writer, step)
            planned = replace(planned, run=run)
    final = _snapshot(run)
    record(replace(job, run=replace(job.run, encoder=run.encoder)), final)
    return Upgraded(final, planned.bridge, stored.meta["measured"], tuple(standings), complete=not left)


def next_stop(seen: int, total: int, step: float) -> int:
    """Return how many media have vectors at the next snapshot: the next multiple of `step` of all, rounded up."""
    for number in range(1, math.ceil(1 / step) + 1):
        stop = min(total, math.ceil(total * number * step - 1e-9))
        if stop > seen:
            return stop
    return total


def standing(stored: bridges.Bridge, snapshot_id: str, seen: frozenset[str], media: int) -> Standing:
    """Return what held-out texts find where some media have new vectors and the rest old ones."""
    test = _Test.of(stored)
    covered = np.array([media_id in seen for media_id in stored.meta["tested"]], bool)
    return Standing(snapshot_id, len(seen), media, test.mixed(stored, covered))


@dataclass(frozen=True)
class _Test:
    """Held-out media and texts with their vectors by both encoders, and who belongs to whom."""

    old_media: NDArray[np.float32]
    new_media: NDArray[np.float32]
    old_text: NDArray[np.float32]
    new_text: NDArray[np.float32]
    medium: NDArray[np.int64]  # (P,) row of the pair's medium
    words: NDArray[np.int64]  # (P,) row of its text
    group: NDArray[np.int64]  # (P,)

    @classmethod
    def of(cls, stored: bridges.Bridge) -> "_Test":
        return cls(**{name.removeprefix("test."): array for name, array in stored.further.items()})

    def recall(self, media: NDArray[np.float32], text: NDArray[np.float32]) -> dict[str, float]:
        """Return recalls at 1 and 10 in per cent, both directions, of vectors a medium and a text each."""
        pairs = PairBatch(
            media[self.medium],
            text[self.words],
            group=self.group,
            media_key=self.medium,
            text_key=self.words,
        )
        found = retrieval(pairs.media_vec, pairs.text_vec, pairs).summary()
        return {name: round(value, 3) for name, value in found.items() if name.endswith(("_r1", "_r10"))}

    def mixed(self, stored: bridges.Bridge, covered: NDArray[np.bool_]) -> dict[str, float]:
        """Return recalls of texts that look for media, some of which have new vectors.

        What `storage.bridges.mixed` scores is a dot product: (q, slope q', shift) with (new, 0, 0) or (0, old, 1).
        """
        crossed = Crossing.from_state(stored.crossings["media"])(self.new_text)
        old, new = stored.background["media"]
        slope, shift = bridges.scale(crossed @ old.T, self.new_text @ new.T)
        query = np.concatenate([self.new_text, slope[:, None] * crossed, shift[:, None]], axis=1)
        media = np.concatenate(
            [
                np.where(covered[:, None], self.new_media, 0),
                np.where(covered[:, None], 0, self.old_media),
                np.where(covered, 0, 1)[:, None],
            ],
            axis=1,
        )
        found = self.recall(media.astype(np.float32), query.astype(np.float32))
        return {f"r{k}": found[f"text_to_media_r{k}"] for k in (1, 10)}


def _learn(planned: Planned, sampled: Mapping[str, pa.Table]) -> str:
    """Fit the bridges to both sides, measure them, keep them, and return their id."""
    run = planned.run
    with _bench(planned) as bench:
        learnt = bench.table(_LEARNT.format(most=run.recipe.texts))
        if len(learnt) < FEWEST:
            raise DataError(
                f"{len(learnt)} texts have vectors of both encoders and are not held out; a bridge needs at least {FEWEST}"
            )
        both = {}
        for name, table in sampled.items():
            bench.con.register("chosen", table)
            both[name] = bench.table(_BOTH)
        pairs = bench.table(_TESTED)  # the last chosen are those tested on
        bench.con.register("chosen", pa.table({"item_id": sorted(set(pairs["text_id"].to_pylist()))}))
        words = bench.table(_BOTH)
    said = Rows(matrix(learnt["new"]), matrix(learnt["old"]))
    shown = Rows(matrix(both["learnt"]["new"]), matrix(both["learnt"]["old"]))
    method = build(BRIDGES, run.recipe.bridge)
    # Towards texts the texts alone do best; towards media it helps to have seen some of them.
    crossings = {
        "text": method.fit(said, seed=run.recipe.seed),
        "media": method.fit(said.joined(shown, weight=1), seed=run.recipe.seed),
    }
    tested = both["tested"]["item_id"].to_pylist()
    test = _Test(
        matrix(both["tested"]["old"]),
        matrix(both["tested"]["new"]),
        matrix(words["old"]),
        matrix(words["new"]),
        _rows(pairs["media_id"], tested),
        _rows(pairs["text_id"], words["item_id"].to_pylist()),
        np.unique(np.array(pairs["cluster_id"].to_pylist()), return_inverse=True)[1].astype(np.int64),
    )
    measured = {
        "old": test.recall(test.old_media, test.old_text),
        "cross": {
            name: (test.recall(test.old_media, crossings["media"](test.new_text))
                   if name.startswith("text") else test.recall(crossings["text"](test.new_media), test.old_text))[name]
            for name in (f"{way}_r{k}" for way in ("text_to_media", "media_to_text") for k in (1, 10))
        },
        "new": test.recall(test.new_media, test.new_text),
    }  # fmt: skip
    base = _snapshot(run)
    few = slice(0, run.recipe.media)
    return bridges.save(
        run.lake,
        crossings={side: crossing.state() for side, crossing in crossings.items()},  # type: ignore[misc]
        background={"media": (shown.old, shown.new), "text": (said.old[few], said.new[few])},
        meta={
            "recipe": run.recipe.model_dump(mode="json"),
            "recipe_digest": run.recipe.digest,
            "snapshot_id": base.snapshot_id,
            "snapshot_digest": base.digest,
            "seed": run.recipe.seed,
            "run_id": run.run_id,
            "old": asdict(planned.old),
            "new": asdict(planned.new),
            "texts": len(said),
            "tested": tested,
            "measured": measured,
        },
        further={f"test.{name}": array for name, array in vars(test).items()},
    )


def _rows(ids: pa.ChunkedArray, known: list[str]) -> NDArray[np.int64]:
    place = {item: row for row, item in enumerate(known)}
    return np.array([place[item] for item in ids.to_pylist()], np.int64)


@contextmanager
def _bench(planned: Planned) -> Iterator[Workbench]:
    """Open a workbench over the snapshot with `old` and `new`: vectors of both encoders, staged ones included."""
    run = planned.run
    with workbench(run.lake, run.base, run.staging) as bench:
        new, old = _spec(run), _spec_of(run, planned.old)
        bench.add_base(MEDIA, TEXTS, PAIRS, old, new)
        bench.add_staged("staged_new", planned.paths, new.stored)
        columns = "item_id, side, vector"
        bench.execute(
            f"CREATE TEMP VIEW old AS SELECT {columns} FROM base_{old.name} WHERE encoder_digest = '{planned.old.digest}'"
        )
        bench.execute(
            f"CREATE TEMP VIEW new AS SELECT {columns} FROM base_{new.name} WHERE encoder_digest = '{planned.new.digest}' "
            f"UNION ALL SELECT {columns} FROM staged_new"
        )
        bench.execute(_KEPT_MEDIA.format(modalities=sorted(run.build_encoder().modalities - {"text"})))
        bench.execute(_KNOWN.format(share=float(run.recipe.held_out)))
        yield bench


def _encoded(
    job: Job, run: UpgradeRun, bench: Workbench, step: Step, side: str, sql: str, size: int
) -> tuple[str, ...]:
    """Stage the items a query gives, have them encoded, and return the staged vectors."""
    names = []
    for number, table in enumerate(bench.tables(sql, size=size)):
        names.append(f"{_spec(run).name}-{side}-{number:05d}-{key(*table['item_id'].to_pylist())[:12]}")
        run.staging.write(table.cast(TO_EMBED[side]).combine_chunks(), "to-embed", f"{names[-1]}.arrow")
    todo = [(side, name) for name in names if not run.staging.exists("embedded", f"{name}.arrow")]
    for report in job.workers.map(partial(encode_shard, run), todo, label=f"embed {side}", gpu=True):
        step.add(report)
    return tuple(run.staging.path("embedded", f"{name}.arrow") for name in names)


def _committed(run: UpgradeRun, paths: tuple[str, ...], writer: Writer, step: Step) -> UpgradeRun:
    """Add vectors, name them in a snapshot, and return the run as it goes on from there."""
    _keep_vectors(run, paths, writer, step)
    # The recipe of the curation still holds: its next run has nothing new to do.
    snapshot = writer.commit(
        tag=run.recipe.tag, recipe_digest=_snapshot(run).recipe_digest, run_id=run.run_id
    )
    run.staging.clear()
    return replace(run, base=snapshot)


def _snapshot(run: UpgradeRun) -> Snapshot:
    if run.base is None:
        raise ValueError("an upgrade needs a snapshot")
    return run.base


def _spec(run: UpgradeRun) -> TableSpec:
    if run.encoder is None:
        raise ValueError("the run has no encoder")
    return embeddings(run.encoder.table, run.encoder.dim)


def _spec_of(run: UpgradeRun, bank: Bank) -> TableSpec:
    schema: Any = run.lake.dataset(bank.table, run.base).schema
    return embeddings(bank.table, schema.field("vector").type.list_size)


def _size(run: UpgradeRun) -> int:
    return max(1, run.recipe.shard_rows // PARTS)
