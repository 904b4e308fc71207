"""Texts that name a thing, by hand."""

import numpy as np
import pytest

from tasks.assessors.contract import Drafts
from tasks.assessors.substance import Substance


def drafts(*phrases):
    n = len(phrases)
    nothing = [[] for _ in phrases]
    return Drafts(
        texts=[", ".join(said) for said in phrases], phrases=list(phrases), media_vec=np.zeros((n, 2), np.float32),
        gallery_vec=np.zeros((1, 2), np.float32), own=np.zeros(n, np.int64),
        encode=lambda texts: np.zeros((len(texts), 2), np.float32), negatives=nothing, evidence=nothing,
        generator=["x"] * n, raw=nothing, language=["en"] * n,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (["a white icon"], 0),
        (["drawing"], 0),
        (["red"], 0),
        (["red", "a cat"], 1),
        (["two cats"], 1),
        (["clip art"], 0),
    ],
)
def test_style_and_colour_alone_name_nothing(said, score):
    assert Substance()(drafts(said)).score.tolist() == [score]


def test_each_statement_is_told_apart():
    found = Substance()(drafts(["red", "a cat", "an icon"], ["dog"]))
    assert [row.tolist() for row in found.per_phrase] == [[0, 1, 0], [1]]
    assert len(Substance()(drafts()).score) == 0
