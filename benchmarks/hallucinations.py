"""How well cross-check and self-check find what was made up: `python -m benchmarks.hallucinations --help`.

Reads the manifest that `xmodal corpora get stamps` prints, takes pictures whose English caption is one plain phrase, and
lets seven made-up captioners say it again several times a picture: details left out, framed, reordered, in other
words. Each puts a wrong object, colour or count in at a rate of its own, 0 to 0.6. An eighth captioner gives the captions
nearest to the picture's own: evidence like any other, but as nobody knows its rate, it is not ranked.

Manners: with *any*, a captioner takes one at random for each sample. With *own*, each captioner has one manner, and which
has which rate is drawn anew for each seed; then a manner that others do not share looks like error.

Errors: *random*, each sample errs by itself and differently; *systematic*, a captioner errs on a picture or does not, and
says the same wrong thing in each of its samples; *shared*, systematic, and captioners that err on a picture in the
same respect say the same wrong thing.

The assessors are given the texts, their factual phrases and MiniLM's vectors; neither what was put in nor the picture.
Prints the rank correlation of systems' scores with their rates, and the AUROC over texts of telling those with an error
from those without, by kind of error too. Vectors are kept in the folder `--cache`.
"""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.measure import machine, table
from tasks.assessors._distances import Distance
from tasks.assessors.contract import Assessor, Drafts
from tasks.assessors.cross_check import CrossCheck, rank_systems
from tasks.assessors.self_check import SelfCheck
from tasks.encoders.minilm import MiniLM
from tasks.factual.read import factual

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
ERRORS = ("random", "systematic", "shared")
MIXES = ("any", "own")
CELLS = (
    ("any", "random"),
    ("any", "systematic"),
    ("any", "shared"),
    ("own", "random"),
    ("own", "systematic"),
)
KINDS = ("object", "colour", "count")
RETRIEVED = "retrieved"
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "grey", "brown", "orange", "pink", "purple")
COUNTS = {"A": 1, "An": 1, "The": 1, "Two": 2, "Three": 3, "Four": 4, "Some": 2}
NUMBERS = ("a", "two", "three", "four", "five", "six")
CAPTION = re.compile(rf"({'|'.join(COUNTS)}) ([A-Za-z' -]+)[.!]?")
TAIL = re.compile(r" (?=(?:of|with|in|on|and|for|from|to|used|wearing|sitting|standing) )")
SYNONYMS = {
    "car": "automobile", "truck": "lorry", "dog": "hound", "cat": "feline", "house": "home", "boat": "vessel",
    "ship": "vessel", "airplane": "aircraft", "plane": "aircraft", "bicycle": "bike", "rabbit": "bunny", "pig": "hog",
    "hat": "cap", "jacket": "coat", "shirt": "top", "cup": "mug", "flower": "bloom", "tree": "plant", "man": "guy",
    "woman": "lady", "boy": "lad", "girl": "lass", "baby": "infant", "candy": "sweet", "cake": "gateau", "lamp": "light",
    "sofa": "couch", "can": "bin", "flag": "banner", "stone": "rock", "cottage": "cabin", "frog": "toad",
    "chicken": "hen", "cow": "cattle", "horse": "steed", "bird": "fowl", "snake": "serpent", "donkey": "ass",
    "pen": "biro", "television": "TV", "phone": "handset", "telephone": "phone", "photograph": "photo",
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """A caption in parts: "Two red apples on a plate" is 2, (red,), apples, on a plate."""

    count: int
    details: tuple[str, ...]
    noun: str
    tail: str


@dataclass(frozen=True)
class Picture:
    """A picture's caption, and where it was filed, for errors to come from elsewhere."""

    said: Said
    caption: str
    category: str


@dataclass(frozen=True)
class Error:
    """What is said wrongly."""

    kind: str
    value: str


Manner = Callable[[Said, np.random.Generator], str]


def phrase(said: Said, count: str | None = None) -> str:
    """Return the parts as one phrase."""
    number = NUMBERS[said.count - 1] if count is None else count
    words = " ".join(part for part in (number, *said.details, said.noun, said.tail) if part)
    return re.sub(r"^a (?=[aeiou])", "an ", words)


def framed(said: Said, rng: np.random.Generator) -> str:
    """Put a frame before the phrase."""
    frame = ("A picture of {}.", "A drawing that shows {}.", "An image of {}.", "Clip art of {}.")
    return str(rng.choice(frame)).format(phrase(said))


def reordered(said: Said, rng: np.random.Generator) -> str:
    """Put details and tail elsewhere."""
    if said.tail and rng.random() < 0.7:
        return f"{said.tail.capitalize()}: {phrase(replace(said, tail=''))}."
    if said.details:
        return f"{phrase(replace(said, details=())).capitalize()}, {' and '.join(said.details)}."
    return f"{phrase(said).capitalize()}, it seems."


def reworded(said: Said, rng: np.random.Generator) -> str:
    """Put other words for some nouns."""
    plural = said.noun.endswith("s") and said.noun[:-1] in SYNONYMS
    singular = said.noun[:-1] if plural else said.noun
    noun = SYNONYMS.get(singular, singular) + "s" * plural if rng.random() < 0.7 else said.noun
    count = "one" if said.count == 1 and rng.random() < 0.5 else None
    return phrase(replace(said, noun=noun), count).capitalize() + "."


def shown(said: Said, rng: np.random.Generator) -> str:
    """Make it a sentence about the onlooker."""
    return str(rng.choice(("We can see {} here.", "This is {}.", "Here, {} can be seen."))).format(
        phrase(said)
    )


def terse(said: Said, rng: np.random.Generator) -> str:
    """Leave out what follows the noun."""
    return phrase(replace(said, tail="")).capitalize() + "."


MANNERS: dict[str, Manner] = {
    "plain": lambda said, rng: phrase(said).capitalize() + ".",
    "bare": lambda said, rng: phrase(said, "" if said.count == 1 else None),
    "framed": framed,
    "reordered": reordered,
    "reworded": reworded,
    "shown": shown,
    "terse": terse,
}


def pictures(manifest: Path) -> list[Picture]:
    """Return pictures of a manifest whose English caption is one plain phrase, each caption once."""
    found: dict[str, Picture] = {}
    for line in manifest.read_text().splitlines():
        row = json.loads(line)
        english = [text for text in row["texts"] if text["language"] == "en" and text["role"] == "caption"]
        caption = " ".join(english[0]["text"].split()) if english and "media" in row else ""
        match = CAPTION.fullmatch(caption)
        if match and len(caption.split()) <= 8 and "letter" not in caption:
            found.setdefault(caption, Picture(parsed(match[1], match[2]), caption, row["category"]))
    return list(found.values())


def parsed(number: str, rest: str) -> Said:
    """Take a caption apart."""
    head, *tail = TAIL.split(rest, maxsplit=1)
    *details, noun = head.split()
    return Said(COUNTS[number], tuple(details), noun, "".join(tail))


def shortened(said: Said, rng: np.random.Generator) -> Said:
    """Leave out each detail one time in five, and what follows the noun one time in four."""
    details = tuple(detail for detail in said.details if rng.random() >= 0.2)
    return replace(said, details=details, tail=said.tail if rng.random() >= 0.25 else "")


def error(picture: Picture, others: Sequence[Picture], rng: np.random.Generator) -> Error:
    """Draw an error: an object of another category, a colour or a count that the caption does not give."""
    kind = str(rng.choice(KINDS))
    if kind == "object":
        nouns = sorted({other.said.noun for other in others if other.category != picture.category})
        return Error(kind, str(rng.choice([noun for noun in nouns if noun != picture.said.noun])))
    if kind == "colour":
        return Error(
            kind, str(rng.choice([colour for colour in COLOURS if colour not in picture.said.details]))
        )
    return Error(kind, str(rng.choice([n for n in range(2, len(NUMBERS) + 1) if n != picture.said.count])))


def mistaken(said: Said, wrong: Error) -> Said:
    """Put an error in."""
    if wrong.kind == "object":
        return replace(said, noun=wrong.value)
    if wrong.kind == "colour":
        details = tuple(detail for detail in said.details if detail not in COLOURS)
        return replace(said, details=(wrong.value, *details))
    noun = said.noun if said.noun.endswith("s") else said.noun + "s"
    return replace(said, count=int(wrong.value), noun=noun)


@dataclass(frozen=True)
class Table:
    """All samples of all captioners.

    Args:
        drafts: The texts.
        kind: What is wrong with each: object, colour or count; "" where nothing was put in.
        rates: Rate of each captioner that is ranked.
    """

    drafts: Drafts
    kind: NDArray[np.str_]
    rates: dict[str, float]


def captioned(
    chosen: Sequence[Picture],
    everything: Sequence[Picture],
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
    *,
    errors: str,
    manners: str,
    samples: int,
    seed: int,
) -> Table:
    """Let all captioners speak of all pictures."""
    rng = np.random.default_rng((seed, ERRORS.index(errors), MIXES.index(manners)))
    rates = dict(zip(MANNERS, rng.permutation(RATES).tolist(), strict=True))
    said: dict[str, list[list[str]]] = {name: [] for name in (*MANNERS, RETRIEVED)}
    kinds: dict[str, list[list[str]]] = {name: [] for name in MANNERS}
    errs = {name: erring(rate, len(chosen), samples, errors, rng) for name, rate in rates.items()}
    for at, picture in enumerate(chosen):
        alike = {(one := error(picture, everything, rng)).kind: one for _ in range(12)}
        for name in MANNERS:
            same = error(picture, everything, rng)
            if errors == "shared":
                same = alike.get(same.kind, same)
            texts, wrongs = [], []
            for sample in range(samples):
                wrong = error(picture, everything, rng) if errors == "random" else same
                spoken = shortened(picture.said, rng)
                manner = MANNERS[name if manners == "own" else str(rng.choice(list(MANNERS)))]
                texts.append(manner(mistaken(spoken, wrong) if errs[name][at, sample] else spoken, rng))
                wrongs.append(wrong.kind if errs[name][at, sample] else "")
            said[name].append(texts)
            kinds[name].append(wrongs)
    said[RETRIEVED] = nearest(chosen, everything, encode, samples)
    return assembled(said, kinds, rates, encode)


def erring(rate: float, media: int, samples: int, errors: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which samples of which pictures a captioner gets wrong: (media, samples), exactly at its rate."""
    if errors == "random":
        return rng.permutation(media * samples).reshape(media, samples) < round(rate * media * samples)
    return np.repeat(rng.permutation(media)[:, None] < round(rate * media), samples, axis=1)


def nearest(
    chosen: Sequence[Picture],
    everything: Sequence[Picture],
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
    samples: int,
) -> list[list[str]]:
    """Return for each picture the captions nearest to its own, its own left out."""
    gallery = [picture.caption for picture in everything]
    similarity = encode([picture.caption for picture in chosen]) @ encode(gallery).T
    order = np.argsort(-similarity, axis=1, kind="stable")
    return [
        [gallery[at] for at in row if gallery[at] != picture.caption][:samples]
        for picture, row in zip(chosen, order, strict=True)
    ]


def assembled(
    said: dict[str, list[list[str]]],
    kinds: dict[str, list[list[str]]],
    rates: dict[str, float],
    encode: Callable[[Sequence[str]], NDArray[np.float32]],
) -> Table:
    """Lay the samples of the ranked captioners out as drafts, with those of all others as evidence."""
    rows = [
        (name, at, sample)
        for name in rates
        for at in range(len(said[name]))
        for sample in range(len(said[name][at]))
    ]
    texts = [said[name][at][sample] for name, at, sample in rows]
    blank = np.zeros(
        (max(len(one) for one in said.values()), 1), dtype=np.float32
    )  # nobody looks at pictures
    own = np.array([at for _, at, _ in rows], dtype=np.int64)
    drafts = Drafts(
        texts=texts,
        phrases=[[phrase.text for phrase in factual(text).phrases] or [text] for text in texts],
        media_vec=blank[own],
        gallery_vec=blank,
        own=own,
        encode=encode,
        negatives=[()] * len(rows),
        evidence=[[said[other][at] for other in said if other != name] for name, at, _ in rows],
        generator=[name for name, _, _ in rows],
        raw=[()] * len(rows),
        language=["en"] * len(rows),
    )
    return Table(drafts, np.array([kinds[name][at][sample] for name, at, sample in rows]), rates)


class Vectors:
    """MiniLM with a memory on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "minilm.npz"
        self._known: dict[str, NDArray[np.float32]] = {}
        if self._file.is_file():
            with np.load(self._file) as kept:
                self._known = dict(zip(json.loads(str(kept["texts"])), kept["vectors"], strict=True))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, encoding those that are new."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(new, MiniLM()(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def keep(self) -> None:
        """Write what is known."""
        np.savez(
            self._file, texts=json.dumps(list(self._known)), vectors=np.stack(list(self._known.values()))
        )


CHOICES: dict[str, tuple[Distance, ...]] = {
    "embedding": ("embedding",),
    "surprisal": ("surprisal",),
    "nouns": ("nouns",),
    "embedding, surprisal": ("embedding", "surprisal"),
    "all three": ("embedding", "surprisal", "nouns"),
}


def measured(one: Table, assessor: Assessor) -> dict[str, float]:
    """Return Spearman with the rates, AUROC over texts, by kind, and the scores of systems by rate."""
    assessed = assessor(one.drafts)
    assert assessed.per_phrase is not None
    systems = rank_systems(assessed.per_phrase, one.drafts.generator)
    names = list(one.rates)
    judged = np.isfinite(assessed.score)
    wrong, doubt = one.kind[judged] != "", 1 - assessed.score[judged]
    found = {
        "spearman": float(
            spearmanr([systems[name] for name in names], [one.rates[name] for name in names])[0]
        ),
        "auroc": float(roc_auc_score(wrong, doubt)),
    }
    for kind in KINDS:
        some = ~wrong | (one.kind[judged] == kind)
        found[kind] = float(roc_auc_score(wrong[some], doubt[some]))
    return found | {f"S at {one.rates[name]}": systems[name] for name in names}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, help="What `xmodal corpora get stamps` prints."
    )
    parser.add_argument("--cache", type=Path, required=True, help="Folder for the vectors of texts.")
    parser.add_argument("--media", type=int, default=150, help="Pictures drawn for each seed.")
    parser.add_argument("--samples", type=int, default=4, help="Samples of a captioner for each picture.")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    everything, encode = pictures(args.manifest), Vectors(args.cache)
    found: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for manners, errors in CELLS:
        for seed in range(args.seeds):
            drawn = np.random.default_rng(seed).permutation(len(everything))[: args.media]
            one = captioned(
                [everything[at] for at in drawn],
                everything,
                encode,
                errors=errors,
                manners=manners,
                samples=args.samples,
                seed=seed,
            )
            for method in (CrossCheck, SelfCheck):
                for name, distances in CHOICES.items():
                    runs = found.setdefault((manners, errors, method.name, name), [])
                    runs.append(measured(one, method(distances=distances)))
            encode.keep()
    print(machine() + "\n")
    print(
        f"{len(everything)} captions, {args.media} drawn a seed, {args.seeds} seeds, {args.samples} samples\n"
    )
    head = [
        "manners",
        "errors",
        "method",
        "distances",
        "Spearman with true rates",
        "least",
        "AUROC of texts",
        *KINDS,
    ]
    rows = [[*key, *_cells(runs, ("spearman", "least", "auroc", *KINDS))] for key, runs in found.items()]
    print(table(head, rows) + "\n")
    at = [f"S at {rate}" for rate in RATES]
    of = [key for key in found if key[3] == "embedding, surprisal"]
    print(table(["manners", "errors", "method", *at], [[*key[:3], *_cells(found[key], at)] for key in of]))


def _cells(runs: Sequence[dict[str, float]], names: Sequence[str]) -> list[object]:
    cells: list[object] = []
    for name in names:
        values = np.array([run["spearman" if name == "least" else name] for run in runs])
        spread = values.std(ddof=min(1, len(values) - 1))
        cells.append(f"{values.min():.2f}" if name == "least" else f"{values.mean():.3f} ± {spread:.3f}")
    return cells


if __name__ == "__main__":
    main()
