"""Turn scores into decisions: the recipe's thresholds, each drop with its rule as reason. Nothing is deleted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, params_digest
from schemas.recipes import Rule
from schemas.tables import DECISIONS, SCORES
from storage.workbench import Workbench
from tasks.catalog import Named, build, method_digest
from tasks.merge import Merged, merged_bench
from tasks.noise import NOISE_SCORERS
from tasks.run import Job, Run
from tasks.screen import Screened
from tasks.shards.screen import filter_of

NEAR_DUPLICATE = "near-duplicate"

VERDICTS = pa.schema([*DECISIONS.schema, pa.field("position", pa.int32())])
KEPT = pa.schema(
    [pa.field("id", pa.string()), pa.field("kept", pa.bool_()), pa.field("dropped_by", pa.string())]
)


@dataclass(frozen=True)
class Decided:
    """Where verdicts and the state they lead to are staged.

    Args:
        merged: The present state.
        scores: Staged files of scores so far.
        verdicts: Staged files of `VERDICTS`.
        kept: {media | text | pair: staged file of `KEPT`}.
    """

    merged: Merged
    scores: tuple[str, ...]
    verdicts: tuple[str, ...]
    kept: dict[str, str]


@dataclass(frozen=True)
class Judged:
    """Where the scores of pairs are staged, beside what was decided before."""

    decided: Decided
    paths: tuple[str, ...]


@task(cache_policy=NO_CACHE)
def items(job: Job, screened: Screened) -> Decided:
    """Apply the rules on media and texts."""
    run = job.run
    with job.ledger.step("decide items") as step, merged_bench(run, screened.merged) as bench:
        _offer_scores(bench, screened.paths)
        verdicts = []
        for position, rule in enumerate(run.recipe.filters):
            method = filter_of(rule)
            verdicts += _verdicts(bench, run, rule, method, method.subject, position, step.count)
        verdicts += _near_duplicates(bench, run, len(run.recipe.filters), step.count)
        path = _stage_verdicts(run, verdicts, "items.arrow")
        bench.add_staged("verdicts", [path], VERDICTS)
        kept = {
            subject: bench.stage(_kept_sql(subject), "decided", f"kept-{subject}.arrow", schema=KEPT)
            for subject in ("media", "text")
        }
    return Decided(screened.merged, screened.paths, (path,), kept)


@task(cache_policy=NO_CACHE)
def pairs(job: Job, judged: Judged) -> Decided:
    """Apply the rules on pairs, and let a pair fall with its medium or its text."""
    run, decided = job.run, judged.decided
    with job.ledger.step("decide pairs") as step, decided_bench(run, decided) as bench:
        _offer_scores(bench, judged.paths)
        verdicts = []
        for position, rule in enumerate(run.recipe.pair_rules):
            method = build(NOISE_SCORERS, rule.method)
            verdicts += _verdicts(bench, run, rule, method, "pair", position, step.count)
        path = _stage_verdicts(run, verdicts, "pairs.arrow")
        bench.add_staged("pair_verdicts", [path], VERDICTS)
        kept = bench.stage(_KEPT_PAIRS, "decided", "kept-pair.arrow", schema=KEPT)
    return Decided(
        decided.merged,
        (*decided.scores, *judged.paths),
        (*decided.verdicts, path),
        {**decided.kept, "pair": kept},
    )


_KEPT_PAIRS = """
SELECT p.pair_id AS id,
       p.present AND coalesce(m.kept, true) AND coalesce(t.kept, true) AND v.rule IS NULL AS kept,
       coalesce('media: ' || m.dropped_by, 'text: ' || t.dropped_by, v.rule) AS dropped_by
