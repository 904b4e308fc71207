"""What the rules ask of evidence, and the batches in which pairs compete."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from schemas.batch import not_finite
from schemas.errors import DataError
from tasks.soft_labels.contract import Evidence


def require_evidence(evidence: Evidence) -> None:
    """Refuse evidence that does not fit together.

    Raises:
        DataError: Shapes differ, a number is not finite, or a probability is not in [0, 1].
    """
    rows = len(evidence.clean)
    if evidence.media_vec.shape != evidence.text_vec.shape or evidence.media_vec.shape[:1] != (rows,):
        raise DataError(
            f"media is {evidence.media_vec.shape} and text {evidence.text_vec.shape}, but clean has {rows} rows; "
            "all must be of the same pairs"
        )
    for side, vectors in (("media", evidence.media_vec), ("text", evidence.text_vec)):
        if len(broken := not_finite(vectors)):
            raise DataError(f"{len(broken)} {side} vectors are not finite, first in row {broken[0]}")
    for what, values in (
        ("clean", evidence.clean),
        ("previous", evidence.previous),
        ("stability", evidence.stability),
    ):
        if values is None:
            continue
        if values.shape != (rows,):
            raise DataError(f"{what} is {values.shape} but there are {rows} pairs")
        broken = np.flatnonzero(~((values >= 0) & (values <= 1)))  # NaN is in no range
        if len(broken):
            raise DataError(
                f"{len(broken)} values of {what} are not in [0, 1], first {values[broken[0]]} in row {broken[0]}"
            )


def batches(rows: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs in random batches of about equal size, at most `batch`."""
    if rows:
        yield from np.array_split(np.random.default_rng(seed).permutation(rows), -(-rows // batch))
