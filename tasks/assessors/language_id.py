"""Whether a text is in the language it should be in."""

from collections import Counter
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from schemas.source import Source
from tasks.assessors.contract import Assessed, Drafts
from tasks.texts import language_identifier, primary_language

_CODES = {"nb": "no", "ff": "fuv", "in": "id", "iw": "he"}  # what the detector calls them
_SAME = {"nn": "no"}  # the detector tells them apart, who asks for Norwegian does not


@dataclass(frozen=True)
class LanguageId:
    """The detector's probability of the wanted language, where it is sure of any.

    Captions of two or three words seldom suffice: the detector's first guess on those is wrong in four of ten. Its
    confidence tells: where it says 0.9 or more it erred once in a thousand captions of the stamps corpus, in the
    languages it knows, whatever the length of the text. So length is not asked, and the score is NaN where
    confidence lacks.

    Args:
        sure: Probability of the likeliest language from which the detector is believed.
        among: Languages to choose from; empty: all that the detector knows. A short list lets it judge
            several times as many short texts. What is in none of them is taken for one of them.

    Raises:
        ValueError: `sure` is not in (0, 1], or `among` names one language or one that the detector lacks.
    """

    name: ClassVar[str] = "language-id"
    source: ClassVar[Source] = Source(
        title="langid.py: An Off-the-shelf Language Identification Tool",
        authors="Lui and Baldwin",
        year=2012,
        url="https://aclanthology.org/P12-3005/",
        departs="py3langid's model; NaN in place of a guess",
    )
    scope: ClassVar[Literal["row", "table"]] = "row"

    sure: float = 0.9
    among: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.sure <= 1:
            raise ValueError(f"sure must be in (0, 1], found {self.sure}")
        codes = {_code(tag) for tag in self.among}
        if strangers := sorted(codes - set(language_identifier().nb_classes) if codes else ()):
            raise ValueError(f"among names {strangers[0]!r}, which the detector does not know")
        if len(codes) == 1:
            raise ValueError(f"among must name two languages or more, found {self.among}")

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return the probability of the wanted language for each text.

        NaN where the detector is not sure, does not know the wanted language, or none is wanted ("und").
        """
        identifier = copy(language_identifier())
        if self.among:
            identifier.set_languages(sorted({_code(tag) for tag in self.among}))
        known = set(map(_same, identifier.nb_classes))
        score = np.full(len(drafts), np.nan, dtype=np.float32)
        for row, (text, tag) in enumerate(zip(drafts.texts, drafts.language, strict=True)):
            if (wanted := _same(_code(tag))) in known:
                found: Counter[str] = Counter()
                for language, probability in identifier.rank(text):
                    found[_same(language)] += probability
                if max(found.values()) >= self.sure:
                    score[row] = min(found[wanted], 1.0)
        return Assessed(score)


def _code(tag: str) -> str:
    language = primary_language(tag)
    return _CODES.get(language, language)


def _same(code: str) -> str:
    return _SAME.get(code, code)
