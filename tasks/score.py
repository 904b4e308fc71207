"""Score pairs: is this text about this medium? Scorers score; the recipe decides."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.batch import PairBatch, empty_on_disk, index_dtype, mapped_array
from schemas.digests import key_of
from schemas.errors import DataError
from schemas.tables import SCORES, TableSpec, embeddings
from storage.workbench import Workbench, mapped, values
from tasks.catalog import build, method_digest
from tasks.decide import Judged, decided_bench
from tasks.embed import Embedded
from tasks.noise import NOISE_SCORERS
from tasks.noise.contract import NoiseScorer
from tasks.run import Job, Run
from tasks.shards.screen import score_batches, score_rows

FEATURES = ("vectors_of_media", "vectors_of_text")  # views of what the study's own encoders made
CHUNK = 4096  # pairs scored at once by shard-scope scorers


@task(cache_policy=NO_CACHE)
def judge(job: Job, embedded: Embedded) -> Judged:
    """Run the recipe's scorers on the pairs whose media and texts are kept."""
    run, decided = job.run, embedded.decided
    if run.encoder is None or not run.recipe.pair_rules:
        return Judged(decided, ())
    with job.ledger.step("score pairs") as step, vectors_bench(run, embedded) as bench:
        bench.add_base(SCORES)
        hold_kept_pairs(bench)
        paths = []
        for rule in run.recipe.pair_rules:
            scorer = build(NOISE_SCORERS, rule.method)
            batches = (
                _by_table(run, bench, scorer) if scorer.scope == "table" else _by_chunk(run, bench, scorer)
            )
            name = f"{scorer.name}-{method_digest(scorer)[:8]}.arrow"
            paths.append(run.staging.write_batches(batches, SCORES.stored, "judged", name))
            step.items += run.staging.dataset(paths[-1:], SCORES.stored).count_rows()
    return Judged(decided, tuple(paths))


def hold_kept_pairs(bench: Workbench, wanted: str = "true") -> None:
    """Hold `kept_pairs`: the present pairs whose medium and text are kept, with the medium's cluster.

    Args:
        bench: A workbench of `vectors_bench`.
        wanted: Condition on a row `p` of `now_pairs`.
    """
    # One join a statement: what several joins of one statement hold, they cannot all spill. Most are kept: what is held are
    # those that are not.
    with bench.as_written():
        bench.hold(
            "with_media",
            "SELECT p.pair_id, p.media_id, p.text_id FROM now_pairs p ANTI JOIN (SELECT id FROM kept_media "
            f"WHERE kept IS NOT TRUE) m ON m.id = p.media_id WHERE p.present AND {wanted}",
        )
        bench.hold(
            "with_both",
            "SELECT p.* FROM with_media p ANTI JOIN (SELECT id FROM kept_text WHERE kept IS NOT TRUE) t ON t.id = p.text_id",
        )
        bench.hold(
            "kept_pairs",
            "SELECT p.*, coalesce(c.cluster_id, p.media_id) AS cluster_id FROM with_both p "
            "LEFT JOIN (SELECT media_id, cluster_id FROM clusters WHERE media_id <> cluster_id) c USING (media_id)",
        )
    bench.drop("with_media", "with_both")


@dataclass(frozen=True)
class Vectors:
    """The vectors of an encoder, old and new.

    Args:
        view: What a workbench of `vectors_bench` calls them: item_id, side, is_new, and where the vector lies: place or address.
        spec: Of the table that has the old ones.
        digest: The encoder's.
    """

    view: str
    spec: TableSpec
    digest: str

    @property
    def dim(self) -> int:
        """D, their width."""
        return int(self.spec.schema.field("vector").type.list_size)

    @property
    def new(self) -> str:
        """What a workbench calls those that are staged."""
        return f"staged_{self.view}"


def vectors_of(run: Run, view: str = "vectors") -> Vectors:
    """Return the vectors of a run's encoder."""
    if run.encoder is None:
        raise ValueError("the run has no encoder")
    return Vectors(view, embeddings(run.encoder.table, run.encoder.dim), run.encoder.digest)


def both_sides(run: Run, embedded: Embedded) -> tuple[Vectors, Vectors]:
    """Return media's and texts' vectors: those made for a study, where it has encoders of its own."""
    if not embedded.further:
        return vectors_of(run), vectors_of(run)
    media, text = (
        vectors_of(further.run, view) for view, further in zip(FEATURES, embedded.further, strict=True)
    )
    return media, text


