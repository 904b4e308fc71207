"""Find the pairs whose text does not belong: study all pairs together, divide them, say why, propose remedies."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.batch import PairBatch
from schemas.digests import key, key_of, params_digest
from schemas.recipes import CorrespondenceRecipe, MethodRef
from schemas.tables import DECISIONS, DIVISIONS, REASONS_OF_PAIRS, REPAIRS, SCORES, VERDICTS, TableSpec
from storage.workbench import Workbench, values
from tasks.catalog import build, method_digest
from tasks.decide import STAGED_ROWS, Judged, decision, stage_decisions
from tasks.dividers import DIVIDERS
from tasks.dividers.classes import CLEAN, DISPUTED, NOISY, classes, threshold_for_precision
from tasks.dividers.contract import Division
from tasks.embed import Embedded
from tasks.noise._groups import connected
from tasks.noise.consensus import Consensus, Divided, Study
from tasks.noise.contract import NoiseScorer
from tasks.reasons import reasons
from tasks.remedies import proposals, soft_labels
from tasks.run import Job, Run, Step
from tasks.score import Vectors, aligned_pairs, both_sides, checked, vectors_bench
from tasks.shards.screen import score_batches

RULES = {NOISY: "correspondence: noisy", DISPUTED: "correspondence: disputed"}
FURTHER = (DIVISIONS, REASONS_OF_PAIRS, REPAIRS)
CLASSES = (NOISY, DISPUTED, CLEAN)

_PAIRS = """
SELECT p.pair_id, p.media_id, p.text_id, coalesce(c.cluster_id, p.media_id) AS cluster_id, x.text,
       l.text AS label, coalesce(h.said, -1)::TINYINT AS verdict
FROM now_pairs p
SEMI JOIN (SELECT id FROM kept_media WHERE kept) m ON m.id = p.media_id
SEMI JOIN (SELECT id FROM kept_text WHERE kept) t ON t.id = p.text_id
JOIN now_texts x USING (text_id)
LEFT JOIN clusters c USING (media_id)
LEFT JOIN labels l USING (media_id)
LEFT JOIN (SELECT subject_id, CASE verdict WHEN 'keep' THEN 1 ELSE 0 END AS said
           FROM base_verdicts WHERE active AND subject = 'pair') h ON h.subject_id = p.pair_id
WHERE p.present AND {roles}
"""
_LABELS = """
CREATE TEMP VIEW labels AS SELECT p.media_id, min(x.text) AS text
FROM now_pairs p JOIN now_texts x USING (text_id) WHERE p.present AND p.role = {role} GROUP BY 1
"""


@task(cache_policy=NO_CACHE)
def study(job: Job, embedded: Embedded, judged: Judged) -> Judged:
    """Divide the pairs into clean, disputed and noisy as the recipe says, and stage what was found."""
    run, recipe = job.run, job.run.recipe.correspondence
    if recipe is None or run.encoder is None:
        return judged
    with job.ledger.step("study correspondence") as step, vectors_bench(run, embedded) as bench:
        bench.add_base(SCORES, VERDICTS, DECISIONS, *FURTHER)
        bench.execute(_LABELS.format(role=_quoted(recipe.label_role)))
        with _gathered(bench, recipe, both_sides(run, embedded)) as (table, media, text):
            step.items = len(table)
            rule_digest = params_digest(recipe.model_dump(mode="json"))
            inputs = _inputs([run, *(further.run for further in embedded.further)], table)
            position = len(run.recipe.pair_rules)
            if _known(bench, rule_digest, inputs):
                step.count("known from before", len(table))
                return _as_before(bench, judged)
            pairs = batch_of(table, media, text, common=recipe.features is None)
            scorer = build_scorer(recipe)
            found = scorer.study(pairs)
            checked(scorer, found.scores, table["pair_id"])
            division, divided = found.divided_by(build(DIVIDERS, recipe.divider), pairs.verdict)
            kind = _kinds(recipe, divided, division, pairs.verdict)
            rows = _Rows(run, recipe, rule_digest, position, table, pairs, found, division, divided, kind)
            for name in CLASSES:
                step.count(name, int((kind == name).sum()))
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
    """Return the class of each pair; with a wanted precision, noisy is only what verdicts vouch for."""
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


def batch_of(table: pa.Table, media: np.ndarray, text: np.ndarray, *, common: bool = True) -> PairBatch:
    """Return gathered pairs as aligned arrays; `common` says whether both sides lie in one space."""
    return PairBatch(
        media,
        text,
        group=_groups(numbers(table["cluster_id"]), numbers(table["text_id"])),
        label=_labels(table["label"]),
        media_key=numbers(table["media_id"]),
        text_key=numbers(table["text_id"]),
        verdict=table["verdict"].to_numpy().astype(np.int8),
        texts=table["text"].to_pylist(),
        common=common,
    )


def _gathered(
    bench: Workbench, recipe: CorrespondenceRecipe, vectors: tuple[Vectors, Vectors]
) -> AbstractContextManager[tuple[pa.Table, np.ndarray, np.ndarray]]:
    roles = ", ".join(_quoted(role) for role in recipe.roles)
    sql = _PAIRS.format(roles=f"p.role IN ({roles})" if roles else "true")
    columns = "p.media_id, p.text_id, p.cluster_id, p.text, p.label, p.verdict"
    return aligned_pairs(bench, vectors, sql, columns)


class _Ids:
    """A column of ids that are looked up row by row; kept as Arrow, a tenth of what Python strings take."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column.combine_chunks()

    def __getitem__(self, row: int | np.integer) -> str:
        return str(self.column[int(row)].as_py())

    def __len__(self) -> int:
        return len(self.column)


