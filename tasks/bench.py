"""Read a corpus for the correspondence bench, and turn what its cells measured into rows, tables and figures."""

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.recipes import CurationRecipe, MethodRef, Rule, SourceRef
from schemas.tables import METRICS
from storage.lake import Lake
from tasks.dividers.contract import Division
from tasks.figures import recovery_curves, save_png, score_histogram
from tasks.metrics import Comparison, compare, compare_all
from tasks.run import code_version
from tasks.score import matrix
from tasks.shards.correspondence import ARMS, REMEDY, Cell, Found, save_pairs

BENCH = "correspondence"
FEATURES = {"media": MethodRef(name="efficientnet-lite0"), "text": MethodRef(name="minilm")}
TABLES = {"media": "embeddings_efficientnet_lite0", "text": "embeddings_minilm"}


@dataclass(frozen=True)
class Corpus:
    """A corpus as the bench uses it.

    Args:
        name: Of `xmodal corpora list`.
        roles: Texts that are captions, in order; a medium's first text of each counts.
        rules: What is left out because it is wrong or empty by itself, which would blur the truth.
        protocols: Ways of planting noise. A corpus with one caption a medium has no use for "image".
        without: Folders whose media are left out, by their first part.
    """

    name: str
    roles: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    protocols: tuple[str, ...] = ("caption", "image")
    without: tuple[str, ...] = ()

    def recipe(self, encoder: MethodRef) -> CurationRecipe:
        """Return the recipe that takes it in and encodes one side of it."""
        return CurationRecipe(
            name=f"bench {self.name}",
            sources=(SourceRef(name=self.name, kind="corpus", location=self.name),),
            filters=self.rules,
            encoder=encoder,
            tag="bench",
        )


def _rule(
    name: str, *, at_least: float | None = None, at_most: float | None = None, **params: object
) -> Rule:
    return Rule(method=MethodRef(name=name, params=params), at_least=at_least, at_most=at_most)


