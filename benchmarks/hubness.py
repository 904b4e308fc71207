"""What similarities that know of hubs are worth, and where they harm: `python -m benchmarks.hubness --help`.

Reads the manifests that `xmodal corpora get stamps` and `xmodal corpora get clipart` print; captions are the English
captions of stamps and the titles of drawings. Stamps of one caption, and near-duplicates, stay together and answer the same
queries; of drawings that share a title or nearly all their looks one is taken. Each seed deals the pictures to four folds.
Each fold is the test once: the next one is for validation, the other two train what is trained and are the banks. So every
text asks once a seed, for the pictures of its fold. Settings are chosen by R@10 on the validation fold, for every method,
and once among all of them with the cosine as the fallback, as `tune` does it; a method beats raw in validation by the bound
that holds for all tried.

Spaces: *ridge* maps MiniLM vectors to EfficientNet-Lite0's by ridge regression, nothing centred, the classic hubby space;
*centred ridge* the same after the training mean is taken off both sides; *heads* are two linear heads trained with
InfoNCE; *lite* is the encoder as it ships, which corrects hubs itself and has seen many of the drawings in training.

Features take some minutes of CPU and are kept in the folder `--cache`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.captions import stamps_of
from benchmarks.hallucinations import Vectors
from benchmarks.lite_train import NO_TITLE, from_png
from benchmarks.measure import machine, table
from schemas.batch import PairBatch
from tasks.diagnostics import DIAGNOSTICS
from tasks.diagnostics.hubness import Hubness
from tasks.encoders._lite_features import ImageFeatures, image_features
from tasks.encoders.lite import HEAD, open_head, place_images, place_texts
from tasks.filters._hamming import representatives
from tasks.heads.linear import Linear
from tasks.losses.info_nce import InfoNCE
from tasks.media.picture import difference_hash
from tasks.metrics import Comparison, Recall, compare, compare_all, same_group
from tasks.noise._groups import folds_of
from tasks.shards.correspondence import Training
from tasks.similarities import Similarity, Validation, tune
from tasks.similarities._choice import all_scores, measured
from tasks.similarities.bank_norm import BankNorm
from tasks.similarities.contract import Fitted
from tasks.similarities.csls import CSLS
from tasks.similarities.inverse_convolution import InverseConvolution
from tasks.similarities.raw import Raw
from tasks.similarities.sinkhorn import Sinkhorn

TRAINING = Training()  # of the correspondence bench
RIDGES = (0.1, 1.0, 10.0)
FOLDS = 4
BETAS = (1.0, 5.0, 10.0, 20.0, 40.0)
RATES = (0.3, 1.0, 3.0, 10.0)
LOCAL_RATES = (0.03, 0.1, 0.3)
SHARES = (0.01, 0.1)
DRAWN_ALIKE = 3  # bits of the difference hash, as curation has it
MAX_PIXELS = 4_000_000


@dataclass(frozen=True)
class Chained:
    """One similarity fitted to the gallery that another has moved."""

    first: Similarity
    second: Similarity

    def fit(
        self,
        gallery: NDArray[np.float32],
        queries: NDArray[np.float32],
        bank: NDArray[np.float32] | None = None,
    ) -> "ChainedFitted":
        """Fit the first, then the second to what the first makes of the gallery."""
        first = self.first.fit(gallery, queries, bank)
        return ChainedFitted(first, self.second.fit(first.gallery(gallery), queries, bank))

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.first.name}, {self.second.name}"


@dataclass(frozen=True)
class ChainedFitted:
    """What `Chained` fits."""

    first: Fitted
    second: Fitted

    def gallery(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors moved by both."""
        return self.second.gallery(self.first.gallery(vectors))

    def __call__(
        self, similarity: NDArray[np.float32], rows: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return scores adjusted by both."""
        return self.second(self.first(similarity, rows), rows)


def _norms(**settings: Any) -> list[Similarity]:
    return [BankNorm(beta_queries=beta, **settings) for beta in BETAS]


def _both(dynamic: bool) -> list[Similarity]:
    return [
        BankNorm(banks="both", beta_queries=beta, beta_gallery=other, dynamic=dynamic)
        for beta in (5.0, 10.0, 20.0)
        for other in (1.0, 10.0)
    ]


GRIDS: dict[str, list[Any]] = {
    "csls": [CSLS(k=k) for k in (1, 3, 10, 30)],
    "bank-norm, queries (IS)": _norms(),
    "bank-norm, queries, dynamic (DIS)": _norms(dynamic=True),
    "bank-norm, gallery": [BankNorm(banks="gallery", beta_gallery=beta) for beta in BETAS],
    "bank-norm, both (DualIS)": _both(dynamic=False),
    "bank-norm, both, dynamic (DualDIS)": _both(dynamic=True),
    "sinkhorn": [Sinkhorn(beta=beta) for beta in BETAS],
    "inverse-convolution (InvGC)": [InverseConvolution(rate, rate) for rate in RATES],
    "inverse-convolution, local (LocalAdj)": [
        InverseConvolution(rate, rate, local=share) for share in SHARES for rate in LOCAL_RATES
    ],
}
UNTUNED: dict[str, Any] = {
    "bank-norm, queries, beta 20 untuned": BankNorm(),
    "sinkhorn, beta 20 untuned": Sinkhorn(),
    "csls, 10 untuned": CSLS(),
    "inverse-convolution, local, rate 1 untuned": InverseConvolution(local=0.01),
}
RAW = "raw"
SPACES = ("ridge", "centred ridge", "heads", "lite")
CHAIN = "InvGC, then IS"
CHAINS: list[Any] = [
    Chained(InverseConvolution(rate, rate), BankNorm(beta_queries=beta))
    for rate in (1.0, 3.0)
    for beta in (5.0, 10.0)
]
CHOSEN = "chosen among all, else the cosine"


@dataclass(frozen=True)
class Corpus:
    """N pictures and what they are asked for with.

    Args:
        name: Of the corpus.
        media: (N, 1280) unit vectors of EfficientNet-Lite0.
        text: (N, 384) unit vectors of MiniLM.
        lite_media: (N, 768) unit vectors of lite.
        lite_text: (N, 768) unit vectors of lite.
        group: (N,) pictures tied by near-duplicates or by one text.
    """

    name: str
    media: NDArray[np.float32]
    text: NDArray[np.float32]
    lite_media: NDArray[np.float32]
    lite_text: NDArray[np.float32]
    group: NDArray[np.int64]


def stamps(manifest: Path, cache: Path, read: Vectors) -> Corpus:
    """Return the stamps with an English caption, without letters and signs."""
    found = stamps_of(manifest, cache)
    text = read(list(found.caption))
    lite = np.stack([medium.vector for medium in found.media if medium.vector is not None])
    return Corpus("stamps", found.pooled, text, lite, place_texts(text, open_head(HEAD)), found.group)


def clipart(manifest: Path, cache: Path, read: Vectors, most: int) -> Corpus:
    """Return drawings with a title of their own, no two near-duplicates; of `most` drawn at random those that remain.

    Series of signs are one cluster of near-duplicates and titles tie it to others: kept together as stamps are, more
    than a third of all would be one group.
    """
    titled: list[tuple[str, str]] = []
    for line in manifest.read_text().splitlines():
        row = json.loads(line)
        titles = [" ".join(text["text"].split()) for text in row["texts"] if text["role"] == "title"]
        if not row.get("media", "").endswith(".png") or not titles or NO_TITLE.match(titles[0]):
            continue
        with Image.open(manifest.parent / row["media"]) as picture:
            if picture.width * picture.height <= MAX_PIXELS:
                titled.append((row["media"], titles[0]))
    order = np.random.default_rng(0).permutation(len(titled))[:most]
    chosen = [titled[at] for at in np.sort(order)]
    ids, titles = [name for name, _ in chosen], [title for _, title in chosen]
    pooled, logits, hashes = _features(manifest.parent, ids, cache / "clipart_seen.npz")
    alike = representatives(hashes, DRAWN_ALIKE)
    first = set(np.unique([title.casefold() for title in titles], return_index=True)[1].tolist())
    kept = np.array([row for row in np.unique(alike, return_index=True)[1] if row in first])
    text, head = read(titles)[kept], open_head(HEAD)
    pooled, logits = pooled[kept], logits[kept]
    return Corpus(
        "clipart",
        pooled / np.linalg.norm(pooled, axis=1, keepdims=True),
        text,
        place_images(ImageFeatures(pooled, logits), head),
        place_texts(text, head),
        np.arange(len(kept)),
    )


def _features(
    folder: Path, ids: Sequence[str], file: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint64]]:
    """Return pooled features, class logits and difference hashes; computed once."""
    if file.is_file():
        with np.load(file) as kept:
            if json.loads(str(kept["ids"])) == list(ids):
                return kept["pooled"], kept["logits"], kept["hashes"]
    pooled, logits, hashes = [], [], []
    for start in range(0, len(ids), 64):  # thumbnails of all would fill the memory
        pictures = [from_png(folder / name) for name in ids[start : start + 64]]
        seen = image_features(pictures)
        pooled.append(seen.pooled)
        logits.append(seen.logits)
        hashes += [int(difference_hash(Image.fromarray(one)), 16) for one in pictures]
    out = np.concatenate(pooled), np.concatenate(logits), np.array(hashes, np.uint64)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, ids=json.dumps(list(ids)), pooled=out[0], logits=out[1], hashes=out[2])
    return out


Space = tuple[NDArray[np.float32], NDArray[np.float32]]  # unit vectors of all pictures and all texts


def spaces(
    corpus: Corpus, train: NDArray[np.int64], validation: NDArray[np.int64], seed: int
) -> dict[str, Space]:
    """Return the four spaces; what is learnt is learnt from the training rows."""
    found = {
        "ridge": _ridge(corpus, train, validation, centred=False),
        "centred ridge": _ridge(corpus, train, validation, centred=True),
    }
    towers = fitted_heads(corpus, train, seed)
    found["heads"] = towers.media(corpus.media), towers.text(corpus.text)
    found["lite"] = corpus.lite_media, corpus.lite_text
    return found


def fitted_heads(corpus: Corpus, train: NDArray[np.int64], seed: int) -> Any:
    """Train two linear heads with InfoNCE."""
    from tasks.training.fit import fit

    pairs = PairBatch(corpus.media[train], corpus.text[train], group=corpus.group[train], common=False)
    return fit(
        pairs,
        head=Linear(width=TRAINING.width, dropout=TRAINING.dropout),
        loss=InfoNCE(temperature=TRAINING.temperature),
        schedule=TRAINING.schedule,
        seed=seed,
    )


def _ridge(
    corpus: Corpus, train: NDArray[np.int64], validation: NDArray[np.int64], *, centred: bool
) -> Space:
    """Return pictures and where ridge regression takes their texts; how much ridge is chosen for the cosine."""
    media, text = corpus.media.astype(np.float64), corpus.text.astype(np.float64)
    if centred:
        media, text = media - media[train].mean(axis=0), text - text[train].mean(axis=0)
    found: list[tuple[float, Space]] = []
    for ridge in RIDGES:
        square = text[train].T @ text[train] + ridge * np.eye(text.shape[1])
        taken = text @ np.linalg.solve(square, text[train].T @ media[train])
        space = _unit(media), _unit(taken)
        found.append(
            (float(measured(Raw(), asks(corpus, space, train, validation), Recall(10)).mean()), space)
        )
    return max(found, key=lambda one: one[0])[1]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def asks(corpus: Corpus, space: Space, train: NDArray[np.int64], rows: NDArray[np.int64]) -> Validation:
    """Return the texts of some rows as queries for their pictures, with training rows as banks."""
    media, text = space
    group = corpus.group[rows]
    return Validation(media[rows], text[train], text[rows], same_group(group, group), media[train])


@dataclass
class Found:
    """What all seeds came to in one space; a run is a seed and a fold."""

    first: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)  # R@1, (N,) a seed
    tenth: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)  # R@10
    skewness: dict[str, list[float]] = field(default_factory=dict)  # a run each, from here on
    never: dict[str, list[float]] = field(default_factory=dict)
    passed: dict[str, list[bool]] = field(default_factory=dict)
    settings: dict[str, list[str]] = field(default_factory=dict)
    shape: dict[str, list[float]] = field(default_factory=dict)  # diagnostics of the test's space
    by_chance: list[tuple[float, float]] = field(default_factory=list)  # skewness, never

    def note(
        self, arm: str, method: Any, test: Validation, rows: NDArray[np.int64], *, passed: bool = False
    ) -> None:
        """Measure a method on the test; `rows` are its queries among all."""
        for found, k in ((self.first, 1), (self.tenth, 10)):
            found[arm][-1][rows] = measured(method, test, Recall(k))
        fitted = method.fit(test.gallery, test.bank_queries, test.bank)
        report = Hubness().of_scores(scores for _, scores in all_scores(fitted, test.gallery, test.asked))
        self.skewness.setdefault(arm, []).append(report.skewness)
        self.never.setdefault(arm, []).append(report.never)
        self.passed.setdefault(arm, []).append(passed)
        self.settings.setdefault(arm, []).append(_setting(method))
        if arm == RAW:
            self.by_chance.append((report.skewness_by_chance, report.never_by_chance))

    def begin(self, queries: int) -> None:
        """Make room for another seed."""
        for arm in (RAW, *GRIDS, CHOSEN, CHAIN, *UNTUNED):
            for found in (self.first, self.tenth):
                found.setdefault(arm, []).append(np.full(queries, np.nan))


def _setting(method: Any) -> str:
    if isinstance(method, Raw):
        return RAW
    if isinstance(method, Chained):
        return f"{_setting(method.first)} {_setting(method.second)}"
    shown = {"k": "k", "rate_queries": "r", "local": "p", "beta": "b"}
    if isinstance(method, BankNorm):
        shown = {} if method.banks == "gallery" else {"beta_queries": "bq"}
        shown |= {} if method.banks == "queries" else {"beta_gallery": "bg"}
    return " ".join(f"{shown[k]}{v:g}" for k, v in vars(method).items() if k in shown and v is not None)


def one_seed(corpus: Corpus, seed: int, found: dict[str, Found]) -> None:
    """Deal the pictures to folds; tune every method beside each fold and measure it there."""
    fold = folds_of(corpus.group, FOLDS, np.random.default_rng((seed, 1)))
    for name in SPACES:
        found.setdefault(name, Found()).begin(len(fold))
    for turn in range(FOLDS):
        test, validation = np.flatnonzero(fold == turn), np.flatnonzero(fold == (turn + 1) % FOLDS)
        train = np.setdiff1d(np.arange(len(fold)), np.concatenate([test, validation]))
        for name, space in spaces(corpus, train, validation, seed).items():
            one_fold(
                found[name], asks(corpus, space, train, validation), asks(corpus, space, train, test), test
            )


def one_fold(here: Found, known: Validation, asked: Validation, test: NDArray[np.int64]) -> None:
    """Tune on what is known and measure on what is asked."""
    here.note(RAW, Raw(), asked, test)
    for diagnostic in DIAGNOSTICS.values():
        for what, value in diagnostic()(asked.gallery, asked.asked).items():
            here.shape.setdefault(f"{diagnostic.name} {what}", []).append(value)
    choice = tune([method for grid in GRIDS.values() for method in grid], known, metric=Recall(10))
    tried = iter(choice.tried)
    for arm, grid in GRIDS.items():
        best = max([next(tried) for _ in grid], key=lambda one: one.mean)
        here.note(arm, best.method, asked, test, passed=best.low > 0)
    here.note(CHOSEN, choice.method, asked, test, passed=not isinstance(choice.method, Raw))
    if not isinstance(choice.method, Raw):
        here.settings[CHOSEN][-1] = f"{choice.method.name} {_setting(choice.method)}"
    chained = max(tune(CHAINS, known, metric=Recall(10)).tried, key=lambda one: one.mean)
    here.note(CHAIN, chained.method, asked, test, passed=chained.low > 0)
    for arm, method in UNTUNED.items():
        here.note(arm, method, asked, test)


def report(found: Found) -> str:
    """Return the tables of one space."""
    first, tenth = (
        {arm: np.stack(runs) for arm, runs in runs_of.items()} for runs_of in (found.first, found.tenth)
    )
    skewness, never = np.mean(found.by_chance, axis=0)
    rows: list[list[object]] = [
        [RAW, _percent(first[RAW]), "", "", _percent(tenth[RAW]), "", "", *_hubs(found, RAW), "", ""],
        ["by chance", "", "", "", "", "", "", f"{skewness:.2f}", f"{never:.2f}", "", ""],
    ]
    for arms in ((*GRIDS, CHOSEN, CHAIN), tuple(UNTUNED)):  # each corrected for its own number
        at_1, at_10 = _against_raw(first, arms), _against_raw(tenth, arms)
        rows += [
            [
                arm,
                _percent(first[arm]),
                *_compared(at_1.get(arm)),
                _percent(tenth[arm]),
                *_compared(at_10.get(arm)),
                *_hubs(found, arm),
                "" if arm in UNTUNED else f"{sum(found.passed[arm])} of {len(found.passed[arm])}",
                "" if arm in UNTUNED else _often(found.settings[arm]),
            ]
            for arm in arms
        ]
    columns = ["similarity", "R@1, %", "against raw", "p", "R@10, %", "against raw", "p", "skewness"]
    columns += ["never found", "beats raw in validation", "settings"]
    against = [
        (CHAIN, "bank-norm, queries (IS)"),
        ("bank-norm, both (DualIS)", "bank-norm, queries (IS)"),
        ("bank-norm, queries, dynamic (DIS)", "bank-norm, queries (IS)"),
        ("sinkhorn", "bank-norm, queries (IS)"),
    ]
    pairs: list[list[object]] = [
        [arm, base]
        + [
            cell
            for runs in (first, tenth)
            for cell in _compared(compare(runs[base], runs[arm]) if _differ(runs[base], runs[arm]) else None)
        ]
        for arm, base in against
    ]
    shape: list[list[object]] = [
        [name, f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"]
        for name, values in found.shape.items()
    ]
    return "\n\n".join(
        [
            table(columns, rows),
            table(["similarity", "against", "R@1", "p, not corrected", "R@10", "p, not corrected"], pairs),
            table(["diagnostic of the test", RAW], shape),
        ]
    )


def _against_raw(runs: dict[str, NDArray[np.float64]], arms: Sequence[str]) -> dict[str, Comparison]:
    """Compare arms with the cosine, those that differ from it."""
    differing = {arm: runs[arm] for arm in arms if _differ(runs[RAW], runs[arm])}
    return compare_all(runs[RAW], differing) if differing else {}


def _often(settings: Sequence[str]) -> str:
    """Return the three settings chosen most often, and how often."""
    return ", ".join(f"{setting} ({count})" for setting, count in Counter(settings).most_common(3))


def _percent(runs: NDArray[np.float64]) -> str:
    by_seed = 100 * runs.mean(axis=1)
    return f"{by_seed.mean():.1f} ± {by_seed.std(ddof=min(1, len(by_seed) - 1)):.1f}"


def _differ(base: NDArray[np.float64], arm: NDArray[np.float64]) -> bool:
    """Return whether two queries or more fare differently; of one alone nothing can be tested."""
    return bool((np.abs((arm - base).mean(axis=0)) > 1e-12).sum() > 1)


def _compared(one: Comparison | None) -> list[object]:
    if one is None:
        return ["same", ""]
    mark = "" if one.verdict == "no difference seen" else "**"
    interval = f"{mark}{100 * one.difference:+.1f}{mark} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    return [interval, f"{one.p_value:.3f}"]


def _hubs(found: Found, arm: str) -> list[object]:
    return [
        f"{np.mean(values[arm]):.2f} ± {np.std(values[arm], ddof=min(1, len(values[arm]) - 1)):.2f}"
        for values in (found.skewness, found.never)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stamps", type=Path, help="What `xmodal corpora get stamps` prints.")
    parser.add_argument("--clipart", type=Path, help="What `xmodal corpora get clipart` prints.")
    parser.add_argument("--cache", type=Path, required=True, help="Folder for vectors.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="To draw others than before.")
    parser.add_argument("--most", type=int, default=3000, help="Drawings of clipart to look at.")
    args = parser.parse_args()
    if args.stamps is None and args.clipart is None:
        parser.error("give --stamps, --clipart or both")
    print(machine() + "\n", flush=True)
    read = Vectors(args.cache)
    corpora = [stamps(args.stamps, args.cache, read)] if args.stamps else []
    corpora += [clipart(args.clipart, args.cache, read, args.most)] if args.clipart else []
    read.keep()
    for corpus in corpora:
        found: dict[str, Found] = {}
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            one_seed(corpus, seed, found)
        print(f"# {corpus.name}: {len(corpus.group)} pictures, {args.seeds} seeds of {FOLDS} folds\n")
        for name, here in found.items():
            print(f"## {name}\n\n{report(here)}\n", flush=True)


if __name__ == "__main__":
    main()
