"""What reranking, cutting, diversity and composed queries are worth: `python -m benchmarks.relevance --help`.

Reads the manifests that `xmodal corpora get openmoji` and `xmodal corpora get clipart` print. Four settings:

known     A query is the name of an emoji, its answers are the other drawings of its subgroup, found by `lite`, which
          never saw these drawings, but did see other vendors' of the same emoji. All subgroups occur in training.
new       The same, with queries of subgroups that no query trained on belongs to.
texts     As `known`, where drawings come with their names: found by the mean of both cosines, and the heads read both.
keywords  A query is a keyword of Open Clip Art, its answers the pictures that have it; found by a linear head that was
          fitted on other pictures. Rerankers never saw the keyword.

One gallery stands for a lake: some queries on it are judged, others come later. Some subgroups or keywords are asked for
but taken out of it, other ones in training, validation and test: the right answer is none. The test and the gallery are
the same for all seeds; a seed draws what is learnt from, what thresholds are chosen on, and first weights.
The 50 first are reranked. Thresholds are the highest that finds on validation queries as much of what is right as the
first 10 do there, so contexts are compared at equal recall; up to 30 are kept.

Composed queries: pictures of emoji whose names differ in one word ("man farmer", "woman farmer") ask for each other.

How the head is trained was chosen while looking at the test of `--split 99`; other splits are tests of it.

Vectors are kept in the folder `--cache`.
"""

import argparse
import hashlib
import io
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image
from sklearn.isotonic import IsotonicRegression

from benchmarks.measure import machine, table
from tasks.encoders._lite_features import ImageFeatures, image_features, text_features
from tasks.encoders.lite import HEAD, open_head, place_images, place_texts
from tasks.metrics import compare, holm
from tasks.metrics.detection import division_quality
from tasks.metrics.significance import query_test
from tasks.noise._canonical import fit_canonical
from tasks.rerankers import (
    MMR,
    Asked,
    CutCurve,
    Found,
    Lesson,
    Relevance,
    Reranker,
    best_first,
    cut,
    cut_curve,
    threshold_for_recall,
)
from tasks.rerankers.figure import cut_figure
from tasks.retrieval.compose import less, replaced, summed

CANDIDATES, FIXED, UP_TO = 50, 10, 30
TEST, VALIDATION, GONE = 0.3, 0.3, 0.15  # shares: of all; of the rest; of what is asked for
FITTED = 0.4  # share of pictures that the first stage of `keywords` is fitted on
LEAST, MOST, RARE = 5, 300, 40  # pictures of a keyword; at most, of one that is taken out
SETTINGS = ("known", "new", "texts", "keywords")
MEASURES = ("precision", "recall", "size", "spoilt")
TRADES = (1.0, 0.9, 0.7, 0.5, 0.3)
WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Corpus:
    """N pictures and what is said of them.

    Args:
        ids: Their names.
        seen: What EfficientNet-Lite0 says of them.
        name: The name or title of each.
        keywords: The keywords of each, lower case.
        folder: Subgroup of each.
        category: Group of each.
    """

    ids: Sequence[str]
    seen: ImageFeatures
    name: Sequence[str]
    keywords: Sequence[frozenset[str]]
    folder: NDArray[np.str_]
    category: NDArray[np.str_]


