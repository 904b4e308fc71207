"""Several scorers as one: weighed by how well each tells planted mismatches, calibrated by the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from schemas.batch import PairBatch, chunks, empty_on_disk
from schemas.errors import DataError
from schemas.recipes import MethodRef
from schemas.source import Source
from schemas.tables import CONSENSUS
from tasks.catalog import build
from tasks.noise._groups import counted
from tasks.noise._vectors import require_finite

if TYPE_CHECKING:
    from tasks.dividers.contract import Divider, Division
    from tasks.noise.contract import NoiseScorer

FEWEST = 40  # pairs below which nothing can be planted and told apart
_CHUNK = 65_536  # rows at once
_PENALTY = 1.0  # on the squared weights, in rows


@dataclass(frozen=True)
class Study:
    """What a consensus found, before it is divided.

    Args:
        scores: (N,) share of the pairs that rank below, float32, in [0, 1].
        mismatched: (M,) the same for planted mismatches; empty where none could be planted.
        members: {scorer: its own (N,) scores}.
        weights: {scorer: its weight in the sum}; 0 where it tells nothing the others do not.
    """

    scores: NDArray[np.float32]
    mismatched: NDArray[np.float32]
    members: dict[str, NDArray[np.float32]]
    weights: dict[str, float]

    def divided_by(self, divider: "Divider", verdict: NDArray[np.int8] | None) -> "tuple[Division, Divided]":
        """Return the pairs divided, and by which scores.

        A divider that reads the shape of scores finds none in ranks: it gets the members' own scores, by weight.
        """
        if divider.reads_shape and len(self.mismatched):
            weight = sum(self.weights.values())
            shaped = sum(self.weights[name] / weight * own for name, own in self.members.items())
            by = Divided(
                next(iter(self.members)) if len(self.members) == 1 else "", np.asarray(shaped, np.float32)
            )
            return divider(by.scores, verdict=verdict), by
        division = divider(self.scores, mismatched=self.mismatched, verdict=verdict)
        return division, Divided("", self.scores)


@dataclass(frozen=True)
class Divided:
    """What was divided.

    Args:
        of: The scorer whose own scores these are; "" for a sum of several, or ranks.
        scores: (N,) float32, in [0, 1].
    """

    of: str
    scores: NDArray[np.float32]


@dataclass
class _Batch:
    """The pairs, or the pairs with mismatches planted among them; `planted` says where."""

    pairs: PairBatch
    planted: NDArray[np.bool_]
    members: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))  # (N, members)
    combined: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # (N,)

    def place(self) -> NDArray[np.float64]:
        """Return the share of the untouched pairs that each pair's combined score exceeds. (N,)."""
        return _share_below(self.combined, self.combined[~self.planted])

    def place_of_planted(self) -> NDArray[np.float64]:
        """Return the same of the planted pairs. (M,)."""
        return _share_below(self.combined[self.planted], self.combined[~self.planted])