@contextmanager
def vectors_bench(run: Run, embedded: Embedded) -> Iterator[Workbench]:
    """Open a workbench with what is decided so far and `vectors`: those of the run's encoder, old and new."""
    of_run = [(vectors_of(run), embedded.paths)]
    of_study = [
        (vectors_of(further.run, view), further.paths)
        for view, further in zip(FEATURES, embedded.further, strict=False)
    ]
    with decided_bench(run, embedded.decided) as bench:
        for vectors, paths in of_run + of_study:
            _offer(bench, vectors, paths)
        yield bench


def _offer(bench: Workbench, vectors: Vectors, paths: tuple[str, ...]) -> None:
    """Offer where the vectors of an encoder lie, staged ones in place of those of the snapshot."""
    view, spec, new = vectors.view, vectors.spec, vectors.new
    bench.add_addressed(spec)
    bench.add_staged(new, paths, spec.stored)
    bench.add_placed(new, "item_id", "side")
    bench.execute(
        f"CREATE TEMP VIEW {view} AS SELECT item_id, side, place AS lies, true AS is_new FROM placed_{new} UNION ALL "
        f"SELECT item_id, side, _rowaddr::BIGINT, false FROM addressed_{spec.name} b "
        f"ANTI JOIN (SELECT item_id FROM placed_{new}) s USING (item_id) WHERE b.encoder_digest = '{vectors.digest}'"
    )


def _by_chunk(run: Run, bench: Workbench, scorer: NoiseScorer) -> Iterator[pa.RecordBatch]:
    """Score pairs that have no score from these vectors yet, a chunk at a time."""
    if run.encoder is None:
        return
    done = (
        f"SELECT subject_id FROM base_scores WHERE method = '{scorer.name}' "
        f"AND params_digest = '{method_digest(scorer)}' AND inputs = '{run.encoder.digest}'"
    )
    bench.hold_lacking("to_score", "SELECT * FROM kept_pairs", "pair_id", done, "subject_id")
    for rows_of in pairs_with_vectors(bench, vectors_of(run), "SELECT * FROM to_score"):
        found = checked(scorer, scorer(_batch(rows_of)), rows_of["pair_id"])
        rows = score_rows(run, scorer, "pair", rows_of["pair_id"], found, run.encoder.digest)
        yield from rows.to_batches()


def _by_table(run: Run, bench: Workbench, scorer: NoiseScorer) -> Iterator[pa.RecordBatch]:
    """Score all pairs together, unless they were scored as this very set before."""
    if run.encoder is None:
        return
    found = bench.ordered("SELECT pair_id FROM kept_pairs", "pair_id")
    ids = mapped(found, found.schema)["pair_id"]
    inputs = key_of(chain([run.encoder.digest], values(ids)))
    found = bench.rows(
        "SELECT count(*) FROM base_scores WHERE method = ? AND params_digest = ? AND inputs = ?",
        [scorer.name, method_digest(scorer), inputs],
    )
    if int(found[0][0]) >= len(ids) > 0:
        return
    with aligned_pairs(bench, (vectors_of(run), vectors_of(run)), "SELECT * FROM kept_pairs") as (
        rows_of,
        media,
        text,
    ):
        if not len(rows_of):
            return
        pairs = PairBatch(media, text, group=_group(rows_of["cluster_id"]))
        ids = rows_of["pair_id"]
        yield from score_batches(run, scorer, "pair", ids, checked(scorer, scorer(pairs), ids), inputs)


def checked(scorer: NoiseScorer, values: np.ndarray, pair_ids: pa.ChunkedArray) -> np.ndarray:
    """Return a scorer's values as they are, if they keep its promise: one a pair, in [0, 1].

    Raises:
        DataError: They do not; names the scorer and the first pair.
    """
    if values.shape != (len(pair_ids),):
        raise DataError(f"scorer {scorer.name!r} gave {values.shape} values for {len(pair_ids)} pairs")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise DataError(
            f"scorer {scorer.name!r} gave {values[wrong[0]]:g} to pair {pair_ids[int(wrong[0])].as_py()} and left "
            f"[0, 1] for {len(wrong)} of {len(values)} pairs; nothing was committed"
        )
    return values


def pairs_with_vectors(
    bench: Workbench,
    vectors: Vectors,
    pairs_sql: str,
    columns: str = "p.cluster_id",
    size: int = CHUNK,
) -> Iterator[pa.Table]:
    """Yield pairs with their two vectors; a pair lacking one (an encoder without that modality) is left out.

    Args:
        bench: A workbench of `vectors_bench`.
        vectors: Of both sides.
        pairs_sql: Query of the pairs: pair_id, media_id, text_id, and what `columns` names.
        columns: Further columns to yield, of the query `p`.
        size: Rows of a table, about.
    """
    with aligned_pairs(bench, (vectors, vectors), pairs_sql, columns) as (table, media, text):
        for start in range(0, len(table), size):
            part = table.slice(start, size)
            for name, side in (("media_vec", media), ("text_vec", text)):
                part = part.append_column(name, _listed(side[start : start + size]))
            yield part


