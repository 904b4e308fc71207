"""Colour terms: against the names that a survey of some 200,000 people gave colours, and CIELAB by textbook values."""

import numpy as np
import pytest
from matplotlib.colors import XKCD_COLORS, to_rgb

from tasks.captioners._colours import EXAMPLES, TERMS, lab, name_pixels

# fmt: off
PLAIN = {
    "light", "dark", "bright", "deep", "pale", "vivid", "medium", "very", "dull", "dirty", "faded", "electric", "neon",
    "hot", "baby", "royal", "navy", "sky", "forest", "grass", "lime", "leaf", "kelly", "soft", "strong", "rich",
    "pastel", "dusty", "muted", "true", "primary",
}
# fmt: on


def surveyed(wanted) -> list[tuple[str, np.ndarray]]:
    """Colours of the XKCD survey whose name ends in a basic term, as (term, RGB)."""
    found = []
    for name, code in XKCD_COLORS.items():
        *modifiers, term = name.removeprefix("xkcd:").replace("gray", "grey").split()
        if term in TERMS and wanted(modifiers):
            found.append((term, np.round(np.array(to_rgb(code)) * 255).astype(np.uint8)))
    return found


def agreement(colours: list[tuple[str, np.ndarray]]) -> float:
    named = name_pixels(np.stack([rgb for _, rgb in colours]))
    return float(np.mean([TERMS[row] == term for row, (term, _) in zip(named, colours, strict=True)]))


def test_agrees_with_the_survey_on_plainly_named_colours():
    colours = surveyed(lambda modifiers: PLAIN.issuperset(modifiers))
    assert len(colours) > 150
    assert agreement(colours) > 0.95


def test_agrees_with_the_survey_on_most_others():
    colours = surveyed(lambda modifiers: len(modifiers) == 1 and not PLAIN.issuperset(modifiers))
    assert len(colours) > 200
    assert agreement(colours) > 0.8


@pytest.mark.parametrize(
    ("code", "expected"),  # the usual values of the sRGB primaries under D65
    [
        (0xFFFFFF, (100, 0, 0)),
        (0x000000, (0, 0, 0)),
        (0xFF0000, (53.24, 80.09, 67.20)),
        (0x00FF00, (87.73, -86.18, 83.18)),
        (0x0000FF, (32.30, 79.19, -107.86)),
        (0x808080, (53.59, 0, 0)),
    ],
)
def test_cielab_has_its_textbook_values(code, expected):
    np.testing.assert_allclose(lab(np.array([code >> 16, code >> 8 & 255, code & 255])), expected, atol=0.05)


def test_the_eleven_terms_all_have_examples_that_bear_their_name():
    assert set(EXAMPLES) == set(TERMS)
    assert len(TERMS) == 11
    for term, codes in EXAMPLES.items():
        rgb = np.array([(code >> 16, code >> 8 & 255, code & 255) for code in codes], np.uint8)
        own = np.mean([TERMS[row] == term for row in name_pixels(rgb)])
        assert own > 0.85, term  # a cell of the table may lie over a border


def test_names_keep_the_shape_of_the_picture():
    picture = np.zeros((3, 5, 3), np.uint8)
    picture[1, 2] = 255
    names = name_pixels(picture)
    assert names.shape == (3, 5)
    assert TERMS[names[1, 2]] == "white"
    assert (np.delete(names.ravel(), 7) == TERMS.index("black")).all()
