"""What trained towers say of each pair: its loss, and how surely it finds its other half."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from tasks.losses._candidates import candidates, log_softmax
from tasks.losses.contract import Loss
from tasks.training._batches import same_tensor, shuffled_batches
from tasks.training._trusted import Embeds

if TYPE_CHECKING:
    from torch import Tensor


def row_losses(
    towers: Embeds, pairs: PairBatch, loss: Loss, *, seed: int, batch_size: int = 256
) -> NDArray[np.float32]:
    """Return the loss of each pair among the others of a random batch: what pairs are divided by.

    Args:
        towers: Of which the loss is; nothing is trained.
        pairs: The N pairs.
        loss: Called without labels.
        seed: Seed of the batches.
        batch_size: Pairs a batch; losses that sum over negatives grow with it.

    Returns:
        (N,) float32, higher is worse.
    """
    return _over_batches(
        towers, pairs, lambda similarity, same: loss(similarity, same=same), seed=seed, batch_size=batch_size
    )


def match_probabilities(
    towers: Embeds, pairs: PairBatch, *, temperature: float, seed: int, batch_size: int = 256
) -> NDArray[np.float32]:
    """Return how surely each half of a pair finds the other: the mean of both softmax probabilities, P_ii.

    The more compete, the lower: about 1 / batch_size for a pair that is found by chance.

    Args:
        towers: Which bring both sides into one space.
        pairs: The N pairs.
        temperature: Divides the cosines.
        seed: Seed of the batches.
        batch_size: Pairs that compete; those that show the same thing do not.

    Returns:
        (N,) float32, in [0, 1].
    """

    def probability(similarity: "Tensor", same: "Tensor") -> "Tensor":
        among = candidates(similarity, same)
        forth = log_softmax(similarity, among, temperature).diagonal().exp()
        back = log_softmax(similarity.T, among.T, temperature).diagonal().exp()
        return (forth + back) / 2

    return _over_batches(towers, pairs, probability, seed=seed, batch_size=batch_size)


def _over_batches(
    towers: Embeds,
    pairs: PairBatch,
    of_batch: Callable[["Tensor", "Tensor"], "Tensor"],
    *,
    seed: int,
    batch_size: int,
) -> NDArray[np.float32]:
    """Return `of_batch(similarity, same)` of each pair's batch. Shape (N,)."""
    import torch

    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2, found {batch_size}: a pair alone has no negatives")
    media, text = towers.media(pairs.media_vec), towers.text(pairs.text_vec)
    values = np.zeros(len(pairs), dtype=np.float32)
    if not len(pairs):
        return values
    for batch in shuffled_batches(np.arange(len(pairs)), batch_size, np.random.default_rng(seed)):
        similarity = torch.from_numpy(media[batch] @ text[batch].T)
        with torch.no_grad():
            values[batch] = of_batch(similarity, same_tensor(pairs, batch)).numpy()
    return values
