"""Whether a pair's two halves are still taken for different things an epoch later, beside how badly it is aligned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import PairBatch
from schemas.source import Source
from tasks.noise._mixture import low_posterior
from tasks.noise._trained import can_tell, for_heads
from tasks.noise._vectors import require_finite

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.training.fit import Towers

_HIDDEN = 256  # width of the projection's hidden layer; the released code's
_JUDGED = 1024  # pairs a loss is the mean over


@dataclass(frozen=True)
class _Predictions:
    """Log-probabilities of the pseudo-classes, (N, C) each."""

    media: NDArray[np.float64]
    text: NDArray[np.float64]


@dataclass(frozen=True)
class Oscillation:
    """P(low loss), raised among likely pairs for those whose pseudo-classes have settled.

    One projection maps media and texts, both as the towers see them, to the logits of pseudo-classes. It
    learns that a medium is of its text's class, on the pairs whose loss is low:

        CE(media logits, argmax p_text) - entropy_weight * H.

    The oscillation of a pair is, by `between`,

    * "sides": KL(p_media now || p_text an epoch ago) + KL(p_text now || p_media an epoch ago);
    * "epochs": KL(p_media now || p_media an epoch ago), as published.

    With w the posterior of a low loss, and c that of a low oscillation, the score is w + (1 - w) c where both
    exceed 0.5, and else w.

    H keeps the classes from becoming one. The mean entropy of single predictions, as released, asks each of
    them to be uniform; the entropy of the batch's mean prediction asks the classes to be used evenly.

    On frozen features "epochs" is no evidence: the class of a medium follows the medium, and a wrong text
    hardly moves it. "sides" asks the text as well, and is some.

    Under 16 groups every pair scores 0.5 ("cannot tell").

    Args:
        epochs: Epochs of towers and projection.
        classes: Pseudo-classes.
        between: What a prediction is compared with, see above.
        entropy: H, "batch" or "sample", see above.
        entropy_weight: Its weight.
        components: Principal components of a side that heads see.
        width: Width of the heads' space.
        margin: Of the mean hinge that trains the towers, in cosine.
        learning_rate: Of AdamW, for towers and projection.
        batch_size: Pairs per step.
        seed: Seed of towers, projection and batches.

    Raises:
        ValueError: A parameter is out of range.
    """

    name: ClassVar[str] = "oscillation"
    source: ClassVar[Source] = Source(
        title="PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in "
        "Cross-Modal Retrieval",
        authors="Duan et al.",
        year=2024,
        url="https://arxiv.org/abs/2408.01349",
        departs="oscillation between sides by default; one network; the projection learns from the towers and "
        "does not train them; linear towers on principal components of frozen vectors; the entropy of the "
        "batch's mean by default; no pseudo-captions, and rows of high loss keep w; posteriors made to fall "
        "with their values",
    )
    scope: ClassVar[Literal["shard", "table"]] = "table"

    epochs: int = 15
    classes: int = 128
    between: Literal["sides", "epochs"] = "sides"
    entropy: Literal["batch", "sample"] = "batch"
    entropy_weight: float = 10.0
    components: int = 64
    width: int = 128
    margin: float = 0.2
    learning_rate: float = 1e-3
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 2 or self.classes < 2 or self.batch_size < 2:
            raise ValueError(f"epochs, classes and batch_size must be at least 2: {self}")
        if min(self.components, self.width) < 1 or min(self.entropy_weight, self.seed) < 0:
            raise ValueError(
                f"components and width must be at least 1, entropy_weight and seed must be at least 0: {self}"
            )
        if self.margin <= 0 or self.learning_rate <= 0:
            raise ValueError(f"margin and learning_rate must be positive: {self}")
        if self.between not in ("sides", "epochs"):
            raise ValueError(f"between must be sides or epochs, found {self.between!r}")
        if self.entropy not in ("batch", "sample"):
            raise ValueError(f"entropy must be batch or sample, found {self.entropy!r}")

    def __call__(self, pairs: PairBatch) -> np.ndarray:
        """Return the score per pair. Shape (N,), float32, in [0, 1]; 0.5 throughout below 16 groups.

        Raises:
            DataError: A vector is not finite.
        """
        require_finite(pairs)
        if not can_tell(pairs):
            return np.full(len(pairs), 0.5, dtype=np.float32)
        seen = for_heads(pairs, self.components, seed=self.seed)
        clean, now, before = self._trained(seen)
        settled = low_posterior(self._oscillation(now, before), seed=self.seed)
        return rectified(clean, settled).astype(np.float32)

    def _oscillation(self, now: "_Predictions", before: "_Predictions") -> NDArray[np.float64]:
        """Return how far the predictions of two epochs are apart, in nats. Shape (N,)."""
        if self.between == "epochs":
            return divergence(now.media, before.media)
        return divergence(now.media, before.text) + divergence(now.text, before.media)

    def _trained(self, pairs: PairBatch) -> "tuple[NDArray[np.float64], _Predictions, _Predictions]":
        """Return the posterior of a low loss (N,), and the predictions of the last epoch and the one before."""
        from tasks.heads.linear import Linear
        from tasks.losses.triplet import Triplet
        from tasks.training.fit import Schedule, fit
        from tasks.training.per_row import row_losses

        loss = Triplet(margin=self.margin)
        rng = np.random.default_rng(self.seed)
        projection = _projection(self.width, self.classes, seed=self.seed)
        bank: list[_Predictions] = []
        clean = np.full(len(pairs), 0.5)

        def follow(epoch: int, towers: "Towers") -> None:
            nonlocal clean
            losses = row_losses(towers, pairs, loss, seed=self.seed, batch_size=_JUDGED)
            clean = low_posterior(losses, seed=self.seed)
            likely = np.flatnonzero(clean > 0.5)
            media, text = towers.media(pairs.media_vec), towers.text(pairs.text_vec)
            self._project(projection, media, text, likely if len(likely) else np.arange(len(pairs)), rng)
            bank[:] = [
                *bank[-1:],
                _Predictions(_log_classes(projection, media), _log_classes(projection, text)),
            ]

        fit(
            pairs,
            head=Linear(width=self.width),
            loss=loss,
            schedule=Schedule(
                epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate
            ),
            seed=self.seed,
            on_epoch=follow,
        )
        return clean, bank[1], bank[0]

    def _project(
        self,
        projection: "nn.Module",
        media: NDArray[np.float32],
        text: NDArray[np.float32],
        rows: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> None:
        """Train the projection for a pass over some rows."""
        import torch

        # Anew each pass: the momentum of the last belongs to towers that have moved on.
        optimizer = torch.optim.AdamW(projection.parameters(), lr=self.learning_rate)
        shuffled = rng.permutation(rows)
        for start in range(0, len(shuffled), self.batch_size):
            batch = shuffled[start : start + self.batch_size]
            loss = pseudo_class_loss(
                projection(torch.from_numpy(media[batch])),
                projection(torch.from_numpy(text[batch])),
                entropy=self.entropy,
                entropy_weight=self.entropy_weight,
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def pseudo_class_loss(
    media: "Tensor", text: "Tensor", *, entropy: Literal["batch", "sample"], entropy_weight: float
) -> "Tensor":
    """Return CE(media logits, argmax of text logits) - entropy_weight * H, a scalar.

    Args:
        media: (B, C) logits; H is of these.
        text: (B, C) logits; targets only, no gradient.
        entropy: "batch": H of the mean prediction; "sample": mean of the predictions' H.
        entropy_weight: Weight of H.
    """
    from torch.nn import functional

    log_p = media.log_softmax(dim=1)
    p = log_p.exp()
    if entropy == "sample":
        spread = -(p * log_p).sum(dim=1).mean()
    else:
        mean = p.mean(dim=0)
        spread = -(mean * mean.clamp(min=1e-12).log()).sum()
    return functional.cross_entropy(media, text.argmax(dim=1)) - entropy_weight * spread


def divergence(now: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return KL(now || before) of each row, in nats. Shape (N,), not negative.

    Args:
        now: (N, C) log-probabilities.
        before: (N, C) log-probabilities.
    """
    return np.maximum((np.exp(now) * (now - before)).sum(axis=1), 0)