@dataclass(frozen=True)
class Consensus:
    """P(true) by several scorers together, learned from mismatches that are known because they were planted.

    A share of the pairs exchange texts, and every scorer scores these corpora too. What tells the planted
    pairs from the untouched ones also tells the corpus's own wrong pairs from its right ones: among the
    untouched pairs, P(planted-like) rises only with P(wrong). So a logistic regression of planted against
    untouched, with weights that are not negative, says how much each scorer counts, and the divider turns
    the sum into P(true). In each further round pairs count by that probability where scorers learn from
    the others. Truth is never used; verdicts of people, where given, go to the divider.

    Below 40 pairs every pair gets 0.5.

    Of more than `among` pairs, each corpus with planted mismatches is a sample: a weight a scorer and the scores of
    mismatches are learned from them, which tens of thousands tell as well as millions do, and scoring them again is
    most of the work.

    Args:
        members: The scorers.
        divider: Turns the weighed sum into P(true).
        rounds: 1 weighs all pairs alike; more let doubtful ones count less.
        planted: Share of pairs that exchange texts.
        repeats: Corpora with planted mismatches.
        among: Pairs of such a corpus, at most; each draws its own.
        seed: Of what is planted.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = CONSENSUS
    source: ClassVar[Source] = Source(
        title="Learning Classifiers from Only Positive and Unlabeled Data",
        authors="Elkan and Noto",
        year=2008,
        url="https://doi.org/10.1145/1401890.1401920",
        departs="known negatives (planted mismatches) against unlabelled pairs, over scores of several methods; "
        "agreement of several judges as in RDE (Qin et al., 2024) and CREAM (Ma et al., 2024)",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    members: tuple[MethodRef, ...] = (
        MethodRef(name="out-of-fold", params={"ridge": 10.0}),
        MethodRef(name="geometry"),
    )
    divider: MethodRef = MethodRef(name="self-injected")
    rounds: int = 2
    planted: float = 0.2
    repeats: int = 2
    among: int = 131_072
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members must name at least one scorer")
        names = [_label(member) for member in self.members]
        if len(set(names)) < len(names) or any(member.name == self.name for member in self.members):
            raise ValueError(
                f"members must be distinct scorers other than consensus, found {', '.join(names)}"
            )
        if not 1 <= self.rounds <= 4 or not 1 <= self.repeats <= 20 or not 0.02 <= self.planted <= 0.5:
            raise ValueError(f"rounds must be 1 to 4, repeats 1 to 20, planted 0.02 to 0.5: {self}")
        if self.among < FEWEST:
            raise ValueError(f"among must be at least {FEWEST}, found {self.among}")

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return P(true) per pair. Shape (N,), float32, in [0, 1].

        Raises:
            DataError: A vector is not finite, or a member lacks what it needs or leaves [0, 1].
        """
        study = self.study(pairs)
        return self.divide(study, pairs).clean if len(study.mismatched) else study.scores

    def divide(self, study: Study, pairs: PairBatch) -> "Division":
        """Return the study divided by this consensus's divider."""
        from tasks.dividers import DIVIDERS

        return study.divided_by(build(DIVIDERS, self.divider), pairs.verdict)[0]

    def study(self, pairs: PairBatch) -> Study:
        """Return the weighed scores of pairs and of planted mismatches.

        Raises:
            DataError: A vector is not finite, or a member lacks what it needs or leaves [0, 1].
        """
        require_finite(pairs)
        batches = [_Batch(pairs, np.zeros(len(pairs), dtype=bool)), *self._planted(pairs)]
        scorers = self._scorers()
        weights = np.ones(len(scorers))
        for round_ in range(self.rounds if len(batches) > 1 else 1):
            for batch in batches:
                learned = batch.pairs if round_ == 0 else replace(batch.pairs, weight=_clean(batch, batches))
                batch.members = _scored(scorers, learned, [_label(member) for member in self.members])
            weights = _weights(batches)
            for batch in batches:
                batch.combined = _weighed(_normal(batch), weights)
        first = batches[0]
        told = [batch.place_of_planted() for batch in batches[1:]]
        names = [_label(member) for member in self.members]
        few = len(batches) == 1
        return Study(
            np.full(len(pairs), 0.5, np.float32) if few else first.place().astype(np.float32),
            np.concatenate(told).astype(np.float32) if told else np.empty(0, np.float32),
            {name: first.members[:, column] for column, name in enumerate(names)},
            {name: float(weight) for name, weight in zip(names, weights, strict=True)},
        )

    def _scorers(self) -> "list[NoiseScorer]":
        from tasks.noise import NOISE_SCORERS

        return [build(NOISE_SCORERS, member) for member in self.members]

    def _planted(self, pairs: PairBatch) -> list[_Batch]:
        """Return corpora with mismatches planted; none where the pairs are too few or too alike to exchange."""
        from tasks.injectors import INJECTORS

        if len(pairs) < FEWEST:
            return []
        plant = build(INJECTORS, MethodRef(name="pair"))
        batches = []
        for repeat in range(self.repeats):
            try:
                # A seed of its own kind: noise that somebody else planted with seed 0 must not meet itself here.
                drawn, chosen = np.random.SeedSequence((self.seed, repeat, len(pairs))).generate_state(2)
                found = plant(self._some(pairs, int(chosen)), rate=self.planted, seed=int(drawn))
            except DataError:  # nearly all texts are one text: nothing is wrong for anyone
                return []
            batches.append(_Batch(found.pairs, ~found.true))
        return batches

    def _some(self, pairs: PairBatch, seed: int) -> PairBatch:
        """Return the pairs, or as many of them as a corpus with planted mismatches may have."""
        if len(pairs) <= self.among:
            return pairs
        return pairs.take(np.sort(np.random.default_rng(seed).choice(len(pairs), self.among, replace=False)))


def _label(member: MethodRef) -> str:
    """Return what tells a member from others of one name, too."""
    said = ", ".join(f"{name}={value}" for name, value in sorted(member.params.items()))
    return f"{member.name}({said})" if said else member.name


def _scored(scorers: "list[NoiseScorer]", pairs: PairBatch, names: list[str]) -> NDArray[np.float32]:
    """Return the members' scores. (N, members).

    Raises:
        DataError: A member's scores are not (N,) in [0, 1].
    """
    columns = empty_on_disk((len(scorers), len(pairs)), np.float32)
    for column, scorer, name in zip(columns, scorers, names, strict=True):
        scores = np.asarray(scorer(pairs))
        if scores.shape != (len(pairs),):
            raise DataError(f"{name} returned {scores.shape} scores for {len(pairs)} pairs; mend the scorer")
        wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
        if len(wrong):
            raise DataError(
                f"{name} returned {scores[wrong[0]]} for pair {wrong[0]}; scores must lie in [0, 1]; mend the scorer"
            )
        column[:] = scores
    return columns.T