FROM now_pairs p
LEFT JOIN kept_media m ON m.id = p.media_id
LEFT JOIN kept_text t ON t.id = p.text_id
LEFT JOIN (
  SELECT subject_id, arg_min(rule, position) AS rule FROM pair_verdicts WHERE verdict = 'drop' GROUP BY 1
) v ON v.subject_id = p.pair_id
"""


@contextmanager
def decided_bench(run: Run, decided: Decided) -> Iterator[Workbench]:
    """Open a workbench with the merged state and `kept_<subject>` for every subject decided so far."""
    with merged_bench(run, decided.merged) as bench:
        for subject, path in decided.kept.items():
            bench.add_staged(f"kept_{subject}", [path], KEPT)
        yield bench


def _offer_scores(bench: Workbench, paths: tuple[str, ...]) -> None:
    """Offer `all_scores`: the staged ones, and those of the snapshot that they do not replace."""
    bench.add_base(SCORES)
    bench.add_staged("staged_scores", paths, SCORES.stored)
    bench.con.execute(
        "CREATE TEMP VIEW all_scores AS "
        "SELECT DISTINCT ON (score_id) subject_id, method, params_digest, value FROM staged_scores "
        "UNION ALL SELECT subject_id, method, params_digest, value FROM base_scores "
        "ANTI JOIN (SELECT DISTINCT score_id FROM staged_scores) USING (score_id)"
    )


_NOW = {
    "media": ("now_media", "media_id"),
    "text": ("now_texts", "text_id"),
    "pair": ("now_pairs", "pair_id"),
}


def _verdicts(
    bench: Workbench,
    run: Run,
    rule: Rule,
    method: Named,
    subject: str,
    position: int,
    count: Callable[[str, int], None],
) -> list[dict[str, object]]:
    """Return a row per present subject whose score lies outside the rule."""
    table, id_column = _NOW[subject]
    scored = (
        f"SELECT s.subject_id, s.value FROM all_scores s JOIN {table} n ON n.{id_column} = s.subject_id AND n.present "
        "WHERE s.method = ? AND s.params_digest = ?"
    )
    of_method = [method.name, method_digest(method)]
    at_most = rule.at_most
    if rule.at_most_quantile is not None:
        cut = bench.rows(f"SELECT quantile_cont(value, {rule.at_most_quantile}) FROM ({scored})", of_method)[
            0
        ][0]
        at_most = (
            None if cut is None else max(float(cut), rule.floor if rule.floor is not None else float(cut))
        )
    bounds, said = [], []
    for name, bound, sign in (("at_least", rule.at_least, "<"), ("at_most", at_most, ">")):
        if bound is not None:
            bounds.append(f"value {sign} {float(bound)!r}")
            said.append(f"{name} {bound:g}")
    if not bounds:
        return []
    outside = bench.rows(f"SELECT * FROM ({scored}) WHERE {' OR '.join(bounds)} ORDER BY 1", of_method)
    count(f"{rule.verdict} {subject}: {method.name}", len(outside))
    rule_digest = params_digest(rule.model_dump(mode="json"))
    return [
        _verdict(
            run,
            rule.verdict,
            subject,
            str(subject_id),
            method.name,
            method_digest(method),
            rule_digest,
            position,
        )
        | {"value": value, "threshold": ", ".join(said)}
        for subject_id, value in outside
    ]


def _near_duplicates(
    bench: Workbench, run: Run, position: int, count: Callable[[str, int], None]
) -> list[dict[str, object]]:
    """Return a row per medium that another one stands for."""
    near = run.recipe.near_duplicates
    if near is None:
        return []
    outside = bench.rows("SELECT media_id FROM clusters WHERE media_id <> cluster_id ORDER BY 1")
    count(f"{near.verdict} media: {NEAR_DUPLICATE}", len(outside))
    digest = params_digest(near.model_dump(mode="json"))
    said = {"value": None, "threshold": f"max_distance {near.max_distance}"}
    return [
        _verdict(run, near.verdict, "media", str(media_id), NEAR_DUPLICATE, digest, digest, position) | said
        for (media_id,) in outside
    ]


def _verdict(
    run: Run,
    verdict: str,
    subject: str,
    subject_id: str,
    rule: str,
    params: str,
    rule_digest: str,
    position: int,
) -> dict[str, object]:
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


def _stage_verdicts(run: Run, verdicts: list[dict[str, object]], name: str) -> str:
    return run.staging.write(pa.Table.from_pylist(verdicts, schema=VERDICTS), "decided", name)


def _kept_sql(subject: str) -> str:
    table, id_column = _NOW[subject]
    return f"""
    SELECT n.{id_column} AS id, n.present AND v.rule IS NULL AS kept, v.rule AS dropped_by
    FROM {table} n LEFT JOIN (
      SELECT subject_id, arg_min(rule, position) AS rule FROM verdicts
      WHERE verdict = 'drop' AND subject = '{subject}' GROUP BY 1
    ) v ON v.subject_id = n.{id_column}"""


@task(cache_policy=NO_CACHE)
def carry(job: Job, merged: Merged) -> Decided:
    """Keep every decision as it is; what is new stays unjudged (`kept` null) until a curation."""
    run = job.run
    with job.ledger.step("carry decisions"), merged_bench(run, merged) as bench:
        kept = {
            subject: bench.stage(
                f"SELECT n.{id_column} AS id, b.kept, b.dropped_by FROM {now} n "
                f"LEFT JOIN (SELECT {id_column}, kept, dropped_by FROM base_{now.removeprefix('now_')}) b USING ({id_column})",
                "decided",
                f"kept-{subject}.arrow",
                schema=KEPT,
            )
            for subject, (now, id_column) in _NOW.items()
        }
    return Decided(merged, (), (), kept)
