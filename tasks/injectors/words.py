"""Some words of a text replaced: partly wrong pairs, as careless captions are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.errors import DataError
from schemas.source import Source
from tasks.injectors._exchange import protocol_of, same_medium, share_of
from tasks.injectors.contract import Encode, Injection

_TRIES = 16  # draws of new words before a text is left alone


@dataclass(frozen=True)
class WordsInjector:
    """Draws a share of the pairs and replaces some words of each text by words of other texts.

    A new word is drawn as often as it is used, and is none that the medium's own texts contain, whatever its
    case. The text keeps its number of words. Verdicts are dropped, as the pairs are others now.

    Args:
        share: Share of a text's words that is replaced; at least one is.

    Raises:
        ValueError: `share` is not in (0, 1].
    """

    name: ClassVar[str] = "words"
    source: ClassVar[Source] = Source(
        title="FOIL it! Find One mismatch between Image and Language caption",
        authors="Shekhar et al.",
        year=2017,
        url="https://arxiv.org/abs/1705.01359",
        departs="a share of any words, drawn at random, where the paper replaces one noun by a related one",
    )

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, found {self.share}")

    def __call__(
        self, pairs: PairBatch, *, rate: float, seed: int, encode: Encode | None = None
    ) -> Injection:
        """Return the pairs with round(rate * N) texts rewritten and encoded anew.

        Raises:
            DataError: The pairs have no texts, nothing encodes the new ones, they come out in another width, or
                too few texts have words to replace.
            ValueError: The rate is not in [0, 1].
        """
        rows = np.arange(len(pairs), dtype=np.int64)
        count = share_of(len(pairs), rate)
        protocol = f"{protocol_of('words', rate, seed)}, {100 * self.share:g} % of words"
        if pairs.texts is None:
            raise DataError("words rewrites texts and the pairs carry none; give texts")
        if encode is None:
            raise DataError("words makes new texts and needs encode to embed them")
        if count == 0:
            return Injection(pairs, np.ones(len(pairs), dtype=bool), rows, protocol)

        texts = self._rewritten(pairs.texts, same_medium(pairs), count, np.random.default_rng(seed))
        changed = np.array(sorted(texts), dtype=np.int64)
        vectors = np.asarray(encode([texts[row] for row in changed]), dtype=np.float32)
        if vectors.shape != (len(changed), pairs.text_vec.shape[1]):
            raise DataError(
                f"encode gave {vectors.shape} for {len(changed)} texts, but the pairs' texts are "
                f"{pairs.text_vec.shape[1]} wide; use the encoder that made them"
            )
        text_vec = pairs.text_vec.copy()
        text_vec[changed] = vectors
        true = np.ones(len(pairs), dtype=bool)
        true[changed] = False
        noisy = replace(
            pairs,
            text_vec=text_vec,
            text_key=_keys(pairs.text_key, pairs.texts, texts),
            texts=[texts.get(row, text) for row, text in enumerate(pairs.texts)],
            verdict=None,
        )
        return Injection(noisy, true, rows, protocol)

    def _rewritten(
        self, texts: Sequence[str], medium: NDArray[np.int64], count: int, rng: np.random.Generator
    ) -> dict[int, str]:
        """Return new texts by row."""
        words = [text.split() for text in texts]
        pool = np.array([word for row in words for word in row], dtype=object)
        own: dict[int, set[str]] = {}
        for row, said in enumerate(words):
            own.setdefault(int(medium[row]), set()).update(word.casefold() for word in said)
        new: dict[int, str] = {}
        for row in rng.permutation(len(texts)).tolist():
            if len(new) == count:
                break
            number = max(1, round(self.share * len(words[row])))
            strangers = _strangers(pool, own[int(medium[row])], number, rng) if words[row] else None
            if strangers is None:
                continue
            said = list(words[row])
            for place, word in zip(
                rng.choice(len(said), number, replace=False).tolist(), strangers, strict=True
            ):
                said[place] = word
            new[row] = " ".join(said)
        if len(new) < count:
            raise DataError(
                f"{count - len(new)} of {count} texts have no words that others could replace; lower the rate"
            )
        return new


def _strangers(
    pool: NDArray[np.object_], own: set[str], number: int, rng: np.random.Generator
) -> list[str] | None:
    """Return words of the pool that are not among a medium's own; None if too few turn up."""
    found: list[str] = []
    for _ in range(_TRIES):
        drawn = pool[rng.integers(len(pool), size=4 * number)]
        found += [word for word in drawn if word.casefold() not in own]
        if len(found) >= number:
            return found[:number]
    return None


def _keys(
    keys: NDArray[np.int64] | None, texts: Sequence[str], new: dict[int, str]
) -> NDArray[np.int64] | None:
    """Return the key of each text: the old one where the wording exists, else one not used yet."""
    if keys is None:
        return None
    known = dict(zip(texts, keys.tolist(), strict=True))
    changed = keys.copy()
    unused = int(keys.max()) + 1
    for row, text in sorted(new.items()):
        if text not in known:
            known[text] = unused
            unused += 1
        changed[row] = known[text]
    return changed
