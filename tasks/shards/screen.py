"""Score a shard of media or texts with the recipe's filters."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from schemas.digests import keys
from schemas.recipes import Rule
from schemas.tables import SCORES
from storage import rows
from tasks.catalog import Named, build, method_digest
from tasks.filters import FILTERS
from tasks.filters.contract import Filter
from tasks.run import Run, ShardReport, cpu_seconds

AT_ONCE = 1 << 13  # rows of scores made at once: they go through Python objects

ID = {"media": "media_id", "text": "text_id"}


def screen_shard(run: Run, unit: tuple[str, str, str]) -> ShardReport:
    """Score one staged file of media or texts with every shard-scope filter. Runs in a worker."""
    subject, name, path = unit
    with cpu_seconds() as cpu:
        subjects = run.staging.read(path)
        scored = [
            filter_scores(run, method, subjects, inputs=run.inspect_digest)
            for rule in run.recipe.filters
            if (method := filter_of(rule)).scope == "shard" and method.subject == subject
        ]
        table = pa.concat_tables([SCORES.stored.empty_table(), *scored])
        run.staging.write(table, "screened", f"{name}.arrow")
    return ShardReport({}, len(subjects), cpu[0], written_bytes=table.nbytes)


def filter_of(rule: Rule) -> Filter:
    """Build the filter a rule names."""
    return build(FILTERS, rule.method)


def score_rows(
    run: Run,
    method: Named,
    subject: str,
    subject_ids: pa.ChunkedArray | pa.Array,
    values: np.ndarray,
    inputs: str,
) -> pa.Table:
    """Return rows of `scores`, one per subject whose value is not NaN.

    Args:
        run: The run that computed them.
        method: The method, built.
        subject: media, text or pair.
        subject_ids: (N,) ids.
        values: (N,) scores, float32.
        inputs: Digest of what the values were computed from.
    """
    return named_scores(run, method.name, method_digest(method), subject, subject_ids, values, inputs)


def named_scores(
    run: Run,
    name: str,
    params: str,
    subject: str,
    subject_ids: pa.ChunkedArray | pa.Array,
    values: np.ndarray,
    inputs: str,
) -> pa.Table:
    """Return rows of `scores` of a method by its name and the digest of its parameters; else as `score_rows`."""
    kept = ~np.isnan(values)
    ids = [subject_id for subject_id, keep in zip(subject_ids.to_pylist(), kept, strict=True) if keep]
    n = len(ids)
    table = pa.table(
        {
            "score_id": keys(ids, name, params),
            "subject": [subject] * n,
            "subject_id": ids,
            "method": [name] * n,
            "params_digest": [params] * n,
            "inputs": [inputs] * n,
            "value": pa.array(values[kept], pa.float32()),
            "run_id": [run.run_id] * n,
        },
        schema=SCORES.schema,
    )
    return rows.with_digest(table, SCORES)


def filter_scores(run: Run, method: Filter, subjects: pa.Table, *, inputs: str) -> pa.Table:
    """Return a filter's scores of media or texts as rows of `scores`."""
    return score_rows(run, method, method.subject, subjects[ID[method.subject]], method(subjects), inputs)


def score_batches(
    run: Run,
    method: Named,
    subject: str,
    subject_ids: pa.ChunkedArray | pa.Array,
    values: np.ndarray,
    inputs: str,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `score_rows` a part at a time, for as many subjects as there are."""
    for start in range(0, len(subject_ids), AT_ONCE):
        ids, part = subject_ids.slice(start, AT_ONCE), values[start : start + AT_ONCE]
        yield from score_rows(run, method, subject, ids, part, inputs).to_batches()
