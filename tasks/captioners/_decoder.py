"""A small causal language model that reads a few vectors before its text: built, trained, decoded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.captioners._byte_pairs import BLANK, END

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import GPT2LMHeadModel

Arrays = dict[str, NDArray[Any]]
_HEAD = "lm_head.weight"  # the token embeddings under another name
_SPREAD = 0.02  # standard deviation of fresh weights, as in GPT-2
_IGNORED = -100  # a label that has no loss
_BETAS = (0.9, 0.95)  # of AdamW, as in FROMAGe
_CLIP = 1.0  # norm that gradients are scaled down to


@dataclass(frozen=True)
class Shape:
    """How large a decoder is.

    Args:
        vocabulary: Tokens.
        positions: Prefix and text together, at most.
        layers: Transformer blocks.
        width: Entries of a token's vector.
        heads: Attention heads.
    """

    vocabulary: int
    positions: int
    layers: int
    width: int
    heads: int


def open_decoder(shape: Shape, weights: Mapping[str, NDArray[Any]]) -> "GPT2LMHeadModel":
    """Return the decoder with these weights. Reads nothing of torch's generator, and leaves it as it is.

    Raises:
        ValueError: The weights are not those of such a decoder.
    """
    import torch

    decoder = _bare(shape)
    tensors = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in weights.items()}
    try:
        decoder.load_state_dict({**tensors, _HEAD: tensors["transformer.wte.weight"]}, assign=True)
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"the stored decoder does not fit {shape}: {error}; learn again") from error
    decoder.tie_weights()
    return decoder.eval()


def fresh_weights(shape: Shape, rng: np.random.Generator) -> Arrays:
    """Return first weights, drawn as GPT-2's are: normal, those into the residual stream narrower by depth."""
    weights: Arrays = {}
    for name, tensor in _bare(shape).state_dict().items():
        if name == _HEAD:
            continue
        if name.endswith("bias"):
            weights[name] = np.zeros(tensor.shape, np.float32)
        elif ".ln_" in name:
            weights[name] = np.ones(tensor.shape, np.float32)
        else:
            spread = _SPREAD / (2 * shape.layers) ** 0.5 if name.endswith("c_proj.weight") else _SPREAD
            weights[name] = rng.normal(0, spread, tuple(tensor.shape)).astype(np.float32)
    return weights


def weights_of(decoder: "GPT2LMHeadModel") -> Arrays:
    """Return the decoder's weights by name, as copies."""
    return {
        name: tensor.detach().numpy().copy() for name, tensor in decoder.state_dict().items() if name != _HEAD
    }


def _bare(shape: Shape) -> "GPT2LMHeadModel":
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.positions,
        n_layer=shape.layers,
        n_embd=shape.width,
        n_head=shape.heads,
        resid_pdrop=0,  # dropout would draw from torch's one generator
        embd_pdrop=0,
        attn_pdrop=0,
        bos_token_id=END,
        eos_token_id=END,
    )
    with torch.device("meta"):  # no memory, no draws
        return GPT2LMHeadModel(config)


def token_logits(
    decoder: "GPT2LMHeadModel",
    tokens: "Tensor",
    prefix: "Tensor | None",
    *,
    prefix_tokens: int,
    hidden: "Tensor | None" = None,
) -> "Tensor":
    """Return what the decoder expects at every token but the first. Shape (B, L - 1, V).

    Text stands at the positions it has behind a prefix, whether there is one or not.

    Args:
        decoder: The language model, W wide.
        tokens: (B, L) int64; -1 behind a text.
        prefix: (B, K, W) vectors before the text; None: the text alone.
        prefix_tokens: K.
        hidden: (B, L) bool; tokens the decoder sees as `BLANK`.
    """
    import torch

    seen = tokens.clamp_min(END)
    if hidden is not None:
        seen = seen.masked_fill(hidden, BLANK)
    inputs = decoder.transformer.wte(seen)  # (B, L, W)
    if prefix is not None:
        inputs = torch.cat([prefix, inputs], dim=1)
    first = prefix_tokens if prefix is None else 0
    positions = torch.arange(first, first + inputs.shape[1])[None]
    logits = decoder(inputs_embeds=inputs, position_ids=positions, use_cache=False).logits
    return logits[:, prefix_tokens - first : -1]


def token_losses(
    decoder: "GPT2LMHeadModel",
    tokens: "Tensor",
    prefix: "Tensor | None",
    *,
    prefix_tokens: int,
    hidden: "Tensor | None" = None,
) -> "Tensor":
    """Return the cross-entropy of every token but the first, in nats. Shape (B, L - 1); 0 behind a text.

    The prefix has no loss, and no more has the first token, which is given. Takes what `token_logits` takes.
    """
    import torch

    logits = token_logits(decoder, tokens, prefix, prefix_tokens=prefix_tokens, hidden=hidden)
    labels = tokens[:, 1:].masked_fill(tokens[:, 1:] < 0, _IGNORED)
    return torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=_IGNORED, reduction="none"
    )


@dataclass(frozen=True)
class Descent:
    """How long and how fast to train.

    Args:
        epochs: Passes over the rows, at most.
        batch_size: Rows per step.
        learning_rate: Of AdamW, without weight decay, at the first step; it falls by a line to 0 at the last.
        patience: Epochs without a better held-out judgement before training stops.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int


def descend(
    parameters: "list[nn.Parameter]",
    lengths: NDArray[np.int64],
    loss: "Callable[[NDArray[np.int64]], Tensor]",
    held_out: Callable[[], tuple[float, ...]] | None,
    *,
    descent: Descent,
    rng: np.random.Generator,
) -> tuple[float, ...]:
    """Bring the parameters to the epoch that held-out rows judge best, and return that judgement.

    The parameters as they came count as an epoch: what does not help is not kept. Where nobody judges, all
    epochs are taken and the last is kept.

    Args:
        parameters: What is trained.
        lengths: (N,) tokens of each row; rows of a step are of like length, for little padding.
        loss: Of some rows.
        held_out: Judges by rows not trained on; lower is better. None: nobody judges, and () is returned.
        descent: How.
        rng: Of the order of rows.
    """
    import torch

    optimizer = torch.optim.AdamW(
        parameters, lr=descent.learning_rate, weight_decay=0, betas=_BETAS, fused=True
    )
    steps = descent.epochs * -(-len(lengths) // descent.batch_size)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    judge = held_out or (lambda: ())
    lowest, best, waited = judge(), [p.detach().clone() for p in parameters], 0
    for _ in range(descent.epochs):
        for batch in _batches(lengths, descent.batch_size, rng):
            optimizer.zero_grad()
            loss(batch).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
            optimizer.step()
            falling.step()
        if held_out is None:
            continue
        found, waited = judge(), waited + 1
        if found < lowest:
            lowest, best, waited = found, [p.detach().clone() for p in parameters], 0
        if waited >= descent.patience:
            break
    if held_out is None:
        return ()
    with torch.no_grad():
        for parameter, value in zip(parameters, best, strict=True):
            parameter.copy_(value)
    return lowest


def _batches(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return all rows once, in batches of like length and of random order."""
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]
