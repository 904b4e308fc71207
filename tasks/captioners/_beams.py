"""Writing by a small language model: the likeliest continuations of a prefix, some of them side by side."""

from typing import TYPE_CHECKING, NamedTuple

from tasks.captioners._byte_pairs import BLANK, END

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GPT2LMHeadModel

_NEVER = -1e9  # the score of what may not be said; minus infinity would make NaN of a difference


class Written(NamedTuple):
    """What was written behind one prefix.

    Args:
        tokens: The text's tokens, without `END`.
        ended: Whether the decoder came to an end by itself.
        share: Geometric mean of the tokens' probabilities, `END` included; NaN where several beams were kept.
    """

    tokens: tuple[int, ...]
    ended: bool
    share: float = float("nan")


def write(
    decoder: "GPT2LMHeadModel", prefix: "Tensor", *, beams: int, longest: int, temperature: float = 1.0
) -> list[Written]:
    """Return the likeliest text found behind each prefix; no two tokens come twice in the same order.

    Each step keeps the `beams` continuations of the highest total log-probability, ended ones among them. At
    the end the one with the highest mean log-probability a token is taken. One beam is greedy search.

    Args:
        decoder: The language model, W wide.
        prefix: (B, K, W) vectors before the text.
        beams: Texts kept side by side for each.
        longest: Tokens of a text, at most.
        temperature: Divides the logits where probabilities are read; what is written does not depend on it.
    """
    import torch
    from transformers import DynamicCache

    rows, prefix_tokens = prefix.shape[:2]
    with torch.inference_mode():
        cache = DynamicCache(config=decoder.config)
        begun = decoder.transformer.wte(torch.full((rows, 1), END))
        inputs = torch.cat([prefix, begun], dim=1).repeat_interleave(beams, dim=0)
        positions = torch.arange(prefix_tokens + 1)[None]
        total = torch.full((rows, beams), float(_NEVER))
        total[:, 0] = 0  # all beams are alike at first: one goes on
        history = torch.empty((rows * beams, 0), dtype=torch.int64)
        sure, said = torch.zeros(rows * beams, dtype=torch.float64), torch.zeros(rows * beams)
        for _ in range(longest + 1):
            logits = decoder(
                inputs_embeds=inputs, position_ids=positions, past_key_values=cache, use_cache=True
            ).logits[:, -1]
            step = _allowed(torch.log_softmax(logits, dim=1), history)  # (B * beams, V)
            choices = (total.flatten()[:, None] + step).view(rows, -1)
            total, chosen = choices.topk(beams, dim=1)
            parent = (chosen // step.shape[1] + beams * torch.arange(rows)[:, None]).flatten()
            token = (chosen % step.shape[1]).flatten()
            if beams == 1 and not (ended := (history == END).any(dim=1)).all():
                counts = ~ended & ((token == END) | torch.tensor(history.shape[1] < longest))
                log = torch.log_softmax(logits / temperature, dim=1).gather(1, token[:, None])[:, 0]
                sure, said = sure + torch.where(counts, log, 0).double(), said + counts
            history = torch.cat([history[parent], token[:, None]], dim=1)
            if bool((history == END).any(dim=1).all()):
                break
            if beams > 1:
                cache.reorder_cache(parent)  # type: ignore[arg-type]
            inputs, positions = decoder.transformer.wte(token[:, None]), positions[:, -1:] + 1
        lengths = (history != END).sum(dim=1) + (history == END).any(dim=1)  # `END` counts once
        best = (total / lengths.view(rows, beams)).argmax(dim=1) + beams * torch.arange(rows)
        share = (sure / said).exp().tolist() if beams == 1 else [float("nan")] * rows
    return [_cut(row, longest, one) for row, one in zip(history[best].tolist(), share, strict=True)]


def _allowed(step: "Tensor", history: "Tensor") -> "Tensor":
    """Return the log-probabilities of what may follow; an ended text stays as it is, at no cost."""
    step[:, BLANK] = _NEVER
    if not history.shape[1]:
        return step
    again = history[:, :-1] == history[:, -1:]  # (N, T - 1): the last token stood here before
    rows, places = again.nonzero(as_tuple=True)
    step[rows, history[rows, places + 1]] = _NEVER
    ended = (history == END).any(dim=1)
    step[ended] = _NEVER
    step[ended, END] = 0
    return step


def _cut(tokens: list[int], longest: int, share: float) -> Written:
    ended = END in tokens
    return Written(tuple(tokens[: tokens.index(END)] if ended else tokens[:longest]), ended, share)
