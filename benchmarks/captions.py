"""What captions written here are worth: `python -m benchmarks.captions --help`.

Reads the manifest that `xmodal corpora get stamps` prints, and takes the pictures that have an English caption, without
letters and signs. Pictures of one caption, and near-duplicates, stay together. 150 pictures are the test, the same for all
seeds. Of the rest each seed draws 150, the few, whose human captions are known; those of all others, the pool, are
hidden while captioners write about them, and come back only to measure. What learns learns from the few. `translate`
reads the pool's captions in other languages; all others read pictures alone.

Drafts are judged by the gates that a recipe of captions has by default, with vectors of `lite`, and rewritten once, as the
platform does. Then a linear head a side is trained on EfficientNet-Lite0 and MiniLM vectors, which never saw each other,
from the few and from what was written, always for as many steps, and measured by R@10 of the test's human captions.

Everything that could be chosen was chosen before the test was looked at. Vectors are kept in the folder `--cache`.
"""

import argparse
import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.hallucinations import Vectors
from benchmarks.lite_train import from_png, from_svg_file
from benchmarks.measure import machine, table
from schemas.batch import PairBatch
from schemas.recipes import CaptionRecipe, MethodRef
from tasks.assessors.contract import Encode
from tasks.captioners import CAPTIONERS, _bridge, labels
from tasks.captioners._reading import admitted, statements_of
from tasks.captioners.contract import Captioner, Corpus, Draft, Failure, Known, Medium
from tasks.catalog import build
from tasks.encoders._lite_features import ImageFeatures, image_features
from tasks.encoders.lite import HEAD, open_head, place_images, place_texts
from tasks.filters._hamming import representatives
from tasks.heads.linear import Linear
from tasks.losses.info_nce import InfoNCE
from tasks.media.picture import difference_hash
from tasks.metrics import Comparison, compare, compare_all, retrieval
from tasks.shards.correspondence import Training
from tasks.shards.drafts import CONFIDENCE, Judge, Judged
from tasks.training.fit import Schedule, fit

WRITERS = ("labels", "concepts", "retrieve", "prefix", "translate")
RECIPE = CaptionRecipe(name="captions", captioners=(MethodRef(name="labels"),))
TRAINING = Training()  # of the correspondence bench
STEPS = 200  # of every head: more rows are not more training
SHARES = (0.25, 0.5, 0.75)  # of the accepted texts
READERS = ("keywords", "translate")  # of other texts of the medium
DRAWN_ALIKE = 3  # bits of the difference hash, as curation has it
FORWARDS: dict[str, tuple[ModuleType, str]] = {
    "labels": (labels, "image_features"),
    "prefix": (_bridge, "write"),
}


@dataclass(frozen=True)
class Stamps:
    """N pictures with what people said of them.

    Args:
        media: As captioners see them, without texts.
        caption: The English caption of each.
        foreign: Captions in other languages, or other texts that a captioner may read.
        pooled: (N, 1280) unit vectors of EfficientNet-Lite0.
        alike: (N,) number of the near-duplicates a picture is one of.
        group: (N,) number of pictures tied by near-duplicates or by one caption.
    """

    media: Sequence[Medium]
    caption: Sequence[str]
    foreign: Sequence[tuple[Known, ...]]
    pooled: NDArray[np.float32]
    alike: NDArray[np.int64]
    group: NDArray[np.int64]


def stamps_of(manifest: Path, cache: Path) -> Stamps:
    """Read pictures and captions; features are computed once."""
    found: list[tuple[str, NDArray[np.uint8], str, tuple[Known, ...]]] = []
    for line in manifest.read_text().splitlines():
        row = json.loads(line)
        path = manifest.parent / row.get("media", "")
        said = [text for text in row["texts"] if text["role"] == "caption"]
        english = [" ".join(text["text"].split()) for text in said if text["language"] == "en"]
        if path.suffix not in (".png", ".svg") or row["category"] == "symbols" or not any(english):
            continue
        try:
            picture = from_png(path) if path.suffix == ".png" else from_svg_file(path)
        except ValueError:
            continue  # some drawings give neither size nor view box
        foreign = tuple(
            Known(f"{row['media']}:{number}", text["text"], text["language"])
            for number, text in enumerate(said)
            if text["language"] not in ("en", "und")
        )
        found.append((row["media"], picture, next(filter(None, english)), foreign))
    ids, pictures, captions, others = zip(*found, strict=True)
    pooled, logits = _features(ids, pictures, cache)
    vectors = place_images(ImageFeatures(pooled, logits), open_head(HEAD))
    hashes = np.array([int(difference_hash(Image.fromarray(one)), 16) for one in pictures], np.uint64)
    alike = representatives(hashes, DRAWN_ALIKE).astype(np.int64)
    return Stamps(
        [Medium(*one) for one in zip(ids, pictures, vectors, strict=True)],
        captions,
        others,
        pooled / np.linalg.norm(pooled, axis=1, keepdims=True),
        alike,
        tied(alike, numbered([caption.casefold() for caption in captions])),
    )


