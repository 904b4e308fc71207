"""Whether other generators say of the same medium what a text says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.source import Source
from tasks.assessors._distances import Distance, Unsupported, supported
from tasks.assessors.contract import Assessed, Drafts


@dataclass(frozen=True)
class CrossCheck:
    """1 less the mean distance of a phrase to what other generators said.

    Generators that err apart from each other seldom make the same thing up, so a phrase that none of the others
    supports is probably invented. What all of them get wrong alike passes, and a manner of speaking that no other
    generator shares counts against it: compare phrases without style, and systems that speak alike.

    Args:
        distances: What a phrase's distance to the evidence is the mean of: embedding, surprisal, nouns. Nouns
            see wrong objects only, and only in English.
        smoothing: Occurrences added to each word's count where surprisal is measured.

    Raises:
        ValueError: A distance is unknown or stands twice, none is named, or smoothing is not positive.
    """

    name: ClassVar[str] = "cross-check"
    source: ClassVar[Source] = Source(
        title="CrossCheckGPT: Universal Hallucination Ranking for Multimodal Foundation Models",
        authors="Sun et al.",
        year=2024,
        url="https://arxiv.org/abs/2405.13684",
        departs="distances that need no language model; phrases in place of sentences; 1 - S, so higher is better",
    )
    scope: ClassVar[Literal["row", "table"]] = "row"

    distances: tuple[Distance, ...] = ("embedding", "surprisal")
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        Unsupported(self.distances, self.smoothing)

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return the support of each text and phrase by other generators. In [0, 1]; NaN without evidence.

        Raises:
            DataError: A text's vector is not finite.
        """
        judge = Unsupported(self.distances, self.smoothing)
        return Assessed(*supported(judge(drafts.phrases, drafts.evidence, drafts.encode, drafts.language)))


def rank_systems(
    scores: Sequence[NDArray[np.float32]] | NDArray[np.float32], generator: Sequence[str]
) -> dict[str, float]:
    """Return how much each generator makes up: the mean of 1 - score over all its phrases. Best first.

    Args:
        scores: For each text, what an assessor gave its phrases; or a number for each text.
        generator: Who wrote each.

    Returns:
        Generator to mean, ascending, equals by name. NaN where nothing of a generator was judged; those last.
    """
    found: dict[str, list[NDArray[np.float32]]] = {}
    for score, name in zip(scores, generator, strict=True):
        found.setdefault(name, []).append(1 - np.atleast_1d(score))
    means: dict[str, float] = {}
    for name, parts in found.items():
        said = np.concatenate(parts)
        said = said[np.isfinite(said)]
        means[name] = float(said.mean(dtype=np.float64)) if len(said) else float("nan")
    return dict(sorted(means.items(), key=lambda item: (np.isnan(item[1]), item[1], item[0])))
