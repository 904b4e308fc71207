"""Whether a text is in a language the recipe wants."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from schemas.source import Source
from tasks.filters._columns import each


@dataclass(frozen=True)
class Language:
    """1.0 when the text's language is allowed, else 0.0.

    Args:
        allowed: Languages, as BCP 47 tags; only the primary subtag counts.
        und_passes: Whether a text of unknown language ("und") scores 1.0. Short captions are often
            undetermined.

    Raises:
        ValueError: `allowed` is empty.
    """

    name: ClassVar[str] = "language"
    source: ClassVar[Source] = Source(
        title="DataComp: In search of the next generation of multimodal datasets",
        authors="Gadre et al.",
        year=2023,
        url="https://arxiv.org/abs/2304.14108",
        departs="any set of languages; the one the source declares goes before the detected one",
    )
    subject: ClassVar[Literal["media", "text"]] = "text"
    scope: ClassVar[Literal["shard", "table"]] = "shard"
    columns: ClassVar[tuple[str, ...]] = ("language",)

    allowed: tuple[str, ...] = ("en",)
    und_passes: bool = True

    def __post_init__(self) -> None:
        if not self.allowed:
            raise ValueError("allowed is empty, which would refuse every text; name at least one language")

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return 1.0 where the language is allowed, else 0.0. Shape (N,), float32; NaN where it is null."""
        passing = {_primary(tag) for tag in self.allowed} | ({"und"} if self.und_passes else set())
        return each(rows, "language", lambda tag: float(_primary(tag) in passing))


def _primary(tag: str) -> str:
    return tag.replace("_", "-").split("-")[0].lower()
