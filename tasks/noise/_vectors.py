"""What scorers ask of vectors before they compute: finite, and, for cosines between sides, of one space."""

from schemas.batch import PairBatch, not_finite
from schemas.errors import DataError


def require_finite(pairs: PairBatch) -> None:
    """Refuse NaN and infinity, which would spread into every score.

    Raises:
        DataError: A vector is not finite.
    """
    for side, vectors in (("media", pairs.media_vec), ("text", pairs.text_vec)):
        if len(broken := not_finite(vectors)):
            raise DataError(
                f"{len(broken)} {side} vectors are not finite, first in row {broken[0]}; embed them again"
            )


def require_common(pairs: PairBatch, scorer: str) -> None:
    """Refuse sides of different spaces, between which a cosine says nothing.

    Args:
        pairs: What is to be scored.
        scorer: Name of the method that asks, for the message.

    Raises:
        DataError: The sides do not share a space.
    """
    if not pairs.common:
        raise DataError(
            f"{scorer!r} compares media with texts directly, but the vectors ({pairs.media_vec.shape[1]} and "
            f"{pairs.text_vec.shape[1]} wide) share no space; use a joint encoder, or a scorer that needs "
            "none, such as 'geometry' or 'out-of-fold'"
        )