def corpus_of(manifest: Path, cache: Path) -> Corpus:
    """Read pictures and texts, flags left out; features are computed once."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows = [row for row in rows if row.get("media") and row["category"] != "flags"]
    ids = [row["media"] for row in rows]
    stamp = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    file = cache / f"relevance-{manifest.parent.name}-{stamp}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, **_features(manifest.parent, ids))
    with np.load(file) as kept:
        seen, whole = ImageFeatures(kept["pooled"], kept["logits"]), kept["whole"]
    chosen = [row for row, there in zip(rows, whole, strict=True) if there]
    texts = [{one["role"]: one["text"] for one in reversed(row["texts"])} for row in chosen]
    words = [
        frozenset(
            word.strip().lower()
            for one in row["texts"]
            if one["role"] == "keywords"
            for word in one["text"].split(",")
        )
        for row in chosen
    ]
    return Corpus(
        ids=[row["media"] for row in chosen],
        seen=seen,
        name=[text.get("caption") or text.get("title") or "" for text in texts],
        keywords=words,
        folder=np.array([row["folder"] for row in chosen]),
        category=np.array([row["category"] for row in chosen]),
    )


def picture_of(path: Path) -> NDArray[np.uint8]:
    """Return a picture on white, its longer side at most 320 px.

    Raises:
        ValueError: It cannot be drawn, or has over 20 million pixels.
        OSError: It cannot be read.
    """
    source: Path | io.BytesIO = path
    if path.suffix == ".svg":
        source = io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=320)))
    try:
        with Image.open(source) as picture:
            if picture.width * picture.height > 20_000_000:
                raise ValueError(f"{path} has {picture.width} x {picture.height} pixels")
            over = picture.convert("RGBA")
    except Image.DecompressionBombError as error:  # neither an OSError nor a ValueError
        raise ValueError(str(error)) from error
    page = Image.new("RGBA", over.size, (255, 255, 255, 255))
    page.alpha_composite(over)
    small = page.convert("RGB")
    small.thumbnail((320, 320))
    return np.asarray(small)


def _features(folder: Path, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
    pooled, logits, whole = [], [], []
    for start in range(0, len(ids), 128):
        pictures = []
        for name in ids[start : start + 128]:
            try:
                pictures.append(picture_of(folder / name))
            except (ValueError, OSError):
                whole.append(False)  # a few give neither size nor view box, or are enormous
                continue
            whole.append(True)
        seen = image_features(pictures)
        pooled.append(seen.pooled)
        logits.append(seen.logits)
    return {
        "pooled": np.concatenate(pooled),
        "logits": np.concatenate(logits),
        "whole": np.array(whole),
    }


@dataclass(frozen=True)
class Vectors:
    """Where pictures and texts lie.

    Args:
        media: (N, D) of the pictures.
        texts: (Q, D) of what can be asked for.
        names: (N, 384) sentence vectors of the pictures' names.
    """

    media: NDArray[np.float32]
    texts: NDArray[np.float32]
    names: NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """Queries with candidates, and how many right items the gallery has for each."""

    lessons: list[Lesson]
    total: NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """What one seed learns from, chooses thresholds on, and is tested on."""

    training: Judged
    validation: Judged
    test: Judged


def sentence_vectors(texts: Sequence[str], cache: Path) -> NDArray[np.float32]:
    """Return MiniLM's vectors of texts, computed once."""
    stamp = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    file = cache / f"relevance-texts-{stamp}.npy"
    if not file.is_file():
        np.save(file, text_features([text or " " for text in texts]))
    return np.asarray(np.load(file))


def asked(
    rows: NDArray[np.int64],
    gallery: NDArray[np.int64],
    vectors: Vectors,
    right: Callable[[int, NDArray[np.int64]], NDArray[np.bool_]],
    group: Callable[[int], str],
    *,
    own: bool,
    texts: bool = False,
) -> Judged:
    """Return what queries find in a gallery.

    Args:
        rows: Queries, rows of `vectors.texts`.
        gallery: Rows of the pictures.
        vectors: Of both.
        right: Which of some pictures answer a query.
        group: What ties queries together.
        own: Row r of the pictures is what query r was made of, and no answer to it.
        texts: Whether names are compared too.
    """
    lessons, total = [], []
    for row in rows:
        others = gallery[gallery != row] if own else gallery
        score = vectors.media[others] @ vectors.texts[row]
        facts = {}
        if texts:
            facts["name"] = vectors.names[others] @ vectors.names[row]
            score = (score + facts["name"]) / 2
        first = np.argsort(-score, kind="stable")[:CANDIDATES]
        found = Found(
            tuple(f"{item:05}" for item in others[first]),
            vectors.media[others[first]],
            score[first].astype(np.float32),
            facts={name: values[first] for name, values in facts.items()},
        )
        lessons.append(Lesson(Asked(vectors.texts[row]), found, right(row, others[first]), group=group(row)))
        total.append(int(right(row, others).sum()))
    return Judged(lessons, np.array(total))