def _features(
    ids: Sequence[str], pictures: Sequence[NDArray[np.uint8]], cache: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    file = cache / f"seen_{hashlib.sha256(chr(10).join(ids).encode()).hexdigest()[:12]}.npz"
    if file.is_file():
        with np.load(file) as kept:
            return kept["pooled"], kept["logits"]
    seen = image_features(pictures)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(file, pooled=seen.pooled, logits=seen.logits)
    return seen.pooled, seen.logits


def numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Return the same number for the same name."""
    return np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1].astype(np.int64)


def tied(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the same number for rows that share a number of either kind, or are tied through others. (N,)."""
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    size = int(a.max() + b.max()) + 2
    edges = coo_array((np.ones(len(a)), (a, b + a.max() + 1)), shape=(size, size))
    return connected_components(edges, directed=False)[1][a].astype(np.int64)


def drawn(
    group: NDArray[np.int64], among: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return some of the rows `among`, whole groups only, `count` of them or a few less. Sorted."""
    taken: list[int] = []
    for number in rng.permutation(np.unique(group[among])):
        members = among[group[among] == number]
        if len(taken) + len(members) <= count:
            taken.extend(members.tolist())
    return np.sort(np.array(taken, np.int64))


@dataclass
class Written:
    """What one captioner wrote about the pool.

    Args:
        first: First drafts by row of the stamps.
        accepted: What passed the gates, as written or rewritten, by row.
        worth: Mean of the gates' scores of each accepted text, by row.
        rewritten: Rows whose accepted text is a rewritten one.
        refused: What refused the last draft of a row that was given up: a gate, or its captioner's own doubt.
        silent: Rows without a draft.
        learn_s: Seconds to learn.
        write_s: Seconds to write, judging apart.
        forward_s: Of these within the model's own passes; NaN where there is no model or it was not looked at.
    """

    first: dict[int, str] = field(default_factory=dict)
    accepted: dict[int, str] = field(default_factory=dict)
    worth: dict[int, float] = field(default_factory=dict)
    rewritten: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    silent: int = 0
    learn_s: float = 0.0
    write_s: float = 0.0
    forward_s: float = float("nan")


@contextmanager
def timed(where: ModuleType, name: str) -> Iterator[list[float]]:
    """Collect the seconds of every call of a function while the context is open."""
    spent: list[float] = []
    function: Callable[..., Any] = getattr(where, name)

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - start)

    setattr(where, name, watched)
    try:
        yield spent
    finally:
        setattr(where, name, function)


def corpus_of(stamps: Stamps, few: NDArray[np.int64], encode: Encode, *, foreign: bool) -> Corpus:
    """Return the few with their English captions, and with those in other languages where asked for."""
    texts = [Known(f"{stamps.media[row].media_id}:en", stamps.caption[row], "en") for row in few]
    pairs = [(place, place) for place in range(len(few))]
    vectors = encode([text.text for text in texts])
    if foreign:  # nobody who reads these looks at where they lie
        for place, row in enumerate(few):
            pairs += [(place, len(texts) + number) for number in range(len(stamps.foreign[row]))]
            texts += stamps.foreign[row]
        vectors = np.concatenate(
            [vectors, np.zeros((len(texts) - len(few), vectors.shape[1]), vectors.dtype)]
        )
    media = [stamps.media[row] for row in few]
    return Corpus(
        tuple(medium.media_id for medium in media),
        np.stack([medium.vector for medium in media if medium.vector is not None]),
        tuple(texts),
        vectors,
        np.array(pairs, np.int64),
        encode,
    )


def written_by(
    name: str, stamps: Stamps, few: NDArray[np.int64], pool: NDArray[np.int64], encode: Encode
) -> Written:
    """Let a captioner learn from the few and write about the pool, and judge what it wrote."""
    captioner = build(CAPTIONERS, MethodRef(name=name))
    reads = name in READERS
    start = time.perf_counter()
    captioner = captioner.learn(corpus_of(stamps, few, encode, foreign=reads))
    out = Written(learn_s=time.perf_counter() - start)
    media = [
        Medium(one.media_id, one.picture, one.vector, stamps.foreign[row] if reads else ())
        for row, one in ((row, stamps.media[row]) for row in pool)
    ]
    said = _said(captioner, media, out)
    written = [
        Judged(place, 0, draft, statements_of(draft))
        for place, draft in enumerate(map(admitted, said))
        if isinstance(draft, Draft)
    ]
    out.silent = len(pool) - len(written)
    out.first = {int(pool[one.medium]): one.draft.text for one in written}
    for one in judge_of(stamps, few, media, encode)(written):
        row = int(pool[one.medium])
        if one.status == "accepted":
            out.accepted[row] = one.draft.text
            out.worth[row] = float(np.nanmean(list(one.scores.values())))
            if one.attempt > 1:
                out.rewritten.append(row)
        elif one.status == "refused":
            out.refused[row] = one.refused_by
    return out


def _said(captioner: Captioner, media: Sequence[Medium], out: Written) -> list[Draft | Failure]:
    """Write, and note how long it took."""
    watched = FORWARDS.get(captioner.name)
    start = time.perf_counter()
    if watched is None:
        said = captioner(media)
    else:
        with timed(*watched) as spent:
            said = captioner(media)
        out.forward_s = sum(spent)
    out.write_s = time.perf_counter() - start
    return said


def judge_of(stamps: Stamps, few: NDArray[np.int64], media: Sequence[Medium], encode: Encode) -> Judge:
    """Return who judges drafts about media of the pool by the default gates, among these and the few."""
    every = [*(stamps.media[row] for row in few), *media]
    return Judge(
        recipe=RECIPE,
        media=media,
        raw=[()] * len(media),
        gallery_vec=np.stack([medium.vector for medium in every if medium.vector is not None]),
        own=np.arange(len(few), len(every)),
        encode=encode,
    )


Rows = list[tuple[int, str]]  # of the stamps, and what is said of it


def arms(
    stamps: Stamps, pool: NDArray[np.int64], by: dict[str, Written], rng: np.random.Generator
) -> dict[str, Rows]:
    """Return what each arm trains on beside the few."""
    accepted = sorted({(row, text) for one in by.values() for row, text in one.accepted.items()})
    first = sorted({(row, text) for one in by.values() for row, text in one.first.items()})
    order, chosen = rng.permutation(len(accepted)), rng.permutation(len(first))
    texts = [accepted[at][1] for at in rng.permutation(len(accepted))]
    out: dict[str, Rows] = {
        "few": [],
        "accepted": accepted,
        "unfiltered, as many": [first[at] for at in sorted(chosen[: len(accepted)])],
        "unfiltered, all": first,
        "served": served(by),
        "accepted, of other media": [(row, text) for (row, _), text in zip(accepted, texts, strict=True)],
        "human captions": [(int(row), stamps.caption[row]) for row in pool],
    }
    for name, one in by.items():
        out[f"{name}, accepted"] = sorted(one.accepted.items())
        out[f"{name}, unfiltered"] = sorted(one.first.items())
    for share in SHARES:
        some = sorted(order[: round(share * len(accepted))])
        out[f"{share:.0%} of accepted"] = [accepted[at] for at in some]
    return out


def served(by: dict[str, Written]) -> Rows:
    """Return the accepted text of each medium that the gates think best of."""
    best: dict[int, tuple[float, str]] = {}
    for name in sorted(by):
        for row, text in by[name].accepted.items():
            worth = by[name].worth[row]
            if row not in best or worth > best[row][0]:
                best[row] = worth, text
    return [(row, best[row][1]) for row in sorted(best)]


def trained(
    stamps: Stamps, rows: Rows, test: NDArray[np.int64], read: Encode, seed: int
) -> NDArray[np.float64]:
    """Train a head a side on rows and return recall at 10 of each test query, media first. (Q,)."""
    pairs = batch(stamps, rows, read)
    per_epoch = -(-len(pairs) // TRAINING.schedule.batch_size)
    towers = fit(
        pairs,
        head=Linear(width=TRAINING.width, dropout=TRAINING.dropout),
        loss=InfoNCE(temperature=TRAINING.temperature, rest="similar"),
        schedule=Schedule(
            epochs=max(1, round(STEPS / per_epoch)),
            batch_size=TRAINING.schedule.batch_size,
            learning_rate=TRAINING.schedule.learning_rate,
            weight_decay=TRAINING.schedule.weight_decay,
        ),
        seed=seed,
    )
    asked = batch(stamps, [(int(row), stamps.caption[row]) for row in test], read, group=stamps.group)
    return retrieval(towers.media(asked.media_vec), towers.text(asked.text_vec), asked).per_query(10)


def batch(stamps: Stamps, rows: Rows, read: Encode, group: NDArray[np.int64] | None = None) -> PairBatch:
    """Return pairs; groups are near-duplicates, which are known without captions, unless others are given."""
    at = np.array([row for row, _ in rows], np.int64)
    said = [text for _, text in rows]
    return PairBatch(
        stamps.pooled[at],
        read(said),
        group=(stamps.alike if group is None else group)[at],
        media_key=at,
        text_key=numbered([text.casefold().strip(" .!") for text in said]),
        texts=said,
        common=False,
    )


def likeness(said: dict[int, str], truth: dict[int, str]) -> dict[str, float]:
    """Return BLEU-4, ROUGE-L and CIDEr of what was said against one human caption each, in their usual units.

    CIDEr weighs n-grams by the captions of all of `truth`, so that captioners who say different things are comparable.
    """
    if not said:
        return dict.fromkeys(("BLEU-4", "ROUGE-L", "CIDEr"), float("nan"))
    import sacrebleu
    from pycocoevalcap.cider.cider_scorer import CiderScorer
    from rouge_score.rouge_scorer import RougeScorer

    rows = sorted(said)
    hypotheses, references = [said[row] for row in rows], [truth[row] for row in rows]
    rouge = RougeScorer(["rougeL"])
    cider = CiderScorer(n=4, sigma=6.0)
    for row in sorted(truth):
        cider += (plain(said.get(row, "")), [plain(truth[row])])
    _, each = cider.compute_score()
    place = {row: number for number, row in enumerate(sorted(truth))}
    return {
        "BLEU-4": sacrebleu.corpus_bleu(hypotheses, [references], lowercase=True).score,
        "ROUGE-L": float(
            np.mean(
                [rouge.score(r, h)["rougeL"].fmeasure for r, h in zip(references, hypotheses, strict=True)]
            )
        ),
        "CIDEr": float(np.mean([each[place[row]] for row in rows])),
    }


def plain(text: str) -> str:
    """Return lower-case words without punctuation, as the captioning metrics want them."""
    return " ".join(re.findall(r"[\w'-]+", text.lower()))


@dataclass
class Found:
    """What all seeds came to: recalls (S, Q) by arm, sizes and metrics by seed."""

    recall: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    size: dict[str, list[int]] = field(default_factory=dict)
    metric: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=dict)
    fate: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def one_seed(
    stamps: Stamps,
    test: NDArray[np.int64],
    few_count: int,
    writers: Sequence[str],
    read: Encode,
    seed: int,
    found: Found,
) -> None:
    """Draw the few, write about the pool, train every arm."""
    head = open_head(HEAD)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        return place_texts(read(texts), head)

    rng = np.random.default_rng((seed, 1))
    rest = np.setdiff1d(np.arange(len(stamps.media)), test)
    few = drawn(stamps.group, rest, few_count, rng)
    pool = np.setdiff1d(rest, few)
    by = {name: written_by(name, stamps, few, pool, encode) for name in writers}
    truth = {int(row): stamps.caption[row] for row in pool}
    for name, one in by.items():
        for what, said in (
            ("first drafts", one.first),
            ("accepted", one.accepted),
            ("first drafts of the same media", {row: one.first[row] for row in one.accepted}),
        ):
            measured = {"coverage": len(said) / len(pool)} | likeness(said, truth)
            found.metric.setdefault((name, what), []).append(measured)
        found.fate.setdefault(name, []).append(fate(one, len(pool)))
    known: Rows = [(int(row), stamps.caption[row]) for row in few]
    for name, rows in arms(stamps, pool, by, rng).items():
        found.recall.setdefault(name, []).append(trained(stamps, known + rows, test, read, seed))
        found.size.setdefault(name, []).append(len(rows))


def fate(one: Written, pool: int) -> dict[str, float]:
    """Return what became of a captioner's drafts as shares of the pool, and how fast it was."""
    refused_by = list(one.refused.values())
    names = [CONFIDENCE, *(gate.method.name for gate in RECIPE.gates)]
    return {
        "no draft": one.silent / pool,
        "accepted as written": (len(one.accepted) - len(one.rewritten)) / pool,
        "accepted rewritten": len(one.rewritten) / pool,
        **{f"refused by {name}": refused_by.count(name) / pool for name in names},
        "seconds to learn": one.learn_s,
        "media a second": pool / one.write_s,
        "share in the model": one.forward_s / one.write_s,
    }


def report(found: Found) -> str:
    """Return the tables."""
    recall = {name: np.stack(runs) for name, runs in found.recall.items()}
    few = recall["few"]
    scaling = [f"{share:.0%} of accepted" for share in SHARES]
    alone = [f"{name}, {what}" for name in found.fate for what in ("accepted", "unfiltered")]
    main_arms = [name for name in recall if name not in ("few", *scaling, *alone)]
    rows: list[list[object]] = [["nothing", "0", _percent(few), "", "", "", ""]]
    for family in (main_arms, alone):  # each corrected for its own number
        rows += [
            [name, f"{np.mean(found.size[name]):.0f}", _percent(recall[name]), *_compared(one)]
            for name, one in compare_all(few, {name: recall[name] for name in family}).items()
        ]
    out = [
        table(
            [
                "trained on the few and",
                "rows added",
                "R@10, %",
                "against the few",
                "p",
                "detectable",
                "verdict",
            ],
            rows,
        )
    ]
    pairs = [
        ("accepted", "unfiltered, as many"),
        ("accepted", "unfiltered, all"),
        ("accepted", "accepted, of other media"),
        ("accepted", "served"),
        ("human captions", "accepted"),
    ]
    pairs += [(f"{name}, accepted", f"{name}, unfiltered") for name in found.fate]
    rows = [[arm, base, *_compared(compare(recall[base], recall[arm]))] for arm, base in pairs]
    out.append(table(["arm", "against", "difference", "p, not corrected", "detectable", "verdict"], rows))
    curve = ["few", *scaling, "accepted"]
    rows = [
        [f"{share:.0%}", f"{np.mean(found.size[name]):.0f}", _percent(recall[name])]
        for share, name in zip((0, *SHARES, 1), curve, strict=True)
    ]
    out.append(table(["share of accepted texts", "rows added", "R@10, %"], rows))
    names = ("coverage", "BLEU-4", "ROUGE-L", "CIDEr")
    rows = [[*key, *_cells(runs, names)] for key, runs in found.metric.items()]
    out.append(table(["captioner", "texts", *names], rows))
    first = next(iter(found.fate.values()))[0]
    rows = [[name, *_cells(runs, list(first))] for name, runs in found.fate.items()]
    out.append(table(["captioner", *first], rows))
    return "\n\n".join(out)


def _percent(runs: NDArray[np.float64]) -> str:
    by_seed = 100 * runs.mean(axis=1)
    return f"{by_seed.mean():.1f} ± {by_seed.std(ddof=min(1, len(by_seed) - 1)):.1f}"


def _compared(one: Comparison) -> list[object]:
    interval = f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    return [interval, f"{one.p_value:.3f}", f"{100 * one.detectable:.1f}", one.verdict]


def _cells(runs: Sequence[dict[str, float]], names: Sequence[str]) -> list[object]:
    cells: list[object] = []
    for name in names:
        values = np.array([run[name] for run in runs])
        spread = values.std(ddof=min(1, len(values) - 1))
        digits = 1 if name in ("BLEU-4", "media a second", "seconds to learn") else 2
        cells.append("" if np.isnan(values).all() else f"{values.mean():.{digits}f} ± {spread:.{digits}f}")
    return cells


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, help="What `xmodal corpora get stamps` prints."
    )
    parser.add_argument("--cache", type=Path, required=True, help="Folder for vectors.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="To draw others than before.")
    parser.add_argument("--few", type=int, default=150)
    parser.add_argument("--test", type=int, default=150)
    parser.add_argument("--captioners", nargs="+", default=list(WRITERS), choices=sorted(CAPTIONERS))
    args = parser.parse_args()
    print(machine() + "\n", flush=True)
    stamps, read = stamps_of(args.manifest, args.cache), Vectors(args.cache)
    test = drawn(stamps.group, np.arange(len(stamps.media)), args.test, np.random.default_rng(0))
    found = Found()
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        one_seed(stamps, test, args.few, args.captioners, read, seed, found)
        read.keep()
    print(f"{len(stamps.media)} pictures, {len(test)} in the test, {args.seeds} seeds\n")
    print(report(found))


if __name__ == "__main__":
    main()
