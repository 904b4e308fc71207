"""Find the pairs whose text does not belong: study all pairs together, divide them, say why, propose remedies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, islice

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.digests import key, key_of, params_digest
from schemas.recipes import CorrespondenceRecipe, MethodRef
from schemas.tables import DECISIONS, DIVISIONS, REASONS_OF_PAIRS, REPAIRS, SCORES, VERDICTS, TableSpec
from storage.quoting import literals
from storage.workbench import Workbench, values
from tasks.catalog import build, method_digest
from tasks.decide import STAGED_ROWS, Judged, decision, stage_decisions
from tasks.dividers import DIVIDERS
from tasks.dividers.classes import CLEAN, DISPUTED, NAMES, NOISY, classes, threshold_for_precision
from tasks.dividers.contract import Division
from tasks.embed import Embedded
from tasks.gathered import Gathered, gathered
from tasks.noise.consensus import Consensus, Divided, Study
from tasks.noise.contract import NoiseScorer
from tasks.reasons import reasons
from tasks.remedies import proposals, soft_labels
from tasks.run import Job, Run, Step
from tasks.score import both_sides, checked, vectors_bench
from tasks.shards.screen import score_batches

RULES = {NAMES[kind]: f"correspondence: {NAMES[kind]}" for kind in (NOISY, DISPUTED)}
FURTHER = (DIVISIONS, REASONS_OF_PAIRS, REPAIRS)


@task(cache_policy=NO_CACHE)
def study(job: Job, embedded: Embedded, judged: Judged) -> Judged:
    """Divide the pairs into clean, disputed and noisy as the recipe says, and stage what was found."""
    run, recipe = job.run, job.run.recipe.correspondence
    if recipe is None or run.encoder is None:
        return judged
    with job.ledger.step("study correspondence") as step, vectors_bench(run, embedded) as bench:
        bench.add_base(SCORES, VERDICTS, DECISIONS, *FURTHER)
        with gathered(bench, recipe, both_sides(run, embedded)) as of:
            step.items = len(of)
            rule_digest = params_digest(recipe.model_dump(mode="json"))
            inputs = _inputs([run, *(further.run for further in embedded.further)], of)
            if _known(bench, rule_digest, inputs):
                step.count("known from before", len(of))
                return _as_before(bench, judged)
            scorer = build_scorer(recipe)
            found = scorer.study(of.pairs)
            checked(scorer, found.scores, of.pair_ids.column)
            division, divided = found.divided_by(build(DIVIDERS, recipe.divider), of.pairs.verdict)
            kind = _kinds(recipe, divided, division, of.pairs.verdict)
            rows = _Rows(run, recipe, rule_digest, of, found, division, divided, kind)
            for name, count in rows.counts.items():
                step.count(name, count)
            return Judged(
                judged.decided,
                (*judged.paths, rows.scores(scorer)),
                (*judged.decisions, rows.decisions(step)),
                {
                    DIVISIONS.name: (rows.divisions(inputs),),
                    REASONS_OF_PAIRS.name: (rows.reasons(step),),
                    REPAIRS.name: (rows.repairs(step),),
                },
            )


def _kinds(
    recipe: CorrespondenceRecipe, divided: Divided, division: Division, verdict: np.ndarray | None
) -> np.ndarray:
    """Return the class of each pair, as `classes` has it; with a wanted precision, noisy is only what verdicts vouch for.

    (N,) int8.
    """
    kind = classes(division, noisy_below=recipe.noisy_below, clean_above=recipe.clean_above)
    if recipe.wanted_precision is not None:
        said = np.full(len(kind), -1, np.int8) if verdict is None else verdict
        cut = threshold_for_precision(divided.scores, said, recipe.wanted_precision, of="dropped")
        unsure = np.ones(len(kind), dtype=bool) if cut is None else divided.scores >= cut
        kind[(kind == NOISY) & unsure] = DISPUTED
    return kind


def build_scorer(recipe: CorrespondenceRecipe) -> Consensus:
    """Return the recipe's consensus; any other scorer is the only member of one."""
    from tasks.noise import NOISE_SCORERS

    scorer = build(NOISE_SCORERS, recipe.scorer)
    return scorer if isinstance(scorer, Consensus) else Consensus(members=(recipe.scorer,))