def emoji_setting(corpus: Corpus, vectors: Vectors, name: str, seed: int, split: int) -> Setting:
    """Return names that ask for drawings of their subgroup."""
    fixed, drawn = np.random.default_rng(split), np.random.default_rng(seed)
    folders = fixed.permutation(np.unique(corpus.folder))
    gone, there = np.split(folders, [round(GONE * len(folders))])
    gallery = np.flatnonzero(np.isin(corpus.folder, there))
    units = there if name == "new" else gallery
    of_row = corpus.folder if name == "new" else np.arange(len(corpus.ids))
    parts = []
    for part, without in zip(_split(units, fixed, drawn), _split(gone, fixed, drawn), strict=True):
        rows = np.flatnonzero(
            np.isin(of_row, part) & np.isin(corpus.folder, there) | np.isin(corpus.folder, without)
        )
        parts.append(
            asked(
                rows,
                gallery,
                vectors,
                lambda row, items: corpus.folder[items] == corpus.folder[row],
                lambda row: str(corpus.folder[row]) if name == "new" else f"{row}",
                own=True,
                texts=name == "texts",
            )
        )
    return Setting(*parts)


def _split(
    units: NDArray[Any], fixed: np.random.Generator, drawn: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return units for training, validation and test; the last the same for all seeds."""
    order = fixed.permutation(units)
    count = round(TEST * len(units))
    rest = drawn.permutation(order[count:])
    held = round(VALIDATION * len(rest))
    return rest[held:], rest[:held], order[:count]


def words_of(corpus: Corpus) -> list[str]:
    """Return keywords of one word that neither few nor many pictures have."""
    count = Counter(word for words in corpus.keywords for word in words)
    return sorted(
        word for word, n in count.items() if LEAST <= n <= MOST and len(word) > 2 and word.isalpha()
    )


def keyword_setting(corpus: Corpus, words: Sequence[str], cache: Path, seed: int, split: int) -> Setting:
    """Return keywords that ask for pictures, found by a linear head fitted on pictures of nothing else."""
    fixed, drawn = np.random.default_rng(split), np.random.default_rng(seed)
    fitted, items = np.split(fixed.permutation(len(corpus.ids)), [round(FITTED * len(corpus.ids))])
    has = np.array([[word in own for word in words] for own in corpus.keywords])  # (N, W)
    pooled = corpus.seen.pooled / np.linalg.norm(corpus.seen.pooled, axis=1, keepdims=True)
    names = sentence_vectors(corpus.name, cache)
    listed = sentence_vectors([", ".join(sorted(own)) for own in corpus.keywords], cache)
    both = np.concatenate([fitted, fitted + len(pooled)])
    head = fit_canonical(
        np.concatenate([pooled, pooled]),
        np.concatenate([names, listed]),
        both,
        np.ones(len(both), np.float32),
        width=128,
        ridge=3.0,
    )
    vectors = Vectors(head.media(pooled), head.text(sentence_vectors(words, cache)), names)
    few = fixed.permutation(np.flatnonzero(has.sum(axis=0) <= RARE))
    gone = few[: round(GONE * len(words))]
    there = np.setdiff1d(np.arange(len(words)), gone)
    gallery = items[~has[np.ix_(items, gone)].any(axis=1)]
    parts = []
    for part, without in zip(_split(there, fixed, drawn), _split(gone, fixed, drawn), strict=True):
        parts.append(
            asked(
                np.concatenate([part, without]),
                gallery,
                vectors,
                lambda row, items: has[items, row],
                lambda row: words[row],
                own=False,
            )
        )
    return Setting(*parts)


Scores = list[NDArray[np.float32]]


def scores_of(reranker: Reranker | None, judged: Judged) -> Scores:
    """Return the scores of every query's candidates; those of the first stage where there is no reranker."""
    if reranker is None:
        return [one.candidates.scores for one in judged.lessons]
    return [reranker(one.query, one.candidates) for one in judged.lessons]


def truths(judged: Judged) -> list[NDArray[np.bool_]]:
    """Return which candidates are right, per query."""
    return [one.relevant for one in judged.lessons]


def contexts(scores: Scores, judged: Judged, *, at_least: float, k: int) -> dict[str, NDArray[np.float64]]:
    """Return how good each query's context is.

    `precision`, 0 where an answer exists and nothing is kept, and `recall` are of queries with an answer, as is `empty`;
    `size` and `spoilt` of all; `silent`, 1 where nothing is kept, of queries without; `right` and `kept` count over all.
    """
    kept, right = [], []
    for values, one in zip(scores, judged.lessons, strict=True):
        chosen = best_first(one.candidates.item_ids, values)[: cut(values, at_least=at_least, k=k)]
        kept.append(len(chosen))
        right.append(int(one.relevant[chosen].sum()))
    size, hits, answer = np.array(kept, float), np.array(right, float), judged.total > 0
    return {
        "precision": (hits / np.maximum(size, 1))[answer],
        "recall": (hits / np.maximum(judged.total, 1))[answer],
        "empty": (size == 0)[answer].astype(float),
        "size": size,
        "spoilt": (hits < size).astype(float),
        "silent": (size == 0)[~answer].astype(float),
        "right": np.array([hits.sum()]),
        "kept": np.array([size.sum()]),
    }


@dataclass(frozen=True)
class Run:
    """One seed of one setting: contexts by arm, calibration by what gives P(relevant), curves by scores."""

    arms: Mapping[str, Mapping[str, NDArray[np.float64]]]
    calibration: Mapping[str, tuple[float, float]]
    curves: Mapping[str, CutCurve]
    learn_s: float
    rerank_ms: float


def run(setting: Setting, facts: tuple[str, ...], seed: int) -> Run:
    """Learn, choose thresholds, and test."""
    start = time.perf_counter()
    head = Relevance(seed=seed, facts=facts).learn(setting.training.lessons)
    learn_s = time.perf_counter() - start
    ways: dict[str, Reranker | None] = {
        "first stage": None,
        "numbers": Relevance(seed=seed, facts=facts, directions=0).learn(setting.training.lessons),
        "relevance": head,
    }
    validation, test = setting.validation, setting.test
    plain = scores_of(None, validation)
    found = cut_curve(plain, truths(validation), k=FIXED, total=validation.total.tolist()).recall[-1]
    arms, calibration, curves = {}, {}, {}
    right = np.concatenate(truths(test))
    rerank_ms = float("nan")
    for name, way in ways.items():
        start = time.perf_counter()
        scores = scores_of(way, test)
        if name == "relevance":
            rerank_ms = 1000 * (time.perf_counter() - start) / len(test.lessons)
        before = scores_of(way, validation)
        curve = cut_curve(before, truths(validation), k=UP_TO, total=validation.total.tolist())
        at_least = threshold_for_recall(curve, recall=float(found))
        arms[f"{name}, first {FIXED}"] = contexts(scores, test, at_least=-np.inf, k=FIXED)
        arms[f"{name}, cut"] = contexts(scores, test, at_least=at_least, k=UP_TO)
        curves[name] = cut_curve(scores, truths(test), k=UP_TO, total=test.total.tolist())
        probability = np.concatenate(scores)
        if (
            way is None
        ):  # as many verdicts as there are, so that the head is compared with the best of the cosine
            fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
                np.concatenate(before), np.concatenate(truths(validation))
            )
            probability = fitted.predict(probability)
        quality = division_quality(probability, right)
        calibration[name] = (quality.brier, quality.ece)
    usual = np.full(len(right), np.concatenate(truths(validation)).mean())
    quality = division_quality(usual, right)
    calibration["how common right ones are"] = (quality.brier, quality.ece)
    return Run(arms, calibration, curves, learn_s, rerank_ms)


