"""One cell of the correspondence bench: plant noise in a corpus, find it, mend it, and train on what is left."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.dividers import DIVIDERS
from tasks.dividers.contract import Division
from tasks.heads.linear import Linear
from tasks.injectors import INJECTORS
from tasks.losses.info_nce import InfoNCE
from tasks.metrics import detection, division_quality, retrieval
from tasks.noise import NOISE_SCORERS
from tasks.noise.consensus import Consensus
from tasks.remedies import teacher
from tasks.training.fit import Schedule, Towers, fit

NOISY_BELOW = 0.2
ARMS = ("none", "oracle", "random-drop", "cosine-drop", "align-rules", "drop", "weight", "soft")
REMEDY = "soft"


@dataclass(frozen=True)
class Training:
    """The head every arm trains, and nothing an arm may change but its rows, weights and targets.

    Args:
        width: K of the linear heads.
        dropout: On the input.
        temperature: Of InfoNCE.
        schedule: Epochs, batch, rates.
    """

    width: int = 128
    dropout: float = 0.3
    temperature: float = 0.07
    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=40, batch_size=128, learning_rate=1e-3, weight_decay=1e-2)
    )


@dataclass(frozen=True)
class Cell:
    """One corpus with one noise and one seed.

    Args:
        corpus: Its name.
        path: File of its pairs, as `save_pairs` writes it.
        protocol: Injector.
        rate: Share of units made wrong.
        seed: Of the noise and of every training.
        scorers: Scorers measured alone; without them only the consensus.
        arms: What is trained.
        training: How.
    """

    corpus: str
    path: str
    protocol: str
    rate: float
    seed: int
    scorers: tuple[MethodRef, ...] = ()
    consensus: MethodRef = MethodRef(name="consensus")
    arms: tuple[str, ...] = ARMS
    training: Training = Training()


@dataclass(frozen=True)
class Found:
    """What a cell measured.

    Args:
        cell: The cell.
        values: (subject, metric, value): scorers by name, "consensus", arms as "arm: <name>".
        per_query: {arm: recall at 10 of each test query, media first}.
        histogram: Scores of the consensus, P(true) and truth, for a figure.
    """

    cell: Cell
    values: list[tuple[str, str, float]]
    per_query: dict[str, NDArray[np.float64]]
    histogram: dict[str, NDArray[Any]]


def save_pairs(path: Path, train: PairBatch, test: PairBatch) -> None:
    """Write both parts of a corpus to one file that `run_cell` reads."""
    arrays: dict[str, Any] = {}
    for part, pairs in (("train", train), ("test", test)):
        for name in ("media_vec", "text_vec", "group", "label", "media_key", "text_key"):
            if (column := getattr(pairs, name)) is not None:
                arrays[f"{part}.{name}"] = column
        if pairs.texts is not None:
            arrays[f"{part}.texts"] = np.array(pairs.texts, dtype=np.str_)
    np.savez(path, **arrays)


def load_pairs(path: str, part: str) -> PairBatch:
    """Read one part of a corpus: "train" or "test"."""
    with np.load(path, allow_pickle=False) as stored:
        columns = {
            name.split(".", 1)[1]: stored[name] for name in stored.files if name.startswith(f"{part}.")
        }
    texts = columns.pop("texts", None)
    return PairBatch(**columns, texts=None if texts is None else texts.tolist(), common=False)


def run_cell(cell: Cell) -> Found:
    """Measure a cell. Truth is read by metrics and by the arm "oracle", by nothing else."""
    train, test = load_pairs(cell.path, "train"), load_pairs(cell.path, "test")
    injection = build(INJECTORS, MethodRef(name=cell.protocol))(train, rate=cell.rate, seed=cell.seed)
    pairs, true = injection.pairs, injection.true
    values: list[tuple[str, str, float]] = []

    def note(subject: str, **found: float | None) -> None:
        values.extend((subject, name, float(value)) for name, value in found.items() if value is not None)

    plain = _fitted(cell, pairs)
    in_sample = np.einsum("nk,nk->n", plain.media(pairs.media_vec), plain.text(pairs.text_vec))
    _note_scores(note, "in-sample cosine", in_sample, true)
    for ref in cell.scorers:
        try:
            scores = build(NOISE_SCORERS, ref)(pairs)
        except DataError:
            continue  # a scorer that needs what this corpus lacks
        _note_scores(note, ref.name, scores, true)
        if scores.std() > 0:
            _note_division(
                note, ref.name, build(DIVIDERS, MethodRef(name="gaussian-mixture"))(scores), true, cell.rate
            )

    scorer = build(NOISE_SCORERS, cell.consensus)
    if not isinstance(scorer, Consensus):
        raise DataError(f"{cell.consensus.name} is no consensus; name one, with its members as parameters")
    study = scorer.study(pairs)
    division = scorer.divide(study, pairs)
    _note_scores(note, "consensus", study.scores, true)
    _note_division(note, "consensus", division, true, cell.rate)
    for member, weight in study.weights.items():
        note(f"consensus: {member}", weight=weight)

    kept = division.clean > NOISY_BELOW if division.separable else np.ones(len(pairs), dtype=bool)
    per_query = {}
    for arm in cell.arms:
        towers = plain if arm == "none" else _trained(arm, cell, pairs, true, division, kept, in_sample)
        found = retrieval(towers.media(test.media_vec), towers.text(test.text_vec), test)
        note(f"arm: {arm}", rsum=found.rsum, **found.summary())
        per_query[arm] = found.per_query(10)
        note(f"arm: {arm}", r10=100 * float(per_query[arm].mean()), r1=100 * float(found.per_query(1).mean()),
             r5=100 * float(found.per_query(5).mean()))  # fmt: skip
    histogram = {
        "scores": study.scores, "mismatched": study.mismatched, "clean": division.clean, "true": true,
        "noise_rate": np.array(np.nan if division.noise_rate is None else division.noise_rate),
    }  # fmt: skip
    return Found(cell, values, per_query, histogram)


def _fitted(cell: Cell, pairs: PairBatch, **how: Any) -> Towers:
    recipe = cell.training
    head = Linear(width=recipe.width, dropout=recipe.dropout)
    loss = InfoNCE(temperature=recipe.temperature, rest="similar")
    return fit(pairs, head=head, loss=loss, schedule=recipe.schedule, seed=cell.seed, **how)


def _trained(
    arm: str,
    cell: Cell,
    pairs: PairBatch,
    true: NDArray[np.bool_],
    division: Division,
    kept: NDArray[np.bool_],
    in_sample: NDArray[np.float32],
) -> Towers:
    """Return the towers of one arm."""
    count = int(kept.sum())
    if arm == "soft":
        return _fitted(cell, pairs, label=division.clean, teacher=teacher(pairs, division.clean))
    if arm == "weight":
        return _fitted(cell, pairs, weight=np.maximum(division.clean, 1e-3))
    choices: dict[str, Callable[[], NDArray[np.int64]]] = {
        "oracle": lambda: np.flatnonzero(true),
        "drop": lambda: np.flatnonzero(kept),
        "random-drop": lambda: np.sort(np.random.default_rng(cell.seed).permutation(len(pairs))[:count]),
        "cosine-drop": lambda: np.sort(np.argsort(-in_sample, kind="stable")[:count]),
        "align-rules": lambda: np.flatnonzero(build(NOISE_SCORERS, MethodRef(name="frequency"))(pairs) >= 1),
    }
    return _fitted(cell, pairs, rows=choices[arm]())


def _note_scores(
    note: Callable[..., None], subject: str, scores: NDArray[np.floating[Any]], true: NDArray[np.bool_]
) -> None:
    found = detection(scores, true)
    note(subject, auroc=found.auroc, ap=found.average_precision)


def _note_division(
    note: Callable[..., None], subject: str, division: Division, true: NDArray[np.bool_], rate: float
) -> None:
    quality = division_quality(division.clean, true)
    wrong = float((~true).mean())
    note(
        subject,
        kept_precision=quality.kept_precision,
        kept_recall=quality.kept_recall,
        found_precision=quality.found_precision,
        found_recall=quality.found_recall,
        ece=quality.ece,
        brier=quality.brier,
        separable=float(division.separable),
        noise_rate=division.noise_rate,
        noise_rate_error=None if division.noise_rate is None else abs(division.noise_rate - wrong),
        covered=None
        if division.low is None or division.high is None
        else float(division.low <= wrong <= division.high),
    )
