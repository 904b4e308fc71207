"""What queries of a new encoder find among an old one's vectors, and what is found half way: `python -m benchmarks.upgrade`.

    python -m benchmarks.upgrade --lake DIR [--corpora stamps clipart] [--seeds 5]

Corpora are taken in as `xmodal bench correspondence` does it, each in a lake of its own below DIR, and encoded by
EfficientNet-Lite0 and MiniLM. A fifth of the training groups is kept from both encoders: the "support", of which
bridges may see media and on which the share of a slerp is chosen. The old encoder is a linear head a side, 64 wide,
trained on a third of the other groups; the new one is 128 wide and trained on all of them. A seed draws support,
third and first weights; the test queries are the same for all, so that arms are compared query by query
(`tasks.metrics.compare_all`; a star: larger than seed noise, after Holm).
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine, table
from schemas.batch import PairBatch
from storage import bridges
from storage import lake as lakes
from tasks import bench
from tasks.bridges import BRIDGES, Crossing, Rows, best_share, slerp
from tasks.heads.linear import Linear
from tasks.losses.info_nce import InfoNCE
from tasks.metrics import Comparison, compare_all, recall_at, retrieval
from tasks.shards.correspondence import load_pairs
from tasks.training.fit import Schedule, Towers, fit

Vectors = NDArray[np.float32]
Ranks = dict[str, dict[str, NDArray[np.int64]]]  # direction -> arm -> (Q,) rank of the best relevant item

WAYS = ("text to media", "media to text")
OLD, NEW, NONE = "old query, old vectors", "new query, new vectors", "no bridge: new query, cut to 64"
ALONE = {
    "procrustes": ("procrustes", {}),
    "ridge, no noise": ("ridge", {"noise": 0.0}),
    "ridge, noise 0.05": ("ridge", {"noise": 0.05}),
    "mlp, no noise": ("mlp", {"noise": 0.0}),
    "mlp, noise 0.05": ("mlp", {"noise": 0.05}),
}
SHARES = (0.25, 0.5, 0.75)
SCHEDULE = Schedule(epochs=20, batch_size=256, learning_rate=1e-3)
TEST = {"stamps": 250}  # test media by corpus
MOST_TESTED = 1000
SUPPORT = 5  # one training group in this many
FEW = (50, 200)


@dataclass(frozen=True)
class Case:
    """Vectors of one seed by both encoders.

    Args:
        test: The test pairs, for their keys and groups.
        old: (media, text) of them by the old encoder.
        new: The same by the new one.
        said: Texts of all training pairs, by both.
        shown: Media of support pairs, by both.
        support: (old media, old text, new media, new text) of support pairs.
    """

    test: PairBatch
    old: tuple[Vectors, Vectors]
    new: tuple[Vectors, Vectors]
    said: Rows
    shown: Rows
    support: tuple[Vectors, Vectors, Vectors, Vectors]


def main() -> None:
    """Measure and print two tables a corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lake", help="Where the corpora are, or will be, taken in.")
    parser.add_argument("--corpora", nargs="+", choices=sorted(bench.CORPORA), default=["stamps", "clipart"])
    parser.add_argument(
        "--pairs", nargs="*", type=Path, default=[], help="Files of pairs already written, instead of a lake."
    )
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    if not args.pairs and not args.lake:
        parser.error("give --lake or --pairs")
    print(machine() + "\n")
    with tempfile.TemporaryDirectory() as folder:
        files = args.pairs or [written(args.lake, name, Path(folder)) for name in args.corpora]
        for file in files:
            train, test = load_pairs(str(file), "train"), load_pairs(str(file), "test")
            cases = [case(train, test, seed) for seed in range(args.seeds)]
            print(
                f"## {file.stem}: {len(train)} training pairs, {len(test)} test pairs, {args.seeds} seeds\n"
            )
            print(crossings_table([crossings(one, seed) for seed, one in enumerate(cases)]) + "\n")
            print(mixes_table([mixes(one, seed) for seed, one in enumerate(cases)]) + "\n", flush=True)


def written(lake: str, corpus: str, folder: Path) -> Path:
    """Take a corpus in, unless it is, and write its pairs."""
    from flows.curate import curate

    chosen, place = bench.CORPORA[corpus], f"{lake.rstrip('/')}/{bench.CORPORA[corpus].source}"
    for encoder in bench.FEATURES.values():
        curate(chosen.recipe(encoder), lake=place)
    path = folder / f"{corpus}.npz"
    plan = bench.Plan(media=1_000_000, test=TEST.get(corpus, MOST_TESTED))
    bench.write_corpus(lakes.open(place), chosen, plan, path)
    return path