def report(name: str, setting: Setting, runs: Sequence[Run]) -> str:
    """Return the tables of one setting."""
    answered = int((setting.test.total > 0).sum())
    parts = [
        f"### {name}\n",
        f"{len(setting.test.lessons)} test queries, {len(setting.test.lessons) - answered} of them without an answer; "
        f"{len(setting.training.lessons)} to learn from, {len(setting.validation.lessons)} to choose by (seed 0). Learning "
        f"{np.mean([one.learn_s for one in runs]):.0f} s, reranking {np.mean([one.rerank_ms for one in runs]):.1f} ms a "
        "query.\n",
    ]
    rows = []
    for arm in runs[0].arms:
        values = [one.arms[arm] for one in runs]
        pooled = [float(v["right"][0] / max(v["kept"][0], 1)) for v in values]
        cells = [[float(v[key].mean()) for v in values] for key in (*MEASURES, "silent", "empty")]
        rows.append(
            [
                arm,
                _spread(pooled),
                *(
                    _spread(cell, 1 if key == "size" else 3)
                    for key, cell in zip((*MEASURES, "", ""), cells, strict=True)
                ),
            ]
        )
    columns = [
        "kept",
        "precision, all kept",
        "precision, a query",
        "recall",
        "size",
        "a wrong one",
        "none, rightly",
        "none, wrongly",
    ]
    parts.append(table(columns, rows) + "\n")
    plain, thresholded = f"first stage, first {FIXED}", "first stage, cut"
    against = [
        (plain, thresholded),
        (plain, "relevance, cut"),
        (thresholded, "relevance, cut"),
        (plain, f"relevance, first {FIXED}"),
        ("numbers, cut", "relevance, cut"),
    ]
    rows = []
    for measure in MEASURES:
        pairs = [
            compare(*(np.stack([one.arms[arm][measure] for one in runs]) for arm in pair)) for pair in against
        ]
        adjusted = holm(np.array([one.p_value for one in pairs]))
        rows += [
            [
                measure,
                f"{b} less {a}",
                f"{one.difference:+.3f}",
                f"{one.low:+.3f} to {one.high:+.3f}",
                f"{p:.3f}",
            ]
            for (a, b), one, p in zip(against, pairs, adjusted, strict=True)
        ]
    parts.append(table(["of", "difference", "mean", "95 %", "p (Holm)"], rows) + "\n")
    reached = runs[0].arms[plain]["right"][0] / setting.test.total.sum()
    rows = []
    for way in runs[0].curves:
        at = [int(np.flatnonzero(one.curves[way].recall >= reached)[0]) for one in runs]
        cells = [
            _spread(
                [float(getattr(one.curves[way], key)[i]) for one, i in zip(runs, at, strict=True)], digits
            )
            for key, digits in (("precision", 3), ("size", 1), ("spoilt", 3), ("empty", 3))
        ]
        rows.append([way, *cells])
    fixed = runs[0].arms[plain]
    cells = [f"{fixed['right'][0] / fixed['kept'][0]:.3f}", f"{FIXED}", f"{fixed['spoilt'].mean():.3f}", "0"]
    columns = [f"cut on the test itself at recall {reached:.3f}", "precision", "size", "a wrong one", "none"]
    parts.append(table(columns, [[plain, *cells], *rows]) + "\n")
    rows = [
        [way, *(_spread([one.calibration[way][i] for one in runs], 4) for i in (0, 1))]
        for way in runs[0].calibration
    ]
    parts.append(table(["P(relevant) from", "Brier", "ECE"], rows) + "\n")
    return "\n".join(parts)