_ENGLISH = _rule("language", at_least=1, und_passes=False)
CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus("demo", ("title", "keywords"), (_rule("shared-text", at_most=3),)),
        Corpus("stamps", ("caption",), (_ENGLISH,), protocols=("caption",), without=("symbols",)),
        Corpus("openmoji", ("caption", "keywords"), (_ENGLISH,), without=("flags",)),
        Corpus(
            "clipart",
            ("title", "keywords"),
            (
                _rule("shared-text", at_most=1),
                _rule("boilerplate", at_most=0.3),
                _rule("file-name-like", at_most=0.3),
                _rule("length-chars", at_least=4),
            ),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What the bench runs.

    Args:
        corpora: Names of `CORPORA`.
        rates: Shares of units made wrong.
        seeds: Runs per point.
        scorers: Scorers measured alone beside the consensus.
        consensus: The consensus.
        media: Media a corpus gives at most; drawn with seed 0.
        test: Of them, those kept clean for testing: at most a quarter.
        arms: Remedies to train with.
    """

    corpora: tuple[str, ...] = ("stamps", "openmoji", "clipart")
    rates: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8)
    seeds: int = 5
    scorers: tuple[MethodRef, ...] = (
        MethodRef(name="out-of-fold"),
        MethodRef(name="geometry"),
        MethodRef(name="early-loss"),
        MethodRef(name="complementary"),
        MethodRef(name="evidential"),
        MethodRef(name="oscillation"),
        MethodRef(name="entangled"),
        MethodRef(name="agreement"),
        MethodRef(name="frequency"),
    )
    consensus: MethodRef = MethodRef(name="consensus")
    media: int = 1000
    test: int = 250
    arms: tuple[str, ...] = ARMS

    def cells(self, paths: Mapping[str, Path]) -> list[Cell]:
        """Return every cell, slow corpora first."""
        return [
            Cell(corpus, str(paths[corpus]), protocol, rate, seed, self.scorers, self.consensus, self.arms)
            for corpus in sorted(self.corpora, key=lambda name: -paths[name].stat().st_size)
            for protocol in CORPORA[corpus].protocols
            for rate in self.rates
            for seed in range(self.seeds)
        ]

    @classmethod
    def quick(cls) -> "Plan":
        """Return a plan of minutes: the corpus that ships, two rates, two seeds."""
        return cls(
            corpora=("demo",),
            rates=(0.0, 0.4),
            seeds=2,
            scorers=tuple(ref for ref in cls().scorers if ref.name not in ("oscillation", "evidential")),
        )


def write_corpus(lake: Lake, corpus: Corpus, plan: Plan, path: Path) -> str:
    """Read a corpus's pairs and vectors from a lake, split off test media, and write both parts to `path`.

    Returns:
        Digest of the snapshot that was read.

    Raises:
        DataError: The lake has too few pairs of the corpus.
    """
    snapshot = lake.snapshot("bench")
    media = {
        row["media_id"]: row
        for row in _rows(lake, "media", ["media_id", "cluster_id", "kept", "present", "extra"])
    }
    texts = {row["text_id"]: row for row in _rows(lake, "texts", ["text_id", "text", "kept", "present"])}
    folder = {media_id: json.loads(row["extra"] or "{}").get("folder", "") for media_id, row in media.items()}
    vectors = {side: _vectors(lake, table) for side, table in TABLES.items()}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for row in sorted(
        _rows(lake, "pairs", ["pair_id", "media_id", "text_id", "role", "present"]),
        key=lambda r: r["pair_id"],
    ):
        medium, text = media[row["media_id"]], texts[row["text_id"]]
        wanted = (
            row["present"] and row["role"] in corpus.roles and medium["kept"] and text["kept"]
            and row["media_id"] in vectors["media"] and row["text_id"] in vectors["text"]
            and folder[row["media_id"]].split("/")[0] not in corpus.without
        )  # fmt: skip
        if wanted:  # one text of each role, so that no medium with twenty names outweighs the rest
            found.setdefault((row["media_id"], row["role"]), (row["media_id"], row["text_id"]))
    if len(corpus.roles) == 1:  # one medium a text: who shares a caption cannot be told apart
        found = {("", text): (medium, text) for medium, text in sorted(found.values(), reverse=True)}
    pairs = sorted(found.values())
    chosen = np.random.default_rng(0).permutation(sorted({medium for medium, _ in pairs}))[: plan.media]
    test = set(chosen[: min(plan.test, len(chosen) // 4)].tolist())
    train = set(chosen.tolist()) - test
    if len(test) < 20:
        raise DataError(
            f"{corpus.name} gave {len(chosen)} media with vectors and texts; the bench needs at least 80"
        )
    held = {
        media[medium]["cluster_id"] for medium in test
    }  # nothing a test medium nearly duplicates is trained on
    parts = []
    for wanted_media in (train, test):
        rows = [
            (m, t) for m, t in pairs
            if m in wanted_media and (wanted_media is test or media[m]["cluster_id"] not in held)
        ]  # fmt: skip
        parts.append(
            _batch(
                rows, vectors, [media[m]["cluster_id"] for m, _ in rows], [folder[m] for m, _ in rows], texts
            )
        )
    save_pairs(path, *parts)
    return snapshot.digest


def _batch(
    rows: list[tuple[str, str]],
    vectors: Mapping[str, Mapping[str, NDArray[np.float32]]],
    clusters: list[str],
    folders: list[str],
    texts: Mapping[str, Mapping[str, Any]],
) -> PairBatch:
    def number(names: Sequence[str]) -> NDArray[np.int64]:
        return np.unique(np.array(names, dtype=object), return_inverse=True)[1].astype(np.int64)

    return PairBatch(
        np.stack([vectors["media"][medium] for medium, _ in rows]),
        np.stack([vectors["text"][text] for _, text in rows]),
        group=number(clusters),
        label=number(folders),
        media_key=number([medium for medium, _ in rows]),
        text_key=number([str(texts[text]["text"]) for _, text in rows]),
        texts=[str(texts[text]["text"]) for _, text in rows],
        common=False,
    )


def _rows(lake: Lake, table: str, columns: list[str]) -> list[dict[str, Any]]:
    return list(lake.read(table, at="bench", columns=columns).to_pylist())


def _vectors(lake: Lake, table: str) -> dict[str, NDArray[np.float32]]:
    read = lake.read(table, at="bench", columns=["item_id", "vector"])
    return dict(zip(read["item_id"].to_pylist(), matrix(read["vector"]), strict=True))


def record(lake: Lake, plan: Plan, found: Sequence[Found], digests: Mapping[str, str], *, recipe: str) -> int:
    """Append every number to the lake's `metrics` and return how many there are."""
    now, run_id, version = datetime.now(UTC), f"bench-{uuid.uuid4().hex[:12]}", code_version()
    rows = [
        {
            "metric_id": uuid.uuid4().hex,
            "bench": BENCH,
            "corpus": one.cell.corpus,
            "protocol": one.cell.protocol,
            "rate": one.cell.rate,
            "seed": one.cell.seed,
            "subject": subject,
            "metric": metric,
            "value": value,
            "recipe": recipe,
            "code_version": version,
            "data": digests[one.cell.corpus],
            "run_id": run_id,
            "measured_at": now,
        }
        for one in found
        for subject, metric, value in one.values
    ]
    lake.append_log(METRICS, *rows)
    return len(rows)


Point = tuple[str, str, float]  # corpus, protocol, rate


@dataclass(frozen=True)
class Report:
    """What the bench found, by corpus, protocol and rate.

    Args:
        values: {(point, subject, metric): values by seed}.
        compared: {(point, other arm): the remedy against it, corrected for the number of arms}.
    """

    values: dict[tuple[Point, str, str], list[float]]
    compared: dict[tuple[Point, str], Comparison]

    @property
    def points(self) -> list[Point]:
        """Every corpus, protocol and rate, sorted."""
        return sorted({point for point, _, _ in self.values})

    def of(self, point: Point, subject: str, metric: str) -> list[float]:
        """Return the values by seed; empty where nothing was measured."""
        return self.values.get((point, subject, metric), [])

    def subjects(self, metric: str) -> list[str]:
        """Return who has values of a metric, in the order they were measured in."""
        return list(dict.fromkeys(subject for _, subject, name in self.values if name == metric))

    def recovered(self, point: Point, arm: str = REMEDY) -> float | None:
        """Return the share of the R@10 gap between no remedy and the oracle that an arm closes; None without a gap."""
        none, oracle, mine = (
            np.mean(self.of(point, f"arm: {name}", "r10")) for name in ("none", "oracle", arm)
        )
        return float((mine - none) / (oracle - none)) if point[2] > 0 and oracle - none > 1e-9 else None


def reported(found: Sequence[Found]) -> Report:
    """Gather what cells measured, and compare the remedy with every other arm."""
    values: dict[tuple[Point, str, str], list[float]] = defaultdict(list)
    queries: dict[Point, dict[str, list[NDArray[np.float64]]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(
        found, key=lambda one: (one.cell.corpus, one.cell.protocol, one.cell.rate, one.cell.seed)
    ):
        point = (one.cell.corpus, one.cell.protocol, one.cell.rate)
        for subject, metric, value in one.values:
            values[point, subject, metric].append(value)
        for arm, per_query in one.per_query.items():
            queries[point][arm].append(100 * per_query)
    compared = {}
    for point, arms in queries.items():
        if REMEDY not in arms or len(arms[REMEDY]) < 2:
            continue
        remedy = np.stack(arms[REMEDY])
        # compare_all takes one baseline and many arms: turned round, the difference is the remedy's with its sign changed.
        others = {name: np.stack(runs) for name, runs in arms.items() if name != REMEDY}
        for name, one_way in compare_all(remedy, others).items():
            whole = compare(others[name], remedy)
            compared[point, name] = replace(whole, p_value=one_way.p_value)
    return Report(dict(values), compared)


def figures(found: Sequence[Found], folder: Path) -> list[Path]:
    """Draw the recovery curves of every corpus and protocol, and a histogram of scores for each rate of seed 0."""
    written = []
    groups: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for one in found:
        groups[one.cell.corpus, one.cell.protocol].append(one)
    for (corpus, protocol), members in sorted(groups.items()):
        rows = [
            {"remedy": subject.removeprefix("arm: "), "rate": one.cell.rate, "r10": value}
            for one in members
            for subject, metric, value in one.values
            if subject.startswith("arm: ") and metric == "r10"
        ]
        title = f"{corpus}, {protocol} protocol"
        path = folder / f"{corpus}-{protocol}-recovery.png"
        recovery_curves(rows, path, title=title)
        written.append(path)
        for one in members:
            if one.cell.seed == 0 and one.cell.rate in (0.2, 0.4):
                path = folder / f"{corpus}-{protocol}-{100 * one.cell.rate:.0f}-scores.png"
                score_histogram(
                    one.histogram["scores"],
                    _division(one.histogram),
                    path,
                    truth=one.histogram["true"],
                    mismatched=one.histogram["mismatched"],
                    title=f"{title}, {100 * one.cell.rate:.0f} % mismatched",
                )
                written.append(path)
    return written


def _division(stored: Mapping[str, NDArray[np.float32]]) -> Division:
    rate = float(stored["noise_rate"])
    known = None if np.isnan(rate) else rate
    return Division(stored["clean"].astype(np.float32), known, None, None, known is not None, "")


__all__ = [
    "BENCH",
    "CORPORA",
    "Corpus",
    "Plan",
    "Report",
    "figures",
    "record",
    "reported",
    "save_png",
    "write_corpus",
]