def case(train: PairBatch, test: PairBatch, seed: int) -> Case:
    """Train both encoders and encode."""
    rng = np.random.default_rng(seed)
    group = train.group if train.group is not None else np.arange(len(train))
    order = rng.permutation(np.unique(group))
    support, rest = np.split(order, [len(order) // SUPPORT])
    third = rest[: len(rest) // 3]
    old, new = (
        fit(
            train,
            head=Linear(width=width, dropout=0.3),
            loss=InfoNCE(temperature=0.07),
            schedule=SCHEDULE,
            seed=2 * seed + place,
            rows=np.flatnonzero(np.isin(group, groups)),
        )
        for place, (width, groups) in enumerate(((64, third), (128, rest)))
    )
    apart = train.take(_once(train, np.isin(group, support)))
    return Case(
        test,
        (old.media(test.media_vec), old.text(test.text_vec)),
        (new.media(test.media_vec), new.text(test.text_vec)),
        Rows(new.text(train.text_vec), old.text(train.text_vec)),
        Rows(new.media(apart.media_vec), old.media(apart.media_vec)),
        (*_both(old, apart), *_both(new, apart)),
    )


def crossings(one: Case, seed: int) -> Ranks:
    """Return the ranks of every way to ask old vectors."""
    arms: dict[str, tuple[Vectors, Vectors]] = {}  # arm -> (text queries, media queries)
    media, text = one.new
    arms[NONE] = (_unit(text[:, :64]), _unit(media[:, :64]))
    for arm, (name, params) in ALONE.items():
        over = _fit(name, params, one.said, seed)
        arms[f"{arm}, texts alone"] = (over(text), over(media))
    for few in FEW:
        if few <= len(one.shown):
            over = _fit("procrustes", {}, one.said.joined(_first(one.shown, few), weight=1), seed)
            arms[f"procrustes, and {few} media"] = (over(text), over(media))
    over = _fit("procrustes", {}, one.said, seed)
    shares = _shares(one, over)
    arms["procrustes, texts alone, slerp with the old query"] = (
        slerp(one.old[1], over(text), shares[0]),
        slerp(one.old[0], over(media), shares[1]),
    )
    found: Ranks = {way: {} for way in WAYS}
    whole = {OLD: retrieval(*one.old, one.test), NEW: retrieval(*one.new, one.test)}
    for arm, both in whole.items():
        for way, side in zip(WAYS, (both.text_to_media, both.media_to_text), strict=True):
            found[way][arm] = side.best
    for arm, (of_text, of_media) in arms.items():
        found[WAYS[0]][arm] = retrieval(one.old[0], of_text, one.test).text_to_media.best
        found[WAYS[1]][arm] = retrieval(of_media, one.old[1], one.test).media_to_text.best
    return found


def mixes(one: Case, seed: int) -> dict[float, dict[str, NDArray[np.int64]]]:
    """Return {share with new vectors: {arm: ranks}} of texts that look for media."""
    shown = _first(one.shown, max(FEW))
    over = _fit("procrustes", {}, one.said.joined(shown, weight=1), seed)
    (old_media, _), (new_media, new_text) = one.old, one.new
    crossed = over(new_text)
    back = crossed @ shown.old.T, new_text @ shown.new.T
    slope, shift = bridges.scale(*back)
    n = len(new_text)
    # One scale for all queries: what texts are to media of other pairs in the background.
    flat = bridges.scale(*(np.broadcast_to(side.reshape(1, -1), (n, side.size)) for side in back))
    keys = one.test.media_key if one.test.media_key is not None else np.arange(n)
    number = np.unique(keys, return_inverse=True)[1]
    order = np.random.default_rng(1000 + seed).permutation(number.max() + 1)
    found: dict[float, dict[str, NDArray[np.int64]]] = {}
    for share in SHARES:
        covered = np.isin(number, order[: round(share * len(order))])
        ones, zeros = np.ones(n), np.zeros(n)
        found[share] = {
            "old vectors for all, until the end": _over(one, old_media, crossed),
            "new vectors led over the bridge too": _over(
                one, np.where(covered[:, None], over(new_media), old_media), crossed
            ),
            "both spaces, cosines as they are": _spaces(one, covered, crossed, ones, zeros),
            "both, one scale for all queries": _spaces(one, covered, crossed, *flat),
            "both, a scale for each query": _spaces(one, covered, crossed, slope, shift),
        }
    return found


def _over(one: Case, media: Vectors, text: Vectors) -> NDArray[np.int64]:
    return retrieval(media, text, one.test).text_to_media.best


def _spaces(
    one: Case,
    covered: NDArray[np.bool_],
    crossed: Vectors,
    slope: NDArray[np.floating],
    shift: NDArray[np.floating],
) -> NDArray[np.int64]:
    """Return ranks where covered media have new vectors: both scores as one dot product."""
    (old_media, _), (new_media, new_text) = one.old, one.new
    query = np.concatenate([new_text, slope[:, None] * crossed, shift[:, None]], axis=1)
    there = covered[:, None]
    media = np.concatenate([np.where(there, new_media, 0), np.where(there, 0, old_media), ~there], axis=1)
    return _over(one, media.astype(np.float32), query.astype(np.float32))


def crossings_table(found: list[Ranks]) -> str:
    """Return recalls of every arm, and what a bridge is worth against none and against the old encoder."""
    rows = []
    verdicts = {
        way: {
            base: compare_all(
                _recalls(found, way, base),
                {arm: _recalls(found, way, arm) for arm in found[0][way] if arm not in (OLD, NEW, NONE)},
            )
            for base in (NONE, OLD)
        }
        for way in WAYS
    }
    for arm in [OLD, *[arm for arm in found[0][WAYS[0]] if arm not in (OLD, NEW)], NEW]:
        cells: list[object] = [arm]
        for way in WAYS:
            cells += [_cell([recall_at(one[way][arm], k) for one in found]) for k in (1, 10)]
            for base in (NONE, OLD):
                said = verdicts[way][base].get(arm)
                cells.append("" if said is None else _difference(said))
        rows.append(cells)
    columns = ["arm"]
    for way in WAYS:
        columns += [f"{way} R@1", "R@10", "R@10 less none", "less old"]
    return table(columns, rows)


def mixes_table(found: list[dict[float, dict[str, NDArray[np.int64]]]]) -> str:
    """Return recalls of every way to mix, and the difference to old vectors for all."""
    rows, arms = [], list(found[0][SHARES[0]])
    verdicts = {}
    for share in SHARES:
        values = {arm: np.stack([recall_at(one[share][arm], 10) for one in found]) for arm in arms}
        verdicts[share] = compare_all(values[arms[0]], {arm: values[arm] for arm in arms[1:]})
    for arm in arms:
        cells: list[object] = [arm]
        for share in SHARES:
            cells += [_cell([recall_at(one[share][arm], k) for one in found]) for k in (1, 10)]
            said = verdicts[share].get(arm)
            cells.append("" if said is None else _difference(said))
        rows.append(cells)
    columns = ["text to media"]
    for share in SHARES:
        columns += [f"R@1 at {share:.0%}", f"R@10 at {share:.0%}", "less the first"]
    return table(columns, rows)


def _recalls(found: list[Ranks], way: str, arm: str) -> NDArray[np.float64]:
    return np.stack([recall_at(one[way][arm], 10) for one in found])


def _cell(values: list[NDArray[np.float64]]) -> str:
    by_seed = np.array([100 * one.mean() for one in values])
    return f"{by_seed.mean():.1f} ± {by_seed.std(ddof=1):.1f}"


def _difference(said: Comparison) -> str:
    difference, verdict = 100 * said.difference, said.verdict
    return f"{difference:+.1f}" + ("" if verdict.startswith("no") else " *")


def _fit(name: str, params: Mapping[str, object], rows: Rows, seed: int) -> Crossing:
    return BRIDGES[name](**params).fit(rows, seed=seed)


def _first(rows: Rows, count: int) -> Rows:
    return Rows(rows.new[:count], rows.old[:count])


def _shares(one: Case, over: Crossing) -> tuple[float, float]:
    """Return the shares of the aligned query, chosen on the support, for text and for media queries."""
    old_media, old_text, new_media, new_text = one.support
    own = np.arange(len(old_media))
    return (
        best_share(old_text, over(new_text), old_media, own),
        best_share(old_media, over(new_media), old_text, own),
    )


def _both(towers: Towers, pairs: PairBatch) -> tuple[Vectors, Vectors]:
    return towers.media(pairs.media_vec), towers.text(pairs.text_vec)


def _once(pairs: PairBatch, where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return rows of the chosen pairs, each medium once."""
    rows = np.flatnonzero(where)
    if pairs.media_key is None:
        return rows
    return rows[np.sort(np.unique(pairs.media_key[rows], return_index=True)[1])]


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