def _listed(vectors: np.ndarray) -> pa.Array:
    """Return vectors (N, D) as an Arrow column."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


@contextmanager
def aligned_pairs(
    bench: Workbench,
    vectors: tuple[Vectors, Vectors],
    pairs_sql: str,
    columns: str = "p.cluster_id",
) -> Iterator[tuple[pa.Table, np.ndarray, np.ndarray]]:
    """Offer all pairs by id with their two vectors, which are mapped from files: what is in memory is keys.

    Args:
        bench: A workbench of `vectors_bench`.
        vectors: The media's and the texts'.
        pairs_sql: As in `pairs_with_vectors`.
        columns: Further columns, of the query `p`.

    Yields:
        pair_id and the columns; (N, Dm) media vectors; (N, Dt) text vectors, float32.
    """
    media, text = vectors
    with bench.as_written():
        bench.hold("asked", pairs_sql)
        for side, of_side, asked, found in (
            ("media", media, "asked", "with_medium"), ("text", text, "with_medium", "paired"),
        ):  # fmt: skip
            bench.hold(
                found,
                f"SELECT p.*, v.lies AS {side}_lies, v.is_new AS {side}_is_new FROM {asked} p "
                f"JOIN (SELECT item_id, lies, is_new FROM {of_side.view} WHERE side = '{side}') v ON v.item_id = p.{side}_id",
            )
            bench.drop(asked)
    rows = bench.ordered(
        "SELECT p.text_id AS its_text, p.media_lies, p.media_is_new, p.text_lies, p.text_is_new, p.pair_id, "
        f"{columns} FROM paired p",
        "pair_id",
    )
    schema = rows.schema.insert(0, pa.field("pair", pa.int64()))
    table = mapped(_numbered(rows, schema), schema)
    bench.drop("paired")
    aligned = ["pair", "its_text", "media_lies", "media_is_new", "text_lies", "text_is_new"]
    bench.con.register("aligned", table.select(aligned))
    sides = [
        _mapped(bench, of_side, side, len(table))
        for of_side, side in zip(vectors, ("media", "text"), strict=True)
    ]
    yield table.drop_columns(aligned), sides[0], sides[1]
    bench.con.unregister("aligned")


def _numbered(rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield rows with their number in front."""
    start = 0
    for batch in rows:
        yield pa.record_batch([pa.array(np.arange(start, start + len(batch))), *batch.columns], schema=schema)
        start += len(batch)


def _mapped(bench: Workbench, vectors: Vectors, side: str, count: int) -> np.ndarray:
    """Write a side's vectors to a file, each at its pair's place, and return them mapped. (N, D), float32.

    Vectors are read in the order they lie in, which `aligned` says, and written so; then they are looked up there. Written at
    their pairs' places at once, each would have the system write a page, which has room for sixteen: 100 GB for 13 million.
    """
    if not count:
        return np.empty((0, vectors.dim), np.float32)
    old = f"SELECT {side}_lies::UBIGINT AS _rowaddr, pair FROM aligned WHERE NOT {side}_is_new"
    new = f"SELECT {side}_lies AS place, pair FROM aligned WHERE {side}_is_new"
    lying, place, done = (
        mapped_array((count, vectors.dim), np.float32),
        empty_on_disk(count, index_dtype(count)),
        0,
    )
    with bench.as_written():
        for rows_of in chain(
            bench.chosen(vectors.spec, ["vector"], old, size=CHUNK),
            bench.chosen_of_staged(vectors.new, ["vector"], new, ["item_id"], size=CHUNK),
        ):
            lying[done : done + len(rows_of)] = matrix(rows_of["vector"])
            place[rows_of["pair"].to_numpy()] = np.arange(done, done + len(rows_of))
            done += len(rows_of)
    file = mapped_array((count, vectors.dim), np.float32)
    for start in range(0, count, CHUNK):
        file[start : start + CHUNK] = lying[place[start : start + CHUNK]]
    return file


def _batch(rows_of: pa.Table) -> PairBatch:
    return PairBatch(
        matrix(rows_of["media_vec"]), matrix(rows_of["text_vec"]), group=_group(rows_of["cluster_id"])
    )


def _group(clusters: pa.ChunkedArray) -> np.ndarray:
    """Return an integer per pair, equal where the clusters are. (N,) int64."""
    coded = clusters.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of vectors as one array. (N, D), float32."""
    vectors = column.combine_chunks()
    flat = vectors.values.to_numpy(zero_copy_only=False)
    return flat.reshape(len(vectors), column.type.list_size).astype(np.float32, copy=False)
