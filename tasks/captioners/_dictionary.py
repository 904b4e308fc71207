"""A dictionary of words and short phrases, learnt from sentences in two languages."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

_AGREED = 0.1  # of both directions' probabilities, below which two words are not aligned
_OFTEN = 3  # sentences in which a word must have no counterpart, alone or at an end, to be taken to have none

Words = tuple[str, ...]
Sentences = Sequence[tuple[Words, Words]]  # what is said, and the same in the language translated into


@dataclass(frozen=True)
class Dictionary:
    """How often short phrases stand for each other.

    Args:
        entries: For each foreign phrase, the phrases it was translated by and how often; an empty phrase where a
            word has no counterpart.
        longest: Words of the longest foreign phrase.
    """

    entries: dict[Words, dict[Words, int]]
    longest: int

    def probability(self, foreign: Words, target: Words) -> float:
        """Return how likely a translation is, one more sentence being counted in which it is another."""
        found = self.entries.get(foreign, {})
        return found.get(target, 0) / (sum(found.values()) + 1)

    def best(self, foreign: Words) -> tuple[Words, float]:
        """Return the likeliest translation of a phrase that is known; among equal ones the first by alphabet."""
        found = self.entries[foreign]
        target = min(found, key=lambda words: (-found[words], words))
        return target, self.probability(foreign, target)

    def translated(self, foreign: Words, *, unknown: float) -> list[tuple[Words, Words, float]]:
        """Return foreign phrases in order, their translations and probabilities.

        The sentence is cut into the phrases whose probabilities have the highest product. A word not in the
        dictionary is a phrase of its own, its translation empty and its probability 0; it costs `unknown`.
        """
        value = [0.0] + [float("-inf")] * len(foreign)
        cut: list[tuple[Words, Words, float]] = [((), (), 0.0)] * (len(foreign) + 1)
        for end in range(1, len(foreign) + 1):
            for begin in range(max(0, end - self.longest), end):
                phrase = foreign[begin:end]
                if phrase in self.entries:
                    target, chance = self.best(phrase)
                elif end - begin == 1:
                    target, chance = (), 0.0
                else:
                    continue
                gained = value[begin] + log(chance or unknown)
                if gained > value[end] + 1e-12:  # among equal ones the longer phrase, which comes first
                    value[end], cut[end] = gained, (phrase, target, chance)
        parts: list[tuple[Words, Words, float]] = []
        end = len(foreign)
        while end:
            parts.append(cut[end])
            end -= len(cut[end][0])
        return parts[::-1]


def dictionary(sentences: Sentences, *, iterations: int, diagonal: float, longest: int) -> Dictionary:
    """Return the phrases of aligned sentences.

    Words are aligned one to one, those first that come from each other most likely: where model 1 is asked in one
    direction only, rare words draw all others to them. A phrase stands for another if words of
    either are aligned with words of the other only, and at least one pair is. Where a word at an end of the
    foreign phrase has no counterpart, it must do so in three sentences.

    Args:
        sentences: The sentences.
        iterations: Of EM, in either direction.
        diagonal: How much likelier words at the same place are to be each other's translation; 0: not at all.
        longest: Words of the longest phrase.
    """
    there = word_grids(sentences, iterations=iterations, diagonal=diagonal)
    back = word_grids([pair[::-1] for pair in sentences], iterations=iterations, diagonal=diagonal)
    entries: dict[Words, dict[Words, int]] = {}
    known: set[tuple[Words, Words]] = set()
    for (foreign, target), onto, from_ in zip(sentences, there, back, strict=True):
        points = links_of(onto[:, 1:].T * from_[:, 1:])
        for said, means, sure in phrases(foreign, target, points, longest):
            found = entries.setdefault(said, {})
            found[means] = found.get(means, 0) + 1
            if sure:
                known.add((said, means))
    for said, found in entries.items():
        for means in [means for means, n in found.items() if n < _OFTEN and (said, means) not in known]:
            del found[means]
    return Dictionary({said: found for said, found in entries.items() if found}, longest)


def word_chances(
    sentences: Sentences, *, iterations: int, diagonal: float = 0.0
) -> dict[tuple[str, str], float]:
    """Return p(target word | foreign word) of words that stand in one sentence; "" is no foreign word."""
    model = _Model(sentences, diagonal)
    chance = model.trained(iterations)
    foreign, target = ["", *model.foreign], list(model.target)
    return {
        (foreign[key // len(target)], target[key % len(target)]): float(p)
        for key, p in zip(model.key, chance, strict=True)
    }


def word_grids(sentences: Sentences, *, iterations: int, diagonal: float) -> list[NDArray[np.float64]]:
    """Return for each sentence P(it comes from that foreign word) of each target word.

    Each is (T, F + 1) for T target and F foreign words; column 0 is for no foreign word.
    """
    model = _Model(sentences, diagonal)
    weight = model.trained(iterations)[model.cell] * model.prior
    grids: list[NDArray[np.float64]] = []
    at = 0
    for foreign, target in sentences:
        grid = weight[at : at + len(target) * (len(foreign) + 1)].reshape(len(target), len(foreign) + 1)
        grids.append(grid / grid.sum(axis=1, keepdims=True))
        at += grid.size
    return grids


class _Model:
    """IBM model 1 with a prior on places. All word pairs of all sentences exist at once.

    Memory grows with the number of sentences times the square of their length.
    """

    def __init__(self, sentences: Sentences, diagonal: float) -> None:
        self.foreign: dict[str, int] = {}
        self.target: dict[str, int] = {}
        left: list[NDArray[np.int64]] = []
        right: list[NDArray[np.int64]] = []
        prior: list[NDArray[np.float64]] = []
        size: list[int] = []  # foreign words of each target word's sentence, the missing one included
        for said, means in sentences:
            rows = [0, *(self.foreign.setdefault(word, len(self.foreign) + 1) for word in said)]
            columns = [self.target.setdefault(word, len(self.target)) for word in means]
            left.append(np.tile(np.array(rows, np.int64), len(columns)))
            right.append(np.repeat(np.array(columns, np.int64), len(rows)))
            prior.append(_places(len(said), len(means), diagonal))
            size += [len(rows)] * len(columns)
        width = max(len(self.target), 1)
        pairs = np.concatenate([*left, np.empty(0, np.int64)]) * width
        pairs += np.concatenate([*right, np.empty(0, np.int64)])
        self.prior = np.concatenate([*prior, np.empty(0)])
        self.key, self.cell = np.unique(pairs, return_inverse=True)
        self._word = np.repeat(np.arange(len(size)), size)
        self._foreign_of = self.key // width

    def trained(self, iterations: int) -> NDArray[np.float64]:
        """Return p(target | foreign) of each key."""
        chance = np.ones(len(self.key))
        for _ in range(iterations):
            weight = chance[self.cell] * self.prior
            share = weight / np.bincount(self._word, weight)[self._word]
            count = np.bincount(self.cell, share, minlength=len(self.key))
            chance = count / np.bincount(self._foreign_of, count)[self._foreign_of]
        return chance


def _places(foreign: int, target: int, diagonal: float) -> NDArray[np.float64]:
    """Return how likely each target word is to come from each foreign one by place alone. Raveled (T * (F + 1),)."""
    share = np.ones((target, foreign + 1))
    if foreign and target:
        off = np.abs((np.arange(target)[:, None] + 0.5) / target - (np.arange(foreign) + 0.5) / foreign)
        share[:, 1:] = np.exp(-diagonal * off)
    return share.ravel()


def links_of(agreed: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return which places are aligned: the likeliest two, then the likeliest of the rest, each but once.

    Args:
        agreed: (F, T) P(target word comes from foreign word) times P(foreign word comes from target word).
    """
    points: list[tuple[int, int]] = []
    left, right = set(range(agreed.shape[0])), set(range(agreed.shape[1]))
    for at in np.argsort(-agreed, axis=None, kind="stable").tolist():
        i, j = divmod(at, agreed.shape[1])
        if agreed[i, j] < _AGREED:
            break
        if i in left and j in right:
            points.append((i, j))
            left.remove(i)
            right.remove(j)
    return sorted(points)


