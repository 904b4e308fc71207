"""Read YAML that may have been made to hurt: bounded in depth and in what its aliases expand to."""

from typing import Any

import yaml

MAX_DEPTH = 64
MAX_NODES = 100_000


def read(text: str) -> Any:
    """Return the plain value of a YAML text: mappings, lists, texts, numbers, dates.

    Raises:
        ValueError: It is not YAML, is nested too deep, refers to itself, or its aliases make it grow past bounds.
    """
    try:
        _measure(text)
        return yaml.safe_load(text)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - its constructors raise whatever a wrong scalar leads them to
        raise ValueError(str(error) or type(error).__name__) from error


def _measure(text: str) -> None:
    """Count nodes as they would be with every alias written out, without writing any out."""
    sizes: dict[str | None, int] = {}  # by anchor, once it is whole
    opened: list[tuple[str | None, int]] = []  # anchor and nodes before
    nodes = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise ValueError(f"*{event.anchor:.40} refers to itself")
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, nodes))
            nodes += 1
            if len(opened) > MAX_DEPTH:
                raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if nodes > MAX_NODES:
            raise ValueError(f"it grows to more than {MAX_NODES} values")