def _spread(values: Sequence[float], digits: int = 3) -> str:
    return (
        f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"
        if len(values) > 1
        else f"{values[0]:.{digits}f}"
    )


def diversity(corpus: Corpus, test: Judged) -> str:
    """Return what MMR trades: right groups against different subgroups among the first 10."""
    measured: dict[float, list[tuple[float, float, float]]] = defaultdict(list)
    for one in test.lessons:
        category = corpus.category[int(one.group)]
        for trade in TRADES:
            scores = MMR(trade)(one.query, one.candidates)
            first = best_first(one.candidates.item_ids, scores)[:FIXED]
            rows = np.array([int(one.candidates.item_ids[i]) for i in first])
            right = corpus.category[rows] == category
            alike = one.candidates.vectors[first] @ one.candidates.vectors[first].T
            between = (alike.sum() - np.trace(alike)) / (len(first) * (len(first) - 1))
            measured[trade].append(
                (float(right.mean()), len(set(corpus.folder[rows[right]])), float(between))
            )
    plain = np.array(measured[1.0])
    rows = []
    for trade in TRADES:
        values = np.array(measured[trade])
        cells = [f"{mean:.3f}" for mean in values.mean(axis=0)]
        p = [query_test((values - plain)[:, column]) for column in (0, 1)]
        rows.append([f"{trade:g}", *cells, *("" if trade == 1 else f"{one:.3f}" for one in p)])
    columns = [
        "trade",
        "right group",
        "subgroups of it",
        "mean cosine between",
        "p, right group",
        "p, subgroups",
    ]
    return table(columns, rows)


