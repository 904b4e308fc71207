"""Turn scores into decisions: the recipe's thresholds, each drop with its rule as reason. Nothing is deleted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, params_digest
from schemas.recipes import Rule
from schemas.tables import DECISIONS, SCORES, VERDICTS
from storage.workbench import Workbench
from tasks.catalog import Named, build, method_digest
from tasks.merge import Merged, merged_bench
from tasks.noise import NOISE_SCORERS
from tasks.run import Job, Run
from tasks.screen import Screened
from tasks.shards.screen import filter_of

NEAR_DUPLICATE = "near-duplicate"
OF_CAPTIONS = "caption: "  # begins the rules of the flow that writes texts

PERSON = "person"  # what `dropped_by` says where a person's verdict drops

STAGED_ROWS = 8192  # rows made from Python objects at once

KEPT = pa.schema(
    [pa.field("id", pa.string()), pa.field("kept", pa.bool_()), pa.field("dropped_by", pa.string())]
)


@dataclass(frozen=True)
class Decided:
    """Where verdicts and the state they lead to are staged.

    Args:
        merged: The present state.
        scores: Staged files of scores so far.
        decisions: Staged files of `decisions`, without digests.
        kept: {media | text | pair: staged file of `KEPT`}.
        further: {table: staged files of its rows, without digests} of what else a study of the pairs said.
        people: Staged files of `verdicts`, without digests.
    """

    merged: Merged
    scores: tuple[str, ...]
    decisions: tuple[str, ...]
    kept: dict[str, str]
    further: dict[str, tuple[str, ...]] = field(default_factory=dict)
    people: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """Where the scores of pairs are staged, beside what was decided before; fields as in `Decided`."""

    decided: Decided
    paths: tuple[str, ...]
    decisions: tuple[str, ...] = ()
    further: dict[str, tuple[str, ...]] = field(default_factory=dict)


@task(cache_policy=NO_CACHE)
def items(job: Job, screened: Screened) -> Decided:
    """Apply the rules on media and texts."""
    run = job.run
    with job.ledger.step("decide items") as step, merged_bench(run, screened.merged) as bench:
        _offer_scores(bench, screened.paths)
        found: list[Iterable[dict[str, object]]] = []
        for position, rule in enumerate(run.recipe.filters):
            method = filter_of(rule)
            found.append(_outside(bench, run, rule, method, method.subject, position, step.count))
        found.append(_near_duplicates(bench, run, len(run.recipe.filters), step.count))
        path = stage_decisions(run, chain.from_iterable(found), "items.arrow")
        bench.add_staged("drops", [path], DECISIONS.schema)
        offer_people(bench)
        kept = {
            subject: bench.stage(kept_sql(subject), "decided", f"kept-{subject}.arrow", schema=KEPT)
            for subject in ("media", "text")
        }
    return Decided(screened.merged, screened.paths, (path,), kept)


@task(cache_policy=NO_CACHE)
def pairs(job: Job, judged: Judged) -> Decided:
    """Apply the rules on pairs, and let a pair fall with its medium or its text."""
    run, decided = job.run, judged.decided
    with job.ledger.step("decide pairs") as step, decided_bench(run, decided) as bench:
        _offer_scores(bench, judged.paths)
        found: list[Iterable[dict[str, object]]] = []
        for position, rule in enumerate(run.recipe.pair_rules):
            method = build(NOISE_SCORERS, rule.method)
            found.append(_outside(bench, run, rule, method, "pair", position, step.count))
        paths = (
            stage_decisions(run, chain.from_iterable(found), "pairs.arrow"),
            *judged.decisions,
            _of_captions(bench),
        )
        bench.add_staged("drops", paths, DECISIONS.schema)
        offer_people(bench)
        kept = bench.stage(KEPT_PAIRS, "decided", "kept-pair.arrow", schema=KEPT)
    return Decided(
        decided.merged,
        (*decided.scores, *judged.paths),
        (*decided.decisions, *paths),
        {**decided.kept, "pair": kept},
        judged.further,
    )


def _of_captions(bench: Workbench) -> str:
    """Stage again what was said of texts the platform wrote: another flow judges them, and this one lets it stand."""
    bench.add_base(DECISIONS)
    sql = f"SELECT * EXCLUDE (row_digest) FROM base_decisions WHERE active AND rule LIKE '{OF_CAPTIONS}%'"
    return bench.stage(sql, "decided", "captions.arrow", schema=DECISIONS.schema)


# What is said against each subject: the first rule that drops it, unless a person decided.
_AGAINST = f"""
SELECT coalesce(d.subject_id, h.subject_id) AS subject_id,
       CASE h.verdict WHEN 'keep' THEN NULL WHEN 'drop' THEN '{PERSON}' ELSE d.rule END AS rule
