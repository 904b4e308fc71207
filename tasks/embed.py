"""Fill an encoder's table: every kept medium and text it has no vector for yet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key
from schemas.tables import MEDIA, embeddings
from storage.workbench import Workbench
from tasks.catalog import build
from tasks.decide import Decided, decided_bench
from tasks.encoders import ENCODERS
from tasks.encoders.identity import identity
from tasks.run import Job, Run, Step
from tasks.shards.embed import PARTS, encode_shard, open_encoder

TEXTS_PER_PICTURE = 4  # a text costs about a sixth of a picture; keeps shards of both alike in time

TO_EMBED = {
    "media": pa.schema(
        [pa.field("item_id", pa.string()), pa.field("modality", pa.string()), pa.field("item", pa.binary())]
    ),
    "text": pa.schema(
        [pa.field("item_id", pa.string()), pa.field("modality", pa.string()), pa.field("item", pa.string())]
    ),
}

# Vectors are kept for what the rules on items let through; texts only if some kept medium, or none at all, carries them.
_MEDIA_WANTED = """
SELECT media_id AS item_id, address, is_fresh FROM now_media n SEMI JOIN lacking l ON l.item_id = n.media_id
WHERE n.phash IS NOT NULL AND list_contains({modalities}, n.modality)
"""
_BORNE = """
SELECT p.text_id, bool_or(m.id IS NOT NULL) AS by_kept
FROM (SELECT text_id, media_id FROM now_pairs SEMI JOIN lacking l ON l.item_id = text_id WHERE present) p
LEFT JOIN (SELECT id FROM kept_media WHERE kept) m ON m.id = p.media_id GROUP BY 1
"""
_TEXT_WANTED = "SELECT l.item_id FROM lacking l LEFT JOIN borne b ON b.text_id = l.item_id WHERE coalesce(b.by_kept, true)"


@dataclass(frozen=True)
class Embedded:
    """Where new vectors are staged.

    Args:
        decided: What is kept.
        paths: Files of the recipe's encoder.
        further: Vectors of other encoders that the study of pairs asks for: media's first, then texts'.
    """

    decided: Decided
    paths: tuple[str, ...]
    further: tuple["Further", ...] = ()


@dataclass(frozen=True)
class Further:
    """Vectors of an encoder beside the recipe's.

    Args:
        run: The run, with this encoder in place of the recipe's.
        paths: Files of new vectors.
    """

    run: Run
    paths: tuple[str, ...]


def get_ready(job: Job) -> None:
    """Have workers that are up open the encoder while the driver decides what is kept."""
    if job.run.encoder is not None:
        job.workers.begin(partial(open_encoder, job.run), gpu=True)


@task(cache_policy=NO_CACHE)
def encode(job: Job, decided: Decided) -> Embedded:
    """Encode what is kept and has no vector of this encoder yet."""
    run = job.run
    if run.encoder is None:
        return Embedded(decided, ())
    study = run.recipe.correspondence
    features = study.features if study else None
    refs = (features.media, features.text) if features else ()
    others = [
        replace(
            run,
            recipe=run.recipe.model_copy(update={"encoder": ref}),
            encoder=identity(build(ENCODERS, ref)),
        )
        for ref in refs
    ]
    with job.ledger.step("embed") as step, decided_bench(run, decided) as bench:
        paths = _encoded(run, job, step, bench)
        for report in job.workers.begun():
            step.add(report)
    found = []
    for other, side in zip(others, ("media", "text"), strict=False):
        with (
            job.ledger.step(f"embed {side} for the study") as step,
            decided_bench(run, decided) as bench,
        ):  # type: ignore[union-attr]
            found.append(Further(other, _encoded(other, job, step, bench, sides=(side,))))
    return Embedded(decided, paths, tuple(found))


def _encoded(
    run: Run, job: Job, step: Step, bench: Workbench, sides: tuple[str, ...] = ("media", "text")
) -> tuple[str, ...]:
    """Encode what has no vector of the run's encoder yet and return the staged files."""
    _offer_vectors(run, bench)
    modalities = run.build_encoder().modalities
    work = [
        *(_staged_media(run, bench, modalities) if "media" in sides else ()),
        *(_staged_texts(run, bench, modalities) if "text" in sides else ()),
    ]
    todo = [unit for unit in work if not run.staging.exists("embedded", f"{unit[1]}.arrow")]
    for report in job.workers.map(partial(encode_shard, run), todo, label="embed", gpu=True):
        step.add(report)
    return tuple(run.staging.path("embedded", f"{name}.arrow") for _, name in work)