@dataclass(frozen=True)
class _Rows:
    """Turns a division into staged rows."""

    run: Run
    recipe: CorrespondenceRecipe
    rule_digest: str
    of: Gathered
    found: Study
    division: Division
    divided: Divided
    kind: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """Pairs of each class."""
        return {name: int((self.kind == number).sum()) for number, name in enumerate(NAMES)}

    @cached_property
    def doubted(self) -> np.ndarray:
        """Rows of the pairs that are not clean. (M,)."""
        return np.flatnonzero(self.kind != CLEAN)

    def scores(self, scorer: Consensus) -> str:
        """Stage what every member said, and the probability."""
        from tasks.noise import NOISE_SCORERS

        of: list[tuple[NoiseScorer, np.ndarray]] = [(scorer, self.division.clean)]
        for member, values_of in zip(scorer.members, self.found.members.values(), strict=True):
            of.append((build(NOISE_SCORERS, member), values_of))
        batches = chain.from_iterable(
            score_batches(self.run, method, "pair", self.of.pair_ids.column, values_of, self.rule_digest)
            for method, values_of in of
        )
        return self.run.staging.write_batches(batches, SCORES.stored, "studied", "scores.arrow")

    def decisions(self, step: Step) -> str:
        """Stage a decision per noisy and disputed pair."""
        drops = self.recipe.noisy in ("drop", "repair") and self.division.separable
        return stage_decisions(self.run, self._decisions(drops, step), "correspondence.arrow")

    def _decisions(self, drops: bool, step: Step) -> Iterator[dict[str, object]]:
        params = method_digest(build_scorer(self.recipe))
        for row in self.doubted:
            kind = int(self.kind[row])
            verdict = "drop" if drops and kind == NOISY else "flag"
            step.count(f"{verdict} pair: {RULES[NAMES[kind]]}")
            said = (
                f"P(true) at most {self.recipe.noisy_below:g}"
                if kind == NOISY
                else f"P(true) under {self.recipe.clean_above:g}"
            )
            yield decision(
                self.run,
                verdict,
                "pair",
                self.of.pair_ids[row],
                RULES[NAMES[kind]],
                params,
                self.rule_digest,
                len(self.run.recipe.pair_rules),
            ) | {
                "method": self.recipe.scorer.name,
                "value": float(self.division.clean[row]),
                "threshold": said,
            }

    def divisions(self, inputs: str) -> str:
        """Stage the one row that says how the pairs were divided."""
        row = {
            "division_id": key("correspondence", self.rule_digest),
            "scorer": self.recipe.scorer.name,
            "divider": self.recipe.divider.name,
            "params": self.recipe.model_dump_json(),
            "rule_digest": self.rule_digest,
            "inputs": inputs,
            "separable": self.division.separable,
            "why": self.division.why,
            "noise_rate": self.division.noise_rate,
            "noise_rate_low": self.division.low,
            "noise_rate_high": self.division.high,
            "pairs": len(self.of.pair_ids),
            **self.counts,
            "reliability": reliability(self.division.clean, self.of.pairs.verdict),
            "components": components(self.division, self.divided),
            "active": True,
            "run_id": self.run.run_id,
        }
        return self._stage(
            DIVISIONS.schema, "divisions", pa.Table.from_pylist([row], schema=DIVISIONS.schema)
        )

    def reasons(self, step: Step) -> str:
        """Stage what speaks for and against every doubted pair."""
        rows = (
            {
                "reason_id": key(self.of.pair_ids[r.row], r.kind, r.method, str(r.position)),
                "pair_id": self.of.pair_ids[r.row],
                "kind": r.kind,
                "method": r.method,
                "position": r.position,
                "value": r.value,
                "own": None if np.isnan(r.own) else r.own,
                "ref_id": None
                if r.ref < 0
                else (self.of.text_ids if r.kind == "better-text" else self.of.media_ids)[r.ref],
                "said": r.said,
                "active": True,
                "run_id": self.run.run_id,
            }
            for r in reasons(self.of.pairs, self.doubted, self.division.clean, self.found.members)
        )
        return self._stage_rows(REASONS_OF_PAIRS.schema, "reasons", rows, step)

    def repairs(self, step: Step) -> str:
        """Stage proposed texts for noisy pairs, and soft labels where the recipe weighs pairs."""
        return self._stage_rows(REPAIRS.schema, "repairs", self._repairs(), step)

    def _repairs(self) -> Iterator[dict[str, object]]:
        if not self.division.separable:
            return
        for ref in self.recipe.repairs:
            yield from self._proposed(ref)
        if self.recipe.noisy == "weight":
            ref = self.recipe.soft_label
            labels = soft_labels(ref, self.of.pairs, self.division.clean)
            for row in range(len(labels)):
                yield self._repair(row, "soft-label", ref, None, float(labels[row]))

    def _proposed(self, ref: MethodRef) -> Iterator[dict[str, object]]:
        found = proposals(ref, self.of.pairs, self.division.clean)
        for row, giver, confidence in zip(found.row, found.text_from, found.confidence, strict=True):
            yield self._repair(int(row), ref.name, ref, self.of.text_ids[int(giver)], float(confidence))

    def _repair(
        self, row: int, kind: str, ref: MethodRef, text_id: str | None, label: float
    ) -> dict[str, object]:
        params = params_digest(ref.model_dump(mode="json"))
        return {
            "repair_id": key(self.of.pair_ids[row], kind, params),
            "pair_id": self.of.pair_ids[row],
            "media_id": self.of.media_ids[row],
            "kind": kind,
            "method": ref.name,
            "params_digest": params,
            "text_id": text_id,
            "label": label,
            "applied": self.recipe.noisy in ("repair", "weight"),
            "active": True,
            "run_id": self.run.run_id,
        }

    def _stage_rows(
        self, schema: pa.Schema, name: str, rows: Iterator[Mapping[str, object]], step: Step
    ) -> str:
        """Stage rows a batch at a time, and count them."""
        step.count(name, 0)

        def batches() -> Iterator[pa.RecordBatch]:
            while some := [dict(row) for row in islice(rows, STAGED_ROWS)]:
                step.count(name, len(some))
                yield pa.RecordBatch.from_pylist(some, schema=schema)

        return self.run.staging.write_batches(batches(), schema, "studied", f"{name}.arrow")

    def _stage(self, schema: pa.Schema, name: str, table: pa.Table) -> str:
        return self.run.staging.write(table.cast(schema), "studied", f"{name}.arrow")