FROM (SELECT subject_id, arg_min(rule, position) AS rule FROM drops
      WHERE verdict = 'drop' AND subject = '{{subject}}' GROUP BY 1) d
FULL JOIN (SELECT subject_id, verdict FROM people WHERE subject = '{{subject}}') h USING (subject_id)
"""
DROPPED = "SELECT id, kept, dropped_by FROM kept_{subject} WHERE NOT kept OR dropped_by IS NOT NULL"
KEPT_PAIRS = f"""
SELECT p.pair_id AS id,
       p.present AND coalesce(m.kept, true) AND coalesce(t.kept, true) AND a.rule IS NULL AS kept,
       coalesce('media: ' || m.dropped_by, 'text: ' || t.dropped_by, a.rule) AS dropped_by
FROM now_pairs p
LEFT JOIN ({DROPPED.format(subject="media")}) m ON m.id = p.media_id
LEFT JOIN ({DROPPED.format(subject="text")}) t ON t.id = p.text_id
LEFT JOIN ({_AGAINST.format(subject="pair")}) a ON a.subject_id = p.pair_id
"""


def offer_people(bench: Workbench, staged: Sequence[str] = ()) -> None:
    """Offer `people`: the active verdicts, staged ones in place of those of the snapshot."""
    bench.add_base(VERDICTS)
    bench.add_staged("staged_verdicts", staged, VERDICTS.schema)
    bench.execute(
        "CREATE TEMP VIEW people AS SELECT subject, subject_id, verdict FROM staged_verdicts WHERE active UNION ALL "
        "SELECT subject, subject_id, verdict FROM base_verdicts "
        "ANTI JOIN (SELECT verdict_id FROM staged_verdicts) s USING (verdict_id) WHERE active"
    )


@contextmanager
def decided_bench(run: Run, decided: Decided) -> Iterator[Workbench]:
    """Open a workbench with the merged state and `kept_<subject>` for every subject decided so far."""
    with merged_bench(run, decided.merged) as bench:
        for subject, path in decided.kept.items():
            bench.add_staged(f"kept_{subject}", [path], KEPT)
        yield bench


def _offer_scores(bench: Workbench, paths: tuple[str, ...]) -> None:
    """Offer what `_hold_scores` reads: the staged scores, and those of the snapshot."""
    bench.add_base(SCORES)
    bench.add_staged("staged_scores", paths, SCORES.stored)


def _hold_scores(bench: Workbench, method: Named, subject: str) -> None:
    """Hold `scored`: a method's scores of what is there; staged ones stand for those of the snapshot with their id."""
    table, id_column = _NOW[subject]
    its = f"method = '{method.name}' AND params_digest = '{method_digest(method)}'"
    bench.hold_firsts(
        "staged_of_method", f"SELECT score_id, subject_id, value FROM staged_scores WHERE {its}", "score_id"
    )
    # Whatever was scored is in the state, and mostly there: what is held are those that are not.
    there = (
        f"ANTI JOIN (SELECT {id_column} AS subject_id FROM {table} WHERE NOT present) n USING (subject_id)"
    )
    with bench.as_written():
        bench.hold("scored", f"SELECT subject_id, value FROM staged_of_method {there}")
        ((found, present),) = bench.rows(
            f"SELECT (SELECT count(*) FROM scored), (SELECT count(*) FROM {table} WHERE present)"
        )
        if found < present:  # else nothing of the snapshot counts
            bench.hold(
                "scored_before",
                f"SELECT subject_id, value FROM base_scores b ANTI JOIN staged_of_method s USING (score_id) WHERE {its}",
            )
            bench.hold("scored_before", f"SELECT * FROM scored_before {there}")
            bench.hold("scored", "SELECT * FROM scored UNION ALL SELECT * FROM scored_before")
            bench.drop("scored_before")
    bench.drop("staged_of_method")


_NOW = {
    "media": ("now_media", "media_id"),
    "text": ("now_texts", "text_id"),
    "pair": ("now_pairs", "pair_id"),
}


