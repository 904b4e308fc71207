"""Which of the eleven basic colour terms a pixel has, by the nearest example in CIELAB."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

TERMS = ("black", "white", "red", "green", "yellow", "blue", "brown", "purple", "pink", "orange", "grey")
_STEP = 8  # levels of a channel that are named alike: 32 ** 3 colours in the table
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_D65 = np.array([0.9505, 1.0, 1.089])

# Examples of each term, sRGB. A term covers what is nearest to one of them, so that it may be of any shape:
# brown is dark orange, pink is light red, and a single focus per term would get neither.
# fmt: off
EXAMPLES: dict[str, tuple[int, ...]] = {
    "black": (0x000000, 0x101010, 0x1A1A1E, 0x0A0A18),
    "white": (0xFFFFFF, 0xF4F4F4, 0xFFFFF0, 0xF2F6FF),
    "grey": (0x404040, 0x606060, 0x808080, 0xA0A0A0, 0xC0C0C0, 0x59656D, 0x8A8D94, 0x8C8880),
    "red": (0xFF0000, 0xE50000, 0xC00000, 0x8B0000, 0xD8362C, 0xB02A30, 0x600008, 0xF04040),
    "orange": (0xFF8000, 0xF97306, 0xFF6A20, 0xFF9C28, 0xE88020, 0xFFB060, 0xD8691A),
    "yellow": (0xFFFF00, 0xFFF040, 0xFFE000, 0xF0D050, 0xFFFF90, 0xD8C820, 0xE8C020, 0xFFF8B0, 0xC8B830, 0xF0B810, 0xE8C870),
    "green": (0x00A000, 0x00E000, 0x15B01A, 0x006400, 0x40C040, 0x90E090, 0x6B8E23, 0x556B2F, 0xA0D020,
              0x80FF40, 0x2E8B57, 0x003000, 0xC0F0B0, 0x8FA878, 0x00B070, 0x70A050, 0x708830, 0x98FF98),
    "blue": (0x0000FF, 0x0343DF, 0x000080, 0x4169E1, 0x1E90FF, 0x87CEEB, 0xB0D8F8, 0x006080, 0x3070A0,
             0x00A0D0, 0x00C0F0, 0x6080B0, 0x000048, 0x5050FF, 0x1C2A60, 0x8090E0, 0xA0B8D8, 0x60D8F0,
             0x005878, 0xC0E8F8, 0x0818C8, 0xA8C0F8),
    "purple": (0x7E1E9C, 0x800080, 0x4B0082, 0x9050D0, 0xB080E0, 0x602070, 0xC090D0, 0xA000C0, 0x350050,
               0xC8B0E8, 0x8A5A90, 0x7020E0, 0xB030D0, 0x501040, 0xA060A0),
    "pink": (0xFF81C0, 0xFFC0CB, 0xFF69B4, 0xF0A0A0, 0xFF1493, 0xE05090, 0xFFB0E0, 0xE8A0B8, 0xFF50D0,
             0xD06080, 0xFF8090, 0xF8D0D8, 0xC84880),
    "brown": (0x653700, 0x8B4513, 0x964B00, 0x503010, 0xA0703C, 0xA0522D, 0x3C1E0A, 0xB08050, 0xC8A878,
              0x7A5C44, 0x8A7040, 0x684828, 0x9C6858, 0xAD8150,
              0x460800, 0xA87010, 0x946000),
}
# fmt: on


def lab(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """Return CIELAB (D65) of sRGB colours of 0 to 255. (..., 3) -> (..., 3); L* is 0 to 100."""
    part = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    t = linear @ _TO_XYZ.T / _D65
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def name_pixels(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the row in `TERMS` of each pixel. (..., 3) uint8 RGB -> (...) uint8."""
    cell = picture // _STEP
    levels = 256 // _STEP
    index = (cell[..., 0].astype(np.int32) * levels + cell[..., 1]) * levels + cell[..., 2]
    return _table()[index]


@functools.lru_cache(maxsize=1)
def _table() -> NDArray[np.uint8]:
    """Return the term of every cell of the RGB cube. (32768,)."""
    levels = np.arange(0, 256, _STEP) + _STEP / 2 - 0.5
    # The outer cells stand for the outermost colour: pure white is white, and pure red as red as can be.
    levels[0], levels[-1] = 0, 255
    cells = lab(np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3))
    terms = [TERMS.index(term) for term, codes in EXAMPLES.items() for _ in codes]
    codes = np.array([code for codes in EXAMPLES.values() for code in codes])
    examples = lab(np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1))
    nearest = np.empty(len(cells), np.uint8)
    for start in range(0, len(cells), 4096):
        part = cells[start : start + 4096]
        distance = ((part[:, None] - examples) ** 2).sum(axis=2)
        nearest[start : start + 4096] = np.array(terms, np.uint8)[distance.argmin(axis=1)]
    return nearest