class _Rows:
    """Turns a division into staged rows."""

    def __init__(
        self,
        run: Run,
        recipe: CorrespondenceRecipe,
        rule_digest: str,
        position: int,
        table: pa.Table,
        pairs: PairBatch,
        found: Study,
        division: Division,
        divided: Divided,
        kind: np.ndarray,
    ) -> None:
        self.run, self.recipe, self.rule_digest, self.position = run, recipe, rule_digest, position
        self.pairs, self.found, self.division, self.divided, self.kind = pairs, found, division, divided, kind
        self.pair_ids, self.media_ids, self.text_ids = (
            _Ids(table[name]) for name in ("pair_id", "media_id", "text_id")
        )
        self.doubted = np.flatnonzero(kind != CLEAN)

    def scores(self, scorer: Consensus) -> str:
        """Stage what every member said, and the probability."""
        from tasks.noise import NOISE_SCORERS

        of: list[tuple[NoiseScorer, np.ndarray]] = [(scorer, self.division.clean)]
        for member, values_of in zip(scorer.members, self.found.members.values(), strict=True):
            of.append((build(NOISE_SCORERS, member), values_of))
        batches = chain.from_iterable(
            score_batches(self.run, method, "pair", self.pair_ids.column, values_of, self.rule_digest)
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
            name = str(self.kind[row])
            verdict = "drop" if drops and name == NOISY else "flag"
            step.count(f"{verdict} pair: {RULES[name]}")
            said = (
                f"P(true) at most {self.recipe.noisy_below:g}"
                if name == NOISY
                else f"P(true) under {self.recipe.clean_above:g}"
            )
            yield decision(
                self.run,
                verdict,
                "pair",
                self.pair_ids[row],
                RULES[name],
                params,
                self.rule_digest,
                self.position,
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
            "pairs": len(self.pair_ids),
            **{name: int((self.kind == name).sum()) for name in CLASSES},
            "reliability": reliability(self.division.clean, self.pairs.verdict),
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
                "reason_id": key(self.pair_ids[r.row], r.kind, r.method, str(r.position)),
                "pair_id": self.pair_ids[r.row],
                "kind": r.kind,
                "method": r.method,
                "position": r.position,
                "value": r.value,
                "own": None if np.isnan(r.own) else r.own,
                "ref_id": None
                if r.ref < 0
                else (self.text_ids if r.kind == "better-text" else self.media_ids)[r.ref],
                "said": r.said,
                "active": True,
                "run_id": self.run.run_id,
            }
            for r in reasons(self.pairs, self.doubted, self.division.clean, self.found.members)
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
            labels = soft_labels(ref, self.pairs, self.division.clean)
            for row in range(len(labels)):
                yield self._repair(row, "soft-label", ref, None, float(labels[row]))

    def _proposed(self, ref: MethodRef) -> Iterator[dict[str, object]]:
        found = proposals(ref, self.pairs, self.division.clean)
        for row, giver, confidence in zip(found.row, found.text_from, found.confidence, strict=True):
            yield self._repair(int(row), ref.name, ref, self.text_ids[int(giver)], float(confidence))

    def _repair(
        self, row: int, kind: str, ref: MethodRef, text_id: str | None, label: float
    ) -> dict[str, object]:
        params = params_digest(ref.model_dump(mode="json"))
        return {
            "repair_id": key(self.pair_ids[row], kind, params),
            "pair_id": self.pair_ids[row],
            "media_id": self.media_ids[row],
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


def _inputs(runs: Sequence[Run], table: pa.Table) -> str:
    """Digest what the study depends on besides its parameters."""
    encoders = [run.encoder.digest for run in runs if run.encoder]
    columns = ("pair_id", "cluster_id", "text", "label", "verdict")
    return key(*encoders, *(key_of(map(str, values(table[name]))) for name in columns))


def _known(bench: Workbench, rule_digest: str, inputs: str) -> bool:
    sql = "SELECT count(*) FROM base_divisions WHERE active AND rule_digest = ? AND inputs = ?"
    return bool(bench.rows(sql, [rule_digest, inputs])[0][0])


def _as_before(bench: Workbench, judged: Judged) -> Judged:
    """Stage again what the snapshot has, so that it stays."""

    def staged(spec: TableSpec, where: str) -> str:
        sql = f"SELECT * EXCLUDE (row_digest) FROM base_{spec.name} WHERE active AND {where}"
        return bench.stage(sql, "studied", f"{spec.name}.arrow", schema=spec.schema)

    ours = ", ".join(_quoted(rule) for rule in RULES.values())
    return Judged(
        judged.decided,
        judged.paths,
        (*judged.decisions, staged(DECISIONS, f"rule IN ({ours})")),
        {spec.name: (staged(spec, "true"),) for spec in FURTHER},
    )


def _groups(cluster: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Return which pairs must not be told apart: near-duplicates, and pairs of one text.

    A head that saw "Etiquette Icons" under a hundred pictures would vouch for the next one. Where chains of near-duplicates
    and shared texts tie a tenth of the corpus together, texts alone count.
    """
    both = connected(cluster, text)
    return text if len(both) and np.bincount(both).max() > max(len(both) / 10, 10) else both


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return an integer per row that is equal where the strings are. (N,) int64."""
    coded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(
        coded.dictionary
    ).to_numpy()  # numbers follow the strings' order, whatever the rows'
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[coded.indices.to_numpy(zero_copy_only=False)]


def _labels(column: pa.ChunkedArray) -> np.ndarray | None:
    names: Sequence[str | None] = column.to_pylist()
    numbers: Mapping[str, int] = {name: n for n, name in enumerate(sorted({name for name in names if name}))}
    if not numbers:
        return None
    return np.array([numbers[name] if name else -1 for name in names], dtype=np.int64)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
