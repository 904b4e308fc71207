"""Whether a generator says the same of a medium when it is asked again."""

from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar, Literal

from schemas.source import Source
from tasks.assessors._distances import Distance, Evidence, Unsupported, supported
from tasks.assessors.contract import Assessed, Drafts


@dataclass(frozen=True)
class SelfCheck:
    """1 less the mean distance of a phrase to what its own generator else said of the medium.

    The other texts of the same generator about the same medium are the evidence. Blind by construction to what a
    generator makes up every time; for that there is `cross-check`.

    Args:
        distances: What a phrase's distance to the evidence is the mean of: embedding, surprisal, nouns. Nouns
            see wrong objects only, and only in English.
        smoothing: Occurrences added to each word's count where surprisal is measured.

    Raises:
        ValueError: A distance is unknown or stands twice, none is named, or smoothing is not positive.
    """

    name: ClassVar[str] = "self-check"
    source: ClassVar[Source] = Source(
        title="SelfCheckGPT: Zero-Resource Black-Box Hallucination Detection for Generative Large Language Models",
        authors="Manakul et al.",
        year=2023,
        url="https://arxiv.org/abs/2303.08896",
        departs="phrases in place of sentences; word counts leave out the text itself; 1 - S, so higher is better",
    )
    scope: ClassVar[Literal["row", "table"]] = "table"

    distances: tuple[Distance, ...] = ("embedding", "surprisal")
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        Unsupported(self.distances, self.smoothing)

    def __call__(self, drafts: Drafts) -> Assessed:
        """Return the support of each text and phrase by its generator's others. In [0, 1]; NaN without any.

        Raises:
            DataError: A text's vector is not finite.
        """
        judge = Unsupported(self.distances, self.smoothing)
        return Assessed(*supported(judge(drafts.phrases, _samples(drafts), drafts.encode, drafts.language)))


def _samples(drafts: Drafts) -> list[Evidence]:
    rows: dict[tuple[int, str], list[int]] = defaultdict(list)
    keys = list(zip(drafts.own.tolist(), drafts.generator, strict=True))
    for row, key in enumerate(keys):
        rows[key].append(row)
    return [[[drafts.texts[other] for other in rows[key] if other != row]] for row, key in enumerate(keys)]