def rectified(clean: NDArray[np.float64], settled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return w + (1 - w) c where w and c exceed 0.5, else w. Shape (N,).

    Args:
        clean: (N,) w, P(low loss).
        settled: (N,) c, P(low oscillation).
    """
    return np.where((clean > 0.5) & (settled > 0.5), clean + (1 - clean) * settled, clean)


def _projection(width: int, classes: int, *, seed: int) -> "nn.Module":
    """Return the shared projection, (N, width) unit vectors to (N, classes) logits; no other generator is read."""
    import torch
    from torch import nn
    from torch.nn.utils import skip_init

    generator = torch.Generator().manual_seed(seed)
    layers = [
        skip_init(nn.Linear, *shape)  # type: ignore[no-untyped-call]
        for shape in ((width, _HIDDEN), (_HIDDEN, classes))
    ]
    with torch.no_grad():
        # The entries of a unit vector are about width ** -0.5, so its layer is as much larger.
        for layer, spread in zip(layers, (1.0, _HIDDEN**-0.5), strict=True):
            layer.weight.normal_(std=spread, generator=generator)
            layer.bias.zero_()
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def _log_classes(projection: "nn.Module", vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log p of the pseudo-classes. (N, C)."""
    import torch

    with torch.no_grad():
        logits = projection(torch.from_numpy(vectors)).double()
    return np.asarray(logits.log_softmax(dim=1).numpy(), dtype=np.float64)
