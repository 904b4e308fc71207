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
        name: What the bench calls it.
        roles: Texts that are captions, in order; a medium's first text of each counts.
        rules: What is left out because it is wrong or empty by itself, which would blur the truth.
        protocols: Ways of planting noise. A corpus with one caption a medium has no use for "image".
        without: Folders whose media are left out, by their first part.
        of: Its name in `xmodal corpora list`; `name` if empty.
        together: A medium's texts of all roles are one caption; its vector is the mean of theirs.
        media: Media it gives at most; as the plan says if None.
        test: Of them, those kept clean for testing; as the plan says if None.
    """

    name: str
    roles: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    protocols: tuple[str, ...] = ("caption", "image")
    without: tuple[str, ...] = ()
    of: str = ""
    together: bool = False
    media: int | None = None
    test: int | None = None

    @property
    def source(self) -> str:
        """Name of the corpus it is drawn from."""
        return self.of or self.name

    def recipe(self, encoder: MethodRef) -> CurationRecipe:
        """Return the recipe that takes it in and encodes one side of it."""
        return CurationRecipe(
            name=f"bench {self.source}",
            sources=(SourceRef(name=self.source, kind="corpus", location=self.source),),
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
        Corpus(  # one caption a medium that says all, and all media: the noise is easier to tell
            "openmoji-whole", ("caption", "keywords"), (_ENGLISH,), protocols=("caption",), without=("flags",),
            of="openmoji", together=True, media=2195, test=500,
        ),
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

    corpora: tuple[str, ...] = ("stamps", "openmoji", "openmoji-whole", "clipart")
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
    extra = {media_id: json.loads(row["extra"] or "{}") for media_id, row in media.items()}
    vectors = {side: _vectors(lake, table) for side, table in TABLES.items()}
    found: dict[str, dict[str, str]] = defaultdict(dict)  # medium -> role -> text
    for row in sorted(
        _rows(lake, "pairs", ["pair_id", "media_id", "text_id", "role", "present"]),
        key=lambda r: r["pair_id"],
    ):
        medium, text = row["media_id"], row["text_id"]
        wanted = (
            row["present"] and row["role"] in corpus.roles and media[medium]["kept"] and texts[text]["kept"]
            and medium in vectors["media"] and text in vectors["text"]
            and not _places(extra[medium]) & set(corpus.without)
        )  # fmt: skip
        if wanted:  # one text of each role, so that no medium with twenty names outweighs the rest
            found[medium].setdefault(row["role"], text)
    pairs = _captioned(corpus, found)
    size, kept_apart = corpus.media or plan.media, corpus.test or plan.test
    chosen = np.random.default_rng(0).permutation(sorted({medium for medium, _ in pairs}))[:size]
    test = set(chosen[: min(kept_apart, len(chosen) // 4)].tolist())
    train = set(chosen.tolist()) - test
    if len(test) < 20:
        raise DataError(
            f"{corpus.name} gave {len(chosen)} media with vectors and texts; the bench needs at least 80"
        )
    cluster = {medium: media[medium]["cluster_id"] for medium in chosen.tolist()}
    held = {cluster[medium] for medium in test}  # nothing a test medium nearly duplicates is trained on
    parts = []
    for part in (train, test):
        rows = [(m, t) for m, t in pairs if m in part and (part is test or cluster[m] not in held)]
        said = [", ".join(str(texts[one]["text"]) for one in names) for _, names in rows]
        folders = [str(extra[m].get("folder", "")) for m, _ in rows]
        parts.append(_batch(rows, vectors, [cluster[m] for m, _ in rows], folders, said))
    save_pairs(path, *parts)
    return snapshot.digest


def _places(extra: Mapping[str, Any]) -> set[str]:
    """Return where a medium is filed: the first part of its folder, and its category."""
    return {str(extra.get("folder", "")).split("/")[0], str(extra.get("category", ""))}


def _captioned(corpus: Corpus, found: Mapping[str, Mapping[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return (medium, texts of the caption), sorted: a caption a role, or one of all roles."""
    if not corpus.together and len(corpus.roles) > 1:
        return sorted((medium, (text,)) for medium, by_role in found.items() for text in by_role.values())
    whole = {
        medium: tuple(by_role[role] for role in corpus.roles if role in by_role)
        for medium, by_role in found.items()
    }
    # one medium a caption: who shares one cannot be told apart
    return sorted({names: (medium, names) for medium, names in sorted(whole.items(), reverse=True)}.values())


def _batch(
    rows: list[tuple[str, tuple[str, ...]]],
    vectors: Mapping[str, Mapping[str, NDArray[np.float32]]],
    clusters: list[str],
    folders: list[str],
    said: list[str],
) -> PairBatch:
    def number(names: Sequence[str]) -> NDArray[np.int64]:
        return np.unique(np.array(names, dtype=object), return_inverse=True)[1].astype(np.int64)

    text_vec = np.stack([np.mean([vectors["text"][one] for one in names], axis=0) for _, names in rows])
    return PairBatch(
        np.stack([vectors["media"][medium] for medium, _ in rows]),
        (text_vec / np.linalg.norm(text_vec, axis=1, keepdims=True)).astype(np.float32),
        group=number(clusters),
        label=number(folders),
        media_key=number([medium for medium, _ in rows]),
        text_key=number(said),
        texts=said,
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
