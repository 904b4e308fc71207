"""A network of two layers that tells right candidates from wrong ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score


@dataclass(frozen=True)
class Network:
    """One hidden layer with ReLU over (K, I) numbers, beside a straight line in the last of them.

    Every entry is brought to mean 0 and deviation 1 first.

    Args:
        arrays: The weights by name.
    """

    arrays: Mapping[str, NDArray[np.float32]]

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return a number per candidate, the higher the likelier right. Shape (K,)."""
        a = self.arrays
        scaled = (rows - a["centre"]) / a["scale"]
        # einsum, not matmul: a candidate's number must not depend on how many stand beside it
        hidden = np.einsum("ki,ih->kh", scaled, a["first_map"]) + a["first_bias"]
        bent = np.einsum("kh,h->k", np.maximum(hidden, 0), a["second_map"], dtype=np.float64)
        last = scaled[:, len(a["centre"]) - len(a["straight"]) :]
        straight = np.einsum("kn,n->k", last, a["straight"], dtype=np.float64)
        return np.asarray(bent + straight + float(a["second_bias"][0]))

    @classmethod
    def of_state(
        cls, state: Mapping[str, NDArray[Any]], *, inputs: int, numbers: int, hidden: int
    ) -> "Network":
        """Return the network that `state` holds.

        Raises:
            ValueError: An array is missing or of a wrong shape.
        """
        shapes = {
            "centre": (inputs,),
            "scale": (inputs,),
            "straight": (numbers,),
            "first_map": (inputs, hidden),
            "first_bias": (hidden,),
            "second_map": (hidden,),
            "second_bias": (1,),
        }
        for name, shape in shapes.items():
            if name not in state or state[name].shape != shape:
                found = state[name].shape if name in state else "not there"
                raise ValueError(f"{name} of the state must be {shape} but is {found}")
        return cls({name: state[name] for name in shapes})


def train(
    looked: Sequence[NDArray[np.float32]],
    relevant: Sequence[NDArray[np.bool_]],
    held_out: tuple[NDArray[np.float32], NDArray[np.bool_]],
    *,
    numbers: int,
    hidden: int,
    near: int,
    per_query: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    dropout: float,
    seed: int,
) -> Network:
    """Return a network trained on queries and which of their candidates are right.

    For a right candidate g and wrong ones w: -log sigma(g - w) for one w among those nearest to it in rank and one at
    random, plus the cross-entropy of each of the three. Queries without a right candidate take part with two wrong ones
    at random, in the cross-entropy alone. The wrong ones nearest in rank are as similar to the query as the right one
    is: to tell them apart it takes more than the cosine. Those of the first ranks would teach that a high cosine is wrong.

    Training starts from the cosine: the straight line has 1 for it, and the layers add nothing yet. The weights of the
    epoch that ranks held-out candidates best are kept, those of the start among them: where nothing that is learnt
    carries over, the cosine is what comes out.

    Args:
        looked: (K, I) candidates of each query as numbers.
        relevant: (K,) of each.
        held_out: (M, I) candidates of other queries, all in one, and (M,) which are right; some of both kinds.
        numbers: How many of the last columns go straight too; the first of them is the cosine.
        hidden: Width of the hidden layer.
        near: How many of the wrong ones nearest in rank are hard.
        per_query: Right candidates of a query that an epoch takes, at random where there are more.
        epochs: Passes.
        batch_size: Right candidates, or queries without, a step.
        learning_rate: Of Adam.
        weight_decay: Decoupled.
        dropout: Of the hidden layer.
        seed: Of everything drawn.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

    rng = np.random.default_rng(seed)
    wrong = [np.flatnonzero(~right) for right in relevant]
    centre, scale = _moments(looked)
    inputs = len(centre)
    # He et al. (2015): variance 2 / inputs before a ReLU
    first_map = rng.normal(size=(inputs, hidden)) * np.sqrt(2 / inputs)
    straight = np.zeros(numbers)
    straight[0] = 1
    weights = {
        "straight": torch.tensor(straight, dtype=torch.float32),
        "first_map": torch.tensor(first_map, dtype=torch.float32),
        "first_bias": torch.zeros(hidden),
        "second_map": torch.zeros(hidden),
        "second_bias": torch.zeros(1),
    }
    for one in weights.values():
        one.requires_grad_(True)
    optimiser = torch.optim.AdamW(weights.values(), lr=learning_rate, weight_decay=weight_decay)

    def now() -> Network:
        trained = {name: one.detach().numpy().copy() for name, one in weights.items()}
        return Network({"centre": centre, "scale": scale, **trained})

    apart = torch.from_numpy((held_out[0] - centre) / scale)

    def worth() -> float:
        with torch.inference_mode():
            bent = torch.relu(apart @ weights["first_map"] + weights["first_bias"])
            value = bent @ weights["second_map"] + apart[:, inputs - numbers :] @ weights["straight"]
        return float(average_precision_score(held_out[1], value.numpy()))

    best, network = worth(), now()
    for _ in range(epochs):
        examples = _epoch(relevant, per_query, rng)
        for start in range(0, len(examples), batch_size):
            drawn = examples[start : start + batch_size]
            triples = []
            for query, right in drawn:
                others = wrong[query]
                nearest = others[np.argsort(np.abs(others - right), kind="stable")[:near]]
                hard, chance = rng.choice(others if right < 0 else nearest), rng.choice(others)
                triples.append(looked[query][[max(right, 0), hard, chance]])
            x = torch.from_numpy((np.stack(triples) - centre) / scale)  # (B, 3, inputs)
            bent = torch.relu(x @ weights["first_map"] + weights["first_bias"])
            kept = torch.from_numpy(
                (rng.random(bent.shape, np.float32) >= dropout).astype(np.float32) / (1 - dropout)
            )
            value = (bent * kept) @ weights["second_map"] + weights["second_bias"]  # (B, 3)
            value = value + x[:, :, inputs - numbers :] @ weights["straight"]
            has = torch.tensor([float(right >= 0) for _, right in drawn])
            counts = torch.stack([has, torch.ones_like(has), torch.ones_like(has)], dim=1)
            truth = torch.zeros_like(value)
            truth[:, 0] = 1
            pointwise = binary_cross_entropy_with_logits(value, truth, reduction="none") * counts
            pairwise = -(logsigmoid(value[:, :1] - value[:, 1:]) * has[:, None])
            loss = (pointwise.sum() + pairwise.sum()) / len(drawn)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if (reached := worth()) > best:
            best, network = reached, now()
    return network


def _epoch(
    relevant: Sequence[NDArray[np.bool_]], per_query: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return (query, right candidate) in random order; -1 where the query has none. Queries of right ones only: none."""
    examples: list[tuple[int, int]] = []
    for query, right in enumerate(relevant):
        if right.all():
            continue
        rows = np.flatnonzero(right) if right.any() else np.array([-1])
        examples += [(query, int(row)) for row in rng.permutation(rows)[:per_query]]
    return [examples[number] for number in rng.permutation(len(examples))]


def _moments(looked: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of every entry over all candidates; deviation 1 where an entry never varies."""
    every = np.concatenate(looked).astype(np.float64)
    mean, deviation = every.mean(axis=0), every.std(axis=0)
    return mean.astype(np.float32), np.where(deviation > 1e-6, deviation, 1).astype(np.float32)
