"""The paper a method implements, and how we depart from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Where a method comes from.

    Args:
        title: Title of the paper, standard or program.
        authors: First author and "et al.", or the organisation.
        year: Year of publication.
        url: Where to read it.
        departs: How ours differs; empty when it does not.
    """

    title: str
    authors: str
    year: int
    url: str
    departs: str = ""

    def cite(self) -> str:
        """Return one line: authors (year), title, address."""
        return f"{self.authors} ({self.year}), {self.title}. {self.url}"