Composed = Callable[[NDArray[np.float32], Mapping[str, NDArray[np.float32]], float], NDArray[np.float32]]
COMPOSED: dict[str, Composed] = {
    "the picture": lambda picture, text, weight: picture,
    "the new word": lambda picture, text, weight: text["new"],
    "picture + new word": lambda picture, text, weight: summed([picture, text["new"]], [1, weight]),
    "picture - old word": lambda picture, text, weight: less(picture, [text["old"]], weight),
    "picture + new word - old word": lambda picture, text, weight: replaced(
        picture, text["old"], text["new"], weight
    ),
    "picture + new name - old name": lambda picture, text, weight: replaced(
        picture, text["from"], text["to"], weight
    ),
    "the new name (all of it said)": lambda picture, text, weight: text["to"],
}


def swaps(names: Sequence[str], least: int = 1) -> list[tuple[int, int, str, str]]:
    """Return (row, row wanted, old word, new word) of names that differ in one word.

    Args:
        names: Of the rows.
        least: Names in which a word stands where another could, for the two to be alternatives: "dragon face" and
            "hushed face" are none.
    """
    patterns: dict[tuple[str, ...], list[tuple[int, str]]] = defaultdict(list)
    for row, name in enumerate(names):
        words = tuple(name.lower().replace(":", "").replace(",", "").split())
        if len(words) > 1:
            for place, word in enumerate(words):
                patterns[(*words[:place], "*", *words[place + 1 :])].append((row, word))
    found = [
        (a, b, old, new) for rows in patterns.values() for a, old in rows for b, new in rows if old != new
    ]
    often = Counter((old, new) for _, _, old, new in found)
    return [one for one in found if often[one[2:]] >= least]


