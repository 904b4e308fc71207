"""Whether a text names a thing at all."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from schemas.source import Source
from tasks.assessors.contract import Assessed, Drafts
from tasks.factual.read import factual


@dataclass(frozen=True)
class Substance:
    """1 where some statement has a noun that is not about the style of the picture, else 0.

    "A white icon" is true of many pictures and helps to find none.
    """

    name: ClassVar[str] = "substance"
    source: ClassVar[Source] = Source(
        title="Structural Entities Extraction and Patient Indications Incorporation for Chest X-ray Report Generation",
        authors="Liu et al.",
        year=2024,
        url="https://arxiv.org/abs/2405.14905",
        departs="its entities are found by rule, and a text without one is refused rather than left out",
    )
    scope: ClassVar[Literal["row", "table"]] = "row"

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return 0 or 1 per text, and per statement."""
        per_phrase = [
            np.array([_names_a_thing(said) for said in phrases], np.float32) for phrases in drafts.phrases
        ]
        return Assessed(np.array([float(said.max()) for said in per_phrase], np.float32), per_phrase)


def _names_a_thing(text: str) -> float:
    return float(any(phrase.head for phrase in factual(text).phrases))
