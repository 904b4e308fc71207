"""What every rewriter of captions promises: a text in, texts that differ from it in a known way out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from schemas.source import Source


@dataclass(frozen=True)
class Rewrite:
    """A text made from another.

    Args:
        text: The new text.
        of: Row of the text it was made from.
        kind: What was changed: colour, count, object, size ... ; or form, where only the words differ.
        before: The words that were replaced; "" where words were put in.
        after: The words that took their place.
        true: Whether it still fits the medium: a paraphrase does, a flipped attribute does not.
    """

    text: str
    of: int
    kind: str
    before: str
    after: str
    true: bool


class Rewriter(Protocol):
    """Makes hard negatives or paraphrases of captions, each with what was changed.

    Attributes:
        name: Name recipes use.
        source: Where the method comes from.
        makes: "negative": what it makes is wrong. "paraphrase": what it makes is still right.
    """

    name: ClassVar[str]
    source: ClassVar[Source]
    makes: ClassVar[Literal["negative", "paraphrase"]]

    def __call__(
        self,
        texts: Sequence[str],
        *,
        seed: int = 0,
        group: Sequence[str] | None = None,
        facts: Sequence[dict[str, object]] | None = None,
    ) -> list[Rewrite]:
        """Return rewrites, at most a few a text, none for texts that cannot be changed in this way.

        Deterministic in texts, seed and parameters; a text's rewrites do not depend on the other texts unless
        the method says so (objects of the same group).

        Args:
            texts: The captions, English.
            seed: Which of several possible changes.
            group: Subgroup of each text's medium (a folder, a class), for exchanges inside one.
            facts: What was measured on each medium ({"colours": ["red"], "count": 1}), for insertions that must
                be true.
        """
        ...