def composed(corpus: Corpus, vectors: Vectors, cache: Path) -> str:
    """Return how often composed queries find what they ask for among the first 10."""
    asked_for = swaps(corpus.name, least=3)
    words = sorted({word for _, _, old, new in asked_for for word in (old, new)})
    place = {word: row for row, word in enumerate(words)}
    word_vectors = place_texts(sentence_vectors(words, cache), open_head(HEAD))
    cluster = np.unique([" ".join(sorted((old, new))) for _, _, old, new in asked_for], return_inverse=True)[
        1
    ]
    chosen_on = np.random.default_rng(0).random(cluster.max() + 1)[cluster] < 0.5
    name_of = np.array(corpus.name)

    answers = [np.flatnonzero(name_of == name_of[b]) for _, b, _, _ in asked_for]

    def found(how: Composed, weight: float) -> NDArray[np.float64]:
        """(P, 2): found among the first 10, and first."""
        queries = []
        for a, b, old, new in asked_for:
            text = {
                "old": word_vectors[place[old]],
                "new": word_vectors[place[new]],
                "from": vectors.texts[a],
                "to": vectors.texts[b],
            }
            queries.append(how(vectors.media[a], text, weight))
        similarity = np.stack(queries) @ vectors.media.T
        hits = []
        for score, (a, *_), right in zip(similarity, asked_for, answers, strict=True):
            score[a] = -np.inf  # the picture that is asked with is no answer
            rank = int((score > score[right].max()).sum()) + 1
            hits.append((rank <= FIXED, rank == 1))
        return np.array(hits, float)

    rows, kept = [], {}
    for name, how in COMPOSED.items():
        weighed = name.startswith("picture")
        tried = {weight: found(how, weight) for weight in (WEIGHTS if weighed else (1.0,))}
        best = max(tried, key=lambda weight: tried[weight][chosen_on, 0].mean())
        kept[name] = tried[best][~chosen_on]
        rows.append([name, f"{best:g}" if weighed else ""])
    groups = cluster[~chosen_on]

    def by_group(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([values[groups == group].mean() for group in np.unique(groups)])

    plain = kept["the picture"][:, 0]
    p = holm(np.array([query_test(by_group(kept[name][:, 0] - plain)) for name in list(COMPOSED)[1:]]))
    for row, value in zip(rows, ["", *(f"{one:.3f}" for one in p)], strict=True):
        hits = kept[str(row[0])]
        row += [
            f"{hits[:, 0].mean():.3f}",
            f"{by_group(hits[:, 0]).mean():.3f}",
            f"{hits[:, 1].mean():.3f}",
            value,
        ]
    columns = ["asked by", "weight", "success@10", "the same, a pair of words", "first", "p (Holm)"]
    said = (
        f"{len(asked_for)} queries of {cluster.max() + 1} pairs of words; weights chosen on "
        f"{len(np.unique(cluster[chosen_on]))} pairs, tested on the {len(np.unique(groups))} others. Gallery: "
        f"{len(corpus.ids)} drawings; chance of success {FIXED / len(corpus.ids):.3f}.\n\n"
    )
    return said + table(columns, rows)


def main() -> None:
    """Run everything and print Markdown."""
    parser = argparse.ArgumentParser(
        description="What reranking, cutting, diversity and composed queries are worth."
    )
    parser.add_argument("--openmoji", type=Path, required=True, help="Manifest of OpenMoji.")
    parser.add_argument("--clipart", type=Path, help="Manifest of Open Clip Art; without it, no keywords.")
    parser.add_argument("--cache", type=Path, required=True, help="Where vectors are kept.")
    parser.add_argument("--figures", type=Path, help="Where figures are written.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--split", type=int, default=7, help="Draws gallery and test; parameters were chosen on 99."
    )
    parser.add_argument("--only", choices=[*SETTINGS, "composed"], nargs="*", help="Leave out the others.")
    given = parser.parse_args()
    print(machine(), flush=True)
    emoji, head = corpus_of(given.openmoji, given.cache), open_head(HEAD)
    names = sentence_vectors(emoji.name, given.cache)
    vectors = Vectors(place_images(emoji.seen, head), place_texts(names, head), names)
    clipart = corpus_of(given.clipart, given.cache) if given.clipart else None
    for name in [one for one in SETTINGS if one in (given.only or SETTINGS)]:
        if name == "keywords" and clipart is None:
            continue
        settings, runs = [], []
        for seed in range(given.seeds):
            if name == "keywords" and clipart is not None:
                settings.append(keyword_setting(clipart, words_of(clipart), given.cache, seed, given.split))
            else:
                settings.append(emoji_setting(emoji, vectors, name, seed, given.split))
            runs.append(run(settings[-1], ("name",) if name == "texts" else (), seed))
        print(report(name, settings[0], runs), flush=True)
        if given.figures:
            cut_figure(runs[0].curves, given.figures / f"relevance-{name}.png", title=f"Where to cut: {name}")
        if name == "known":
            print(f"### Diversity\n\n{diversity(emoji, settings[0].test)}\n", flush=True)
    if not given.only or "composed" in given.only:
        print(f"### Composed queries\n\n{composed(emoji, vectors, given.cache)}", flush=True)


if __name__ == "__main__":
    main()
