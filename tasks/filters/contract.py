"""What every filter promises."""

from typing import ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa

from schemas.source import Source


class Filter(Protocol):
    """Measures one property of a medium or a text, on its own.

    A filter only scores. Keeping or dropping is the recipe's threshold (`schemas.recipes.Rule`), so a
    stricter recipe re-marks rows without reading them again.

    Attributes:
        name: Name recipes use.
        source: Where the measure comes from.
        subject: Which table the rows are of: "media" or "texts", in the singular.
        scope: "shard": a row's score depends on that row alone. "table": on all rows, so it must see them at
            once.
        columns: Columns it reads. Of `schemas.tables`, but for two that the caller counts over pairs:
            `media_count` (distinct media that carry a text) and `text_count` (distinct texts of a medium).
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    subject: ClassVar[Literal["media", "text"]]
    scope: ClassVar[Literal["shard", "table"]]
    columns: ClassVar[tuple[str, ...]]

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """Return the score per row. Shape (N,), float32; NaN only where a column it needs is null.

        NaN says that the rule does not apply, as the width of a sound; such a row passes.

        Raises:
            DataError: A column is missing, or a value cannot be computed on.
        """
        ...