def _share_below(values: NDArray[np.floating], among: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of `among` below each value, ties counted half. In [0, 1]."""
    found = _below_and_up_to(values, among)
    found /= 2 * max(len(among), 1)
    return found


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank of each value from 1, equal ones sharing the mean of theirs."""
    found = _below_and_up_to(values, values)
    found += 1
    found /= 2
    return found


def _below_and_up_to(values: NDArray[np.floating], among: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how many of `among` lie below each value, plus how many do not lie above it. (N,)."""
    ordered, found = np.sort(among), empty_on_disk(len(values), np.float64)
    for at in chunks(len(values), _CHUNK):
        order = np.argsort(values[at])  # what is looked up in order is found in a fraction of the time
        some = values[at][order]
        found[at][order] = sum(np.searchsorted(ordered, some, side=side) for side in ("left", "right"))
    return found


def _normal(batch: _Batch) -> NDArray[np.float64]:
    """Return each member's scores as normal quantiles of their place among the untouched pairs. (N, members)."""
    edge = 0.5 / max(1, (~batch.planted).sum())
    found = empty_on_disk(batch.members.shape, np.float64)
    for column, values in zip(found.T, batch.members.T, strict=True):
        share = _share_below(values, values[~batch.planted])
        for at in chunks(len(share), _CHUNK):
            column[at] = scipy.special.ndtri(np.clip(share[at], edge, 1 - edge))
    return found


def _weighed(columns: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of columns by weight. (N,)."""
    found = empty_on_disk(len(columns), np.float64)
    for at in chunks(len(columns), _CHUNK):
        found[at] = columns[at] @ weights
    return found


def _weights(batches: list[_Batch]) -> NDArray[np.float64]:
    """Return each member's weight: logistic regression of untouched against planted, none below 0."""
    members = batches[0].members.shape[1]
    if len(batches) == 1 or members == 1:
        return np.ones(members)
    # A title pasted over a thousand pictures is one text: it says once how planted and untouched pairs differ.
    parts = [(_normal(batch), ~batch.planted, _once_per_text(batch.pairs)) for batch in batches[1:]]
    half = sum(len(counts) for _, _, counts in parts) / 2
    true = half / sum(counts[untouched].sum() for _, untouched, counts in parts)
    false = half / sum(counts[~untouched].sum() for _, untouched, counts in parts)

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = 0.0, np.zeros(1 + members)
        for x, untouched, counts in _in_chunks(parts):
            sign = np.where(untouched, 1.0, -1.0)
            balance = counts * np.where(untouched, true, false)
            margin = sign * (x @ at[1:] + at[0])
            pull = -balance * sign * scipy.special.expit(-margin)
            value += float((balance * np.logaddexp(0, -margin)).sum())
            slope += np.concatenate([[pull.sum()], x.T @ pull])
        slope[1:] += _PENALTY * at[1:]
        return value + _PENALTY * float((at[1:] ** 2).sum()) / 2, slope

    bounds = [(None, None)] + [(0, None)] * members
    found = scipy.optimize.minimize(
        loss, np.r_[0.0, np.ones(members)], jac=True, bounds=bounds, method="L-BFGS-B"
    ).x[1:]
    return np.asarray(found if found.sum() > 0 else np.ones(members))  # nothing tells: all count alike


def _in_chunks(parts: Sequence[tuple[NDArray[Any], ...]]) -> Iterator[tuple[NDArray[Any], ...]]:
    for part in parts:
        for at in chunks(len(part[0]), _CHUNK):
            yield tuple(array[at] for array in part)


def _once_per_text(pairs: PairBatch) -> NDArray[np.float64]:
    """Return one over the number of pairs that have each pair's text. (N,)."""
    if pairs.text_key is None:
        return np.ones(len(pairs))
    member, count = counted(pairs.text_key)
    found = empty_on_disk(len(member), np.float64)
    for at in chunks(len(member), _CHUNK):
        found[at] = 1 / count[member[at]]
    return found


def _clean(batch: _Batch, batches: list[_Batch]) -> NDArray[np.float32]:
    """Return P(true) of a batch's pairs by what was planted in this round, to weigh them in the next."""
    from tasks.dividers import DIVIDERS

    divider: Divider = build(DIVIDERS, MethodRef(name="self-injected"))
    mismatched = np.concatenate([other.place_of_planted() for other in batches[1:]]).astype(np.float32)
    shares: NDArray[Any] = _ranks(batch.combined)
    shares /= len(shares)
    return np.maximum(divider(shares, mismatched=mismatched).clean, np.float32(0.02))
