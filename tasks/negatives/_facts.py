"""What was measured on a medium, read with care: facts are JSON that others wrote."""

from collections.abc import Mapping

from tasks.factual.attributes import ATTRIBUTES, COLOUR, SIZE


def colours_of(facts: Mapping[str, object]) -> list[str]:
    """Return the known colours in "colours", the first being the most of the picture."""
    named = facts.get("colours", ())
    if not isinstance(named, (list, tuple)):
        return []
    low = [str(each).lower() for each in named]
    return [colour for colour in low if ATTRIBUTES.get(colour) == COLOUR]


def count_of(facts: Mapping[str, object]) -> int | None:
    """Return "count", None where it is no number of things."""
    count = facts.get("count")
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None


def size_of(facts: Mapping[str, object]) -> str | None:
    """Return "size" where it is a word for a size."""
    size = facts.get("size")
    return size.lower() if isinstance(size, str) and ATTRIBUTES.get(size.lower()) == SIZE else None


def style_of(facts: Mapping[str, object]) -> str | None:
    """Return "style" where it is a word that goes before a noun."""
    style = facts.get("style")
    return style.lower() if isinstance(style, str) and style.lower() in _STYLES else None


_STYLES = (
    "black-and-white",
    "cartoon",
    "flat",
    "hand-drawn",
    "monochrome",
    "painted",
    "pixelated",
    "stylized",
)