def reliability(clean: np.ndarray, verdict: np.ndarray | None, bins: int = 10) -> str:
    """Return JSON rows of P(true) said and found by people, by bin; "[]" where nobody said anything."""
    import json

    if verdict is None:
        return "[]"
    judged = np.flatnonzero(verdict >= 0)
    at = np.minimum((clean[judged] * bins).astype(int), bins - 1)
    rows = []
    for number in np.unique(at):
        members = judged[at == number]
        said, found = float(clean[members].mean()), float((verdict[members] == 1).mean())
        rows.append({"said": round(said, 4), "found": round(found, 4), "n": len(members)})
    return json.dumps(rows)


def components(division: Division, divided: Divided, bars: int = 100) -> str:
    """Return JSON of the scores that were divided, as a histogram, and of the two kinds the divider sees in them.

    {of: whose scores, edges: (bars + 1), pairs: (bars), true: (bars) pairs expected to be true by P(true), fitted: the
    wrong and the true kind where a mixture was fitted, as `tasks.dividers.contract.Component`}
    """
    import json

    edges = np.linspace(0, 1, bars + 1)
    pairs, _ = np.histogram(divided.scores, edges)
    true, _ = np.histogram(divided.scores, edges, weights=division.clean.astype(np.float64))
    fitted = [asdict(one) for one in division.components or ()]
    said = {"pairs": pairs.tolist(), "true": [round(n, 3) for n in true.tolist()], "fitted": fitted}
    return json.dumps({"of": divided.of, "edges": [round(at, 6) for at in edges.tolist()], **said})


def _inputs(runs: Sequence[Run], of: Gathered) -> str:
    """Digest what the study depends on besides its parameters."""
    encoders = [run.encoder.digest for run in runs if run.encoder]
    cluster, label, verdict = (values(of.columns[name]) for name in ("cluster_id", "label", "verdict"))
    columns = (of.pair_ids, cluster, of.texts, label, verdict)
    return key(*encoders, *(key_of(map(str, column)) for column in columns))


def _known(bench: Workbench, rule_digest: str, inputs: str) -> bool:
    sql = "SELECT count(*) FROM base_divisions WHERE active AND rule_digest = ? AND inputs = ?"
    return bool(bench.rows(sql, [rule_digest, inputs])[0][0])


def _as_before(bench: Workbench, judged: Judged) -> Judged:
    """Stage again what the snapshot has, so that it stays."""

    def staged(spec: TableSpec, where: str) -> str:
        sql = f"SELECT * EXCLUDE (row_digest) FROM base_{spec.name} WHERE active AND {where}"
        return bench.stage(sql, "studied", f"{spec.name}.arrow", schema=spec.schema)

    ours = literals(RULES.values())
    return Judged(
        judged.decided,
        judged.paths,
        (*judged.decisions, staged(DECISIONS, f"rule IN ({ours})")),
        {spec.name: (staged(spec, "true"),) for spec in FURTHER},
    )
