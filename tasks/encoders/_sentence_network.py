"""MiniLM's network and tokenizer, opened from the files of its package.

torch's own encoder layers take the weights of BERT and give the states that transformers' BERT gives, without an
import that costs every worker twice as much as torch itself.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

LAYERS = 6
HEADS = 12
WIDTH = 384
INNER = 1536
WORDS = 30522
POSITIONS = 512
EPSILON = 1e-12


class SentenceNetwork(nn.Module):
    """BERT of six layers, without the pooler that sentence vectors do not use.

    Source: Wang et al., MiniLM, 2020, https://arxiv.org/abs/2002.10957; layers as in Devlin et al., BERT, 2018.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.segments = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, dropout=0, activation="gelu", layer_norm_eps=EPSILON, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the last states, (B, T, 384), of token ids, (B, T). Those outside of the mask mean nothing.

        Args:
            ids: Of the tokens, at most 512 of a text.
            mask: True where there is a token, False where there is padding.
        """
        places = torch.arange(ids.shape[1])
        states = self.norm(self.words(ids) + self.positions(places) + self.segments.weight[0])
        return self.encoder(states, src_key_padding_mask=~mask)


def open_network(folder: Path) -> SentenceNetwork:
    """Return the network with the weights of `model.safetensors`, ready to infer.

    Raises:
        KeyError: The file holds other weights.
    """
    stored = load_file(folder / "model.safetensors")
    with torch.device("meta"):  # no first values are drawn, the caller's random state stays as it is
        network = SentenceNetwork()
    network.load_state_dict(_renamed(stored), assign=True)
    return network.eval().requires_grad_(False)


@functools.lru_cache(maxsize=4)
def open_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """Return the tokenizer, set to cut at `max_tokens` and to pad to the longest of a batch."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding()
    return tokenizer


def tokens_of(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of texts, both (B, T)."""
    read = tokenizer.encode_batch_fast(list(texts))
    ids = torch.tensor([one.ids for one in read])
    return ids, torch.tensor([one.attention_mask for one in read], dtype=torch.bool)


def _renamed(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return BERT's weights under the names of torch's layers."""
    renamed = {
        "words.weight": stored["embeddings.word_embeddings.weight"],
        "positions.weight": stored["embeddings.position_embeddings.weight"],
        "segments.weight": stored["embeddings.token_type_embeddings.weight"],
        "norm.weight": stored["embeddings.LayerNorm.weight"],
        "norm.bias": stored["embeddings.LayerNorm.bias"],
    }
    parts = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for number in range(LAYERS):
        theirs, ours = f"encoder.layer.{number}.", f"encoder.layers.{number}."
        for kind in ("weight", "bias"):
            joined = [stored[f"{theirs}attention.self.{side}.{kind}"] for side in ("query", "key", "value")]
            renamed[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(joined)
            for mine, part in parts.items():
                renamed[f"{ours}{mine}.{kind}"] = stored[f"{theirs}{part}.{kind}"]
    return renamed
