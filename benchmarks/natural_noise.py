"""How well the consensus finds natural noise: `python -m benchmarks.natural_noise --lake DIR`.

Takes in the clip-art corpus (Debian's openclipart), encodes both sides with encoders that never saw the other, studies all
(picture, title) pairs together, and sets the probabilities beside the 400 audited pairs of `audit_clipart.jsonl`, which
no training reads. Pairs of one title share a group. Prints precision at 100 and average precision of finding the wrong ones,
beside the count of media under a title alone, which the audit's own rules use.
"""

import argparse
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.audit_clipart import read
from benchmarks.measure import machine, table
from schemas.batch import PairBatch
from schemas.recipes import CurationRecipe, MethodRef, SourceRef
from storage import lake as lakes
from storage.lake import Lake
from tasks.bench import FEATURES, TABLES
from tasks.noise.consensus import Consensus
from tasks.score import matrix

MEMBERS = ("out-of-fold", "geometry", "frequency")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lake", required=True, help="Where the corpus is, or will be, taken in.")
    args = parser.parse_args()
    from flows.curate import curate

    for encoder in FEATURES.values():
        recipe = CurationRecipe(
            name="natural noise",
            sources=(SourceRef(name="clipart", kind="corpus", location="clipart"),),
            near_duplicates=None,
            encoder=encoder,
        )
        curate(recipe, lake=args.lake)
    pairs, places = titled(lakes.open(args.lake))
    print(machine() + "\n")
    print(measured(pairs, places))


def titled(lake: Lake) -> tuple[PairBatch, list[list[str]]]:
    """Return every (picture, title) pair of a lake, and where each picture was found."""
    media = {
        row["media_id"]: row["locators"]
        for row in lake.read("media", columns=["media_id", "locators"]).to_pylist()
    }
    texts = {
        row["text_id"]: row["text"] for row in lake.read("texts", columns=["text_id", "text"]).to_pylist()
    }
    vectors = {}
    for side, name in TABLES.items():
        read_ = lake.read(name, columns=["item_id", "vector"])
        vectors[side] = dict(zip(read_["item_id"].to_pylist(), matrix(read_["vector"]), strict=True))
    rows = [
        (row["media_id"], row["text_id"])
        for row in lake.read("pairs", where="role = 'title' AND present").sort_by("pair_id").to_pylist()
        if row["media_id"] in vectors["media"] and row["text_id"] in vectors["text"]
    ]
    said = [texts[text] for _, text in rows]
    number = np.unique(np.array([text.casefold().strip() for text in said]), return_inverse=True)[1].astype(
        np.int64
    )
    pairs = PairBatch(
        np.stack([vectors["media"][medium] for medium, _ in rows]),
        np.stack([vectors["text"][text] for _, text in rows]),
        group=number,
        media_key=np.unique(np.array([medium for medium, _ in rows]), return_inverse=True)[1].astype(
            np.int64
        ),
        text_key=number,
        texts=said,
        common=False,
    )
    return pairs, [media[medium] for medium, _ in rows]


def measured(pairs: PairBatch, places: Sequence[Sequence[str]]) -> str:
    """Study the pairs and return the table."""
    at, wrong, rule = _audited(pairs, places)
    columns: dict[str, NDArray[np.floating]] = {}
    for members in (("out-of-fold", "geometry"), MEMBERS):
        consensus = Consensus(members=tuple(_member(name) for name in members))
        study = consensus.study(pairs)
        division = consensus.divide(study, pairs)
        name = f"consensus of {' and '.join(members)}" if len(members) == 2 else "consensus with frequency"
        columns[name] = study.scores
        for member, scores in study.members.items():
            columns.setdefault(member.split("(")[0], scores)
        print(
            f"{name}: weights {study.weights}, noise {division.noise_rate}, separable {division.separable}: {division.why}"
        )
    counts = Counter((pairs.text_key if pairs.text_key is not None else np.arange(len(pairs))).tolist())
    keys = pairs.text_key if pairs.text_key is not None else np.arange(len(pairs))
    columns["media under the title (the audit's own rule)"] = -np.array([counts[int(k)] for k in keys], float)
    rows = []
    copied = np.array([one in ("", "copied") for one in rule]) | ~wrong
    for name, scores in columns.items():
        low = -scores[at]
        order = np.argsort(-low, kind="stable")
        rows.append([
            name, f"{wrong[order[:100]].mean():.2f}", f"{average_precision_score(wrong, low):.3f}",
            f"{roc_auc_score(wrong, low):.3f}", f"{roc_auc_score(wrong[copied], low[copied]):.3f}",
        ])  # fmt: skip
    head = ["score", "precision at 100", "average precision", "AUROC", "AUROC on copied titles"]
    return f"{len(pairs)} pairs, {len(at)} audited, {int(wrong.sum())} of them wrong\n\n" + table(head, rows)


def _member(name: str) -> MethodRef:
    return MethodRef(name=name, params={"ridge": 10.0} if name == "out-of-fold" else {})


def _audited(
    pairs: PairBatch, places: Sequence[Sequence[str]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[str]]:
    """Return the rows that were audited, whether each is wrong, and by which rule."""
    texts = pairs.texts or []
    rows = {
        (place.split("/", 1)[-1], text.strip()): number
        for number, (found, text) in enumerate(zip(places, texts, strict=True))
        for place in found
    }
    at, wrong, rule = [], [], []
    for entry in read():
        number = rows.get((entry.media, entry.title.strip()))
        if number is not None:
            at.append(number)
            wrong.append(entry.label == "wrong")
            rule.append(entry.rule)
    return np.array(at, dtype=np.int64), np.array(wrong), rule


if __name__ == "__main__":
    main()