def _offer_vectors(run: Run, bench: Workbench) -> None:
    """Offer `vectors`: ids the snapshot already has vectors of this very encoder for."""
    if run.encoder is None:
        raise ValueError("the run has no encoder")
    bench.add_base(embeddings(run.encoder.table, run.encoder.dim))
    bench.execute(
        f"CREATE TEMP VIEW vectors AS SELECT item_id, side FROM base_{run.encoder.table} "
        f"WHERE encoder_digest = '{run.encoder.digest}'"
    )


def _hold_lacking(bench: Workbench, side: str) -> None:
    """Hold `lacking`: what is kept and has no vector."""
    kept = f"SELECT id AS item_id FROM kept_{side} WHERE kept"
    bench.hold_lacking(
        "lacking", kept, "item_id", f"SELECT item_id FROM vectors WHERE side = '{side}'", "item_id"
    )


def _staged_media(run: Run, bench: Workbench, modalities: frozenset[str]) -> Iterator[tuple[str, str]]:
    wanted = _MEDIA_WANTED.format(modalities=sorted(modalities))
    _hold_lacking(bench, "media")
    bench.hold("wanted", wanted)
    columns = ["media_id", "modality", "thumbnail"]
    fresh = "SELECT place FROM numbered m SEMI JOIN fresh_media f USING (source_id) SEMI JOIN wanted t ON t.item_id = m.media_id"
    known = "SELECT address AS _rowaddr FROM wanted WHERE NOT is_fresh"
    rows_of = chain(
        bench.chosen_of_staged("staged_media", columns, fresh, ["source_id", "media_id"], size=_size(run)),
        bench.chosen(MEDIA, columns, known, size=_size(run)),
    )
    count = bench.rows("SELECT count(*) FROM wanted")[0][0]
    for number, table in enumerate(tapered(rows_of, count, _size(run))):
        yield _shard(run, "media", number, table.rename_columns(TO_EMBED["media"].names))


def _staged_texts(run: Run, bench: Workbench, modalities: frozenset[str]) -> Iterator[tuple[str, str]]:
    if "text" not in modalities:
        return
    _hold_lacking(bench, "text")
    bench.hold("borne", _BORNE)
    bench.hold("wanted_texts", _TEXT_WANTED)
    bench.hold(
        "items",
        "SELECT n.text_id AS item_id, 'text' AS modality, n.text AS item FROM now_texts n "
        "SEMI JOIN wanted_texts t ON t.item_id = n.text_id",
    )
    # like lengths together: little padding; the slowest shards first: workers end at about the same time
    sql = "SELECT *, -length(item) AS shortness FROM items"
    for number, table in enumerate(
        bench.tables(sql, "shortness", "item_id", size=TEXTS_PER_PICTURE * _size(run))
    ):
        yield _shard(run, "text", number, table.drop_columns(["shortness"]))


def tapered(tables: Iterable[pa.Table], count: int, size: int) -> Iterator[pa.Table]:
    """Yield tables, the last ones cut up: workers that take large shards to the end wait for the slowest of them.

    Args:
        tables: Of at most `size` rows.
        count: Rows of all tables.
        size: From four times as many rows before the end on tables are halved, from twice on quartered; so few rows
            in all stay as they are.
    """
    left = count
    for table in tables:
        parts = 1 if left > 4 * size or count <= 2 * size else 2 if left > 2 * size else 4
        left -= len(table)
        step = max(1, -(-size // parts))
        for start in range(0, len(table), step):
            yield table.slice(start, step)


def _size(run: Run) -> int:
    return max(1, run.recipe.shard_rows // PARTS)


def _shard(run: Run, side: str, number: int, rows_of: pa.Table) -> tuple[str, str]:
    who = run.encoder.table if run.encoder else ""
    name = f"{who}-{side}-{number:05d}-{key(*rows_of['item_id'].to_pylist())[:12]}"
    run.staging.write(rows_of.cast(TO_EMBED[side]).combine_chunks(), "to-embed", f"{name}.arrow")
    return side, name