def phrases(
    foreign: Words, target: Words, points: Sequence[tuple[int, int]], longest: int
) -> list[tuple[Words, Words, bool]]:
    """Return the phrase pairs that an alignment allows, and each foreign word without a counterpart.

    With each comes whether both ends of the foreign phrase are aligned: a word at an end that nothing stands for
    may be one whose counterpart was not found, and would be lost with the phrase.

    Args:
        foreign: Words of the one sentence.
        target: Words of the other.
        points: Places in `foreign` and `target` that are aligned.
        longest: Words of the longest phrase, on either side.
    """
    found: list[tuple[Words, Words, bool]] = []
    met, taken = {i for i, _ in points}, {j for _, j in points}
    for begin in range(len(foreign)):
        for end in range(begin + 1, min(begin + longest, len(foreign)) + 1):
            inside = [j for i, j in points if begin <= i < end]
            if not inside:
                continue
            low, high = min(inside), max(inside)
            if any(low <= j <= high and not begin <= i < end for i, j in points):
                continue
            first = low
            while first >= 0 and (first == low or first not in taken):
                last = high
                while last < len(target) and (last == high or last not in taken):
                    if last - first < longest:
                        sure = begin in met and end - 1 in met
                        found.append((foreign[begin:end], target[first : last + 1], sure))
                    last += 1
                first -= 1
    found += [((word,), (), False) for i, word in enumerate(foreign) if i not in met]
    return found
