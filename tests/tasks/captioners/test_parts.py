"""What a picture looks like, on pictures whose answer is known because they were drawn."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tasks.captioners._colours import TERMS
from tasks.captioners._parts import REDUCED_PX, colour_shares, count_parts, find_background, look, reduce

RED, GREEN, BLUE = (200, 0, 0), (0, 150, 0), (0, 0, 200)


def canvas(width: int = 120, height: int = 100, paper=(255, 255, 255)) -> np.ndarray:
    return np.full((height, width, 3), paper, np.uint8)


def shares_by_loops(terms: np.ndarray, content: np.ndarray) -> dict[str, float]:
    """Terms of the pixels whose four neighbours have the same term, one pixel at a time."""
    count: dict[str, int] = {}
    height, width = terms.shape
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            around = {terms[y - 1, x], terms[y + 1, x], terms[y, x - 1], terms[y, x + 1]}
            if content[y, x] and around == {terms[y, x]}:
                count[TERMS[terms[y, x]]] = count.get(TERMS[terms[y, x]], 0) + 1
    return {term: number / sum(count.values()) for term, number in count.items()}


def test_shares_are_of_the_pixels_inside_areas():
    rng = np.random.default_rng(0)
    terms = np.kron(rng.integers(0, 4, (6, 8)), np.ones((7, 5))).astype(np.uint8)
    terms[rng.random(terms.shape) < 0.02] = 9
    content = rng.random(terms.shape) < 0.9
    found = dict(colour_shares(terms, content))
    assert found == pytest.approx(shares_by_loops(terms, content))
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_lines_alone_count_as_they_are():
    terms = np.full((20, 20), TERMS.index("white"), np.uint8)
    terms[10] = TERMS.index("red")
    assert colour_shares(terms, terms == TERMS.index("red")) == (("red", 1.0),)


def test_background_is_what_the_border_is_connected_to():
    picture = canvas()
    picture[20:80, 20:80] = RED
    picture[40:60, 40:60] = 255  # a white eye
    behind, term = find_background(picture)
    assert term == "white"
    expected = np.ones((100, 120), bool)
    expected[20:80, 20:80] = False
    np.testing.assert_array_equal(behind, expected)


def test_background_of_a_trimmed_cut_out_is_the_paper_in_its_corners():
    image = Image.new("RGB", (100, 100), "white")
    ImageDraw.Draw(image).ellipse((0, 0, 99, 99), fill=RED)
    behind, term = find_background(np.asarray(image))
    assert term == "white"
    assert behind[0, 0]
    assert not behind[50, 0]


def test_a_scene_has_no_background():
    picture = np.concatenate([canvas(paper=BLUE)[:50], canvas(paper=GREEN)[50:]])
    picture[:, 60:] = (picture[:, 60:] // 2) + 60
    behind, term = find_background(picture)
    assert term is None
    assert not behind.any()
    assert look(picture).parts == 1


@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_counts_parts_of_a_kind(number):
    picture = canvas(40 * number + 10)
    for row in range(number):
        picture[30:60, 10 + 40 * row : 40 + 40 * row] = GREEN
    seen = look(picture)
    assert seen.parts == number
    assert seen.alike == (number > 1)


@pytest.mark.parametrize(
    "second",
    [
        (slice(30, 42), slice(60, 90), RED),  # lower
        (slice(30, 60), slice(60, 72), RED),  # narrower
        (slice(30, 60), slice(60, 90), BLUE),  # of another colour
    ],
)
def test_unlike_parts_are_not_counted_together(second):
    picture = canvas()
    picture[30:60, 10:40] = RED
    rows, columns, colour = second
    picture[rows, columns] = colour
    parts, alike = count_parts(picture, picture.min(axis=2) < 250)
    assert (parts, alike) == (2, False)


def test_specks_are_no_parts_and_a_pattern_is_no_number():
    picture = canvas()
    picture[20:80, 20:60] = RED
    picture[5, 5] = picture[90, 110] = 0
    assert look(picture).parts == 1
    dots = canvas()
    for y in range(10, 90, 20):
        for x in range(10, 110, 20):
            dots[y : y + 10, x : x + 10] = RED
    seen = look(dots)
    assert seen.parts == 20
    assert not seen.alike


def test_tells_grain_from_areas_and_both_from_lines():
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 60, (150, 200, 3))
    photo = Image.fromarray((120 + grain).clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    assert look(np.asarray(photo)).style == "photo"
    image = Image.new("RGB", (200, 150), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 20, 160, 130), fill=RED, outline="black", width=3)
    assert look(np.asarray(image)).style == "icon"
    image = Image.new("RGB", (200, 150), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 20, 160, 130), outline="black", width=3)
    seen = look(np.asarray(image))
    assert seen.style == "line drawing"
    assert 0.5 < seen.style_confidence <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 3), (320, 1), (5, 5)])
@pytest.mark.parametrize("kind", ["white", "red", "noise"])
def test_takes_pictures_of_any_size(shape, kind):
    rng = np.random.default_rng(0)
    picture = np.full((*shape, 3), 255 if kind == "white" else (200, 0, 0), np.uint8)
    if kind == "noise":
        picture = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    seen = look(picture)
    assert seen.aspect > 0
    assert sum(share for _, share in seen.colours) == pytest.approx(1)
    if kind != "noise" or shape == (1, 1):
        assert seen.plain is not None


@pytest.mark.parametrize("shape", [(1, 1), (128, 128), (129, 40), (320, 241), (1000, 700)])
def test_reduces_to_blocks_within_the_limit(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    small = reduce(picture)
    assert max(small.shape[:2]) <= REDUCED_PX
    factor = -(-max(shape) // REDUCED_PX)
    block = picture[:factor, :factor].reshape(-1, 3).astype(float).mean(axis=0)
    np.testing.assert_allclose(small[0, 0], block, atol=1)  # rounded in steps


def test_says_how_wide_the_content_is_not_the_picture():
    picture = canvas(100, 100)
    picture[40:50, 10:90] = RED
    assert look(picture).aspect == pytest.approx(8)
