"""The small cross-modal space: words near words, pictures near the names of their colours."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.encoders.hashing import COLOURS, Hashing, colour_name, sample

PAINT = {
    "red": (220, 20, 20),
    "green": (20, 160, 40),
    "blue": (20, 40, 220),
    "yellow": (240, 230, 30),
    "black": (5, 5, 5),
    "white": (255, 255, 255),
    "orange": (255, 140, 0),
    "purple": (128, 0, 160),
}


def square(colour: str, background: str = "white", size: int = 64) -> NDArray[np.uint8]:
    picture = np.full((size, size, 3), PAINT[background], dtype=np.uint8)
    picture[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = PAINT[colour]
    return picture


@pytest.mark.parametrize("dim", [64, 256])
@pytest.mark.parametrize("colour", ["red", "green", "blue", "yellow", "orange", "purple"])
def test_a_square_is_nearest_to_the_name_of_its_colour(colour: str, dim: int) -> None:
    encoder = Hashing(dim=dim, seed=1)
    names = [name for name in PAINT if name not in ("white", "black")]
    similarity = encoder([square(colour)])[0] @ encoder(names).T
    assert names[int(similarity.argmax())] == colour


def test_a_square_finds_its_caption_among_others() -> None:
    encoder = Hashing()
    colours = ["red", "green", "blue", "yellow"]
    captions = [f"a {colour} square on white" for colour in colours]
    similarity = encoder([square(colour) for colour in colours]) @ encoder(captions).T
    assert similarity.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_a_dark_picture_is_nearer_to_dark_than_to_bright() -> None:
    dark, bright = Hashing()(["dark", "bright"])
    night, snow = Hashing()([square("black", "black"), square("white", "white")])
    assert night @ dark > night @ bright
    assert snow @ bright > snow @ dark


def test_the_same_palette_laid_out_otherwise_is_near_but_not_equal() -> None:
    left, right = np.zeros((2, 32, 32, 3), np.uint8)
    left[:, :16], right[:, 16:] = 255, 255
    one, other = Hashing()([left, right])
    assert 0.8 < one @ other < 0.999


def test_near_spellings_are_nearer_than_strangers() -> None:
    harbour, harbor, mountain = Hashing(dim=512)(["harbour", "harbor", "mountain"])
    assert harbour @ harbor > harbour @ mountain


def test_case_and_unicode_form_do_not_matter_and_word_order_does_not() -> None:
    composed, decomposed, shouted = Hashing()(["café rouge", "cafe\u0301 rouge", "ROUGE CAFÉ"])
    np.testing.assert_allclose(composed, decomposed, atol=1e-6)
    np.testing.assert_allclose(composed, shouted, atol=1e-6)


def test_unrelated_words_are_as_far_apart_as_chance_puts_them() -> None:
    vectors = Hashing(dim=256)([chr(0x4E00 + i) for i in range(300)])  # one character each: nothing in common
    similarity = (vectors @ vectors.T)[~np.eye(300, dtype=bool)]
    assert abs(similarity.mean()) < 0.005
    assert abs(similarity.std() - 1 / np.sqrt(256)) < 0.005


def test_empty_texts_share_one_direction_whatever_the_width() -> None:
    for dim in (1, 2, 7, 64):
        empty, blank, text = Hashing(dim=dim)(["", " \n ", "a b c d"])
        np.testing.assert_array_equal(empty, blank)
        np.testing.assert_allclose(np.linalg.norm([empty, text], axis=1), 1, atol=1e-5)


def test_another_process_gives_the_same_bytes() -> None:
    code = (
        "import numpy as np; from tasks.encoders.hashing import Hashing; e = Hashing();"
        "print((e(['a red square'])[0].tobytes() + e([np.full((9, 5, 3), 77, np.uint8)])[0].tobytes()).hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((1, 0, 0), "red"),
        ((0, 0, 1), "blue"),
        ((0, 0.5, 0), "green"),
        ((1, 1, 0), "yellow"),
        ((1, 0.65, 0), "orange"),
        ((0.55, 0.27, 0.07), "brown"),
        ((0.5, 0, 0.5), "purple"),
        ((1, 0.75, 0.8), "pink"),
        ((0.5, 0.5, 0.5), "grey"),
        ((0.02, 0.02, 0.02), "black"),
        ((1, 1, 1), "white"),
    ],
)
def test_names_the_colours_of_the_css_table(rgb: tuple[float, float, float], name: str) -> None:
    assert colour_name(*rgb) == name
    assert name in COLOURS


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (31, 33), (2000, 3)])
def test_samples_pictures_of_any_size(shape: tuple[int, int]) -> None:
    rows = np.broadcast_to(np.linspace(0, 255, shape[0]).astype(np.uint8)[:, None, None], (*shape, 3))
    points = sample(rows)
    assert points.shape == (32, 32, 3)
    assert (np.diff(points[:, 0, 0].astype(int)) >= 0).all()  # in order, top to bottom


def test_refuses_sounds_and_no_width() -> None:
    with pytest.raises(ValueError, match="sounds"):
        Hashing()([np.zeros(9, np.float32)])
    with pytest.raises(ValueError, match="at least 1"):
        Hashing(dim=0)


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ("red", "one text"),
        ([np.zeros((4, 4), np.uint8)], r"shape \(4, 4\)"),
        ([np.zeros((4, 4, 3), np.float32)], "float32 array"),
        ([np.zeros((0, 4, 3), np.uint8)], r"\(0, 4, 3\)"),
        ([None], "NoneType"),
    ],
    ids=str,
)
def test_says_what_it_found_instead_of_an_item(items: object, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        Hashing()(items)  # type: ignore[arg-type]
