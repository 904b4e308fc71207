"""Texts to token numbers and back: a byte-level byte-pair encoding learnt from the corpus."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = 0  # stands before the first token of a text and after its last
BLANK = 1  # stands in for a token that is hidden while training
_SPECIAL = ("<|end|>", "<|blank|>")
_BYTES = 256
_BROKEN = "\ufffd"  # bytes that are no character
LEAST = _BYTES + len(_SPECIAL)  # the smallest vocabulary: every byte, and the special tokens


def learn_byte_pairs(texts: Sequence[str], vocabulary: int) -> "Tokenizer":
    """Return a tokenizer of at most `vocabulary` tokens; fewer where few byte pairs come twice."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)  # a word is one token wherever it stands
    tokenizer.decoder = Decoder()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    return tokenizer


def to_array(tokenizer: "Tokenizer") -> NDArray[np.uint8]:
    """Return the tokenizer's JSON as bytes, (B,)."""
    return np.frombuffer(tokenizer.to_str().encode(), np.uint8).copy()


def from_array(stored: NDArray[np.uint8]) -> "Tokenizer":
    """Return the tokenizer that `to_array` stored.

    Raises:
        ValueError: The bytes are no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(stored.tobytes().decode())
    except Exception as error:  # the library raises no class of its own
        raise ValueError(f"the stored tokenizer cannot be read: {error}; learn again") from error


def token_rows(tokenizer: "Tokenizer", texts: Sequence[str], longest: int) -> NDArray[np.int64]:
    """Return each text's tokens between two `END`s, then -1. Shape (N, longest + 2).

    A text of more than `longest` tokens is cut there and has no `END` behind it: it did not end.
    """
    rows = np.full((len(texts), longest + 2), -1, np.int64)
    for row, encoded in zip(rows, tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True):
        tokens = [END, *encoded.ids, END][: longest + 1 + (len(encoded.ids) <= longest)]
        row[: len(tokens)] = tokens
    return rows


def to_text(tokenizer: "Tokenizer", tokens: Sequence[int], *, ended: bool) -> str:
    """Return what the tokens say; without its last word where the text did not end."""
    text = str(tokenizer.decode(list(tokens), skip_special_tokens=True)).replace(_BROKEN, "").strip()
    return text if ended or " " not in text else text.rsplit(" ", 1)[0]
