"""Names and texts in statements of SQL, and in Lance's filters: the one place that quotes them."""

from collections.abc import Iterable


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: Iterable[str]) -> str:
    """Return texts as what stands between the brackets of IN: NULL, which equals nothing, where there are none."""
    return ", ".join(map(literal, texts)) or "NULL"
