"""What can be done about doubtful pairs besides dropping them; all of it stands on one teacher."""

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch, in_chunks
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.noise._canonical import CanonicalHead, fit_canonical
from tasks.repairs import REPAIRS
from tasks.repairs.contract import Proposals
from tasks.soft_labels import SOFT_LABELS
from tasks.soft_labels.contract import Evidence

LEAST = 0.02  # weight of the most doubtful pair: a teacher without rows could not be fitted


def teacher(
    pairs: PairBatch, clean: NDArray[np.float32], *, width: int = 128, ridge: float = 10.0
) -> CanonicalHead:
    """Return a linear head fitted in closed form on pairs that count by P(true): it believes the clean ones.

    Args:
        pairs: The N pairs.
        clean: (N,) P(true).
        width: Directions kept.
        ridge: Regularisation, in units of the mean variance; high, since some of what it sees is wrong.
    """
    everyone = np.arange(len(pairs), dtype=np.int64)
    weight = np.maximum(clean, LEAST).astype(np.float32)
    return fit_canonical(pairs.media_vec, pairs.text_vec, everyone, weight, width=width, ridge=ridge)


def proposals(ref: MethodRef, pairs: PairBatch, clean: NDArray[np.float32]) -> Proposals:
    """Return texts that a repair proposes for noisy pairs.

    Args:
        ref: The repair.
        pairs: The N pairs.
        clean: (N,) P(true).
    """
    head = teacher(pairs, clean)
    media, text = in_chunks(head.media, pairs.media_vec), in_chunks(head.text, pairs.text_vec)
    return build(REPAIRS, ref)(pairs, clean, media, text)


def soft_labels(ref: MethodRef, pairs: PairBatch, clean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how true each pair should be taken to be in training. (N,) float32, in [0, 1].

    Args:
        ref: The rule.
        pairs: The N pairs.
        clean: (N,) P(true).
    """
    head = teacher(pairs, clean)
    media, text = in_chunks(head.media, pairs.media_vec), in_chunks(head.text, pairs.text_vec)
    evidence = Evidence(clean, media, text)
    return build(SOFT_LABELS, ref)(evidence)