def _outside(
    bench: Workbench,
    run: Run,
    rule: Rule,
    method: Named,
    subject: str,
    position: int,
    count: Callable[[str, int], None],
) -> Iterator[dict[str, object]]:
    """Yield a row per present subject whose score lies outside the rule."""
    _hold_scores(bench, method, subject)
    at_most = rule.at_most
    if rule.at_most_quantile is not None:
        cut = bench.rows(f"SELECT quantile_cont(value, {rule.at_most_quantile}) FROM scored")[0][0]
        at_most = (
            None if cut is None else max(float(cut), rule.floor if rule.floor is not None else float(cut))
        )
    bounds, said = [], []
    for name, bound, sign in (("at_least", rule.at_least, "<"), ("at_most", at_most, ">")):
        if bound is not None:
            bounds.append(f"value {sign} {float(bound)!r}")
            said.append(f"{name} {bound:g}")
    if not bounds:
        return
    rule_digest, params = params_digest(rule.model_dump(mode="json")), method_digest(method)
    outside = f"SELECT subject_id, value FROM scored WHERE {' OR '.join(bounds)}"
    told = f"{rule.verdict} {subject}: {method.name}"
    count(told, 0)
    for batch in bench.ordered(outside, "subject_id", size=STAGED_ROWS):
        count(told, len(batch))
        for row in batch.to_pylist():
            yield decision(
                run, rule.verdict, subject, row["subject_id"], method.name, params, rule_digest, position
            ) | {"value": row["value"], "threshold": ", ".join(said)}


def _near_duplicates(
    bench: Workbench, run: Run, position: int, count: Callable[[str, int], None]
) -> Iterator[dict[str, object]]:
    """Yield a row per medium that another one stands for."""
    near = run.recipe.near_duplicates
    if near is None:
        return
    told = f"{near.verdict} media: {NEAR_DUPLICATE}"
    count(told, 0)
    digest = params_digest(near.model_dump(mode="json"))
    said = {"value": None, "threshold": f"max_distance {near.max_distance}"}
    outside = "SELECT media_id FROM clusters WHERE media_id <> cluster_id"
    for batch in bench.ordered(outside, "media_id", size=STAGED_ROWS):
        count(told, len(batch))
        for media_id in batch["media_id"].to_pylist():
            yield (
                decision(run, near.verdict, "media", media_id, NEAR_DUPLICATE, digest, digest, position)
                | said
            )


def decision(
    run: Run,
    verdict: str,
    subject: str,
    subject_id: str,
    rule: str,
    params: str,
    rule_digest: str,
    position: int,
) -> dict[str, object]:
    """Return a row of `decisions`, all but its value and threshold."""
    return {
        "decision_id": key(subject_id, rule, rule_digest),
        "subject": subject,
        "subject_id": subject_id,
        "verdict": verdict,
        "rule": rule,
        "method": rule,
        "params_digest": params,
        "rule_digest": rule_digest,
        "active": True,
        "position": position,
        "run_id": run.run_id,
    }


def stage_decisions(run: Run, found: Iterable[dict[str, object]], name: str) -> str:
    """Stage rows of `decisions`, a batch at a time, and return their file."""
    rows = iter(found)

    def batches() -> Iterator[pa.RecordBatch]:
        while some := list(islice(rows, STAGED_ROWS)):
            yield pa.RecordBatch.from_pylist(some, schema=DECISIONS.schema)

    return run.staging.write_batches(batches(), DECISIONS.schema, "decided", name)


def kept_sql(subject: str) -> str:
    """Return the query of `KEPT` for media or texts; reads `drops` and `people`."""
    table, id_column = _NOW[subject]
    return f"""
    SELECT n.{id_column} AS id, n.present AND a.rule IS NULL AS kept, a.rule AS dropped_by
    FROM {table} n LEFT JOIN ({_AGAINST.format(subject=subject)}) a ON a.subject_id = n.{id_column}"""


@task(cache_policy=NO_CACHE)
def carry(job: Job, merged: Merged) -> Decided:
    """Keep every decision as it is; what is new stays unjudged (`kept` null) until a curation."""
    run = job.run
    with job.ledger.step("carry decisions"), merged_bench(run, merged) as bench:
        kept = {
            subject: bench.stage(
                f"SELECT {id_column} AS id, was_kept AS kept, was_dropped_by AS dropped_by FROM {now}",
                "decided",
                f"kept-{subject}.arrow",
                schema=KEPT,
            )
            for subject, (now, id_column) in _NOW.items()
        }
    return Decided(merged, (), (), kept)
