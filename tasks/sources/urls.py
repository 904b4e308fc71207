"""Media behind http(s) URLs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from schemas.errors import BadInput
from schemas.items import Item, ItemText
from schemas.source import Source
from tasks.sources._locators import Locators
from tasks.sources._places import readable, scheme
from tasks.sources._rows import EXTENSIONS, Row, extension, lines
from tasks.sources._texts import Described, checked
from tasks.sources.fetch import checked_url
from tasks.sources.manifest import LOCATOR_MAX_CHARS, Manifest


@dataclass(frozen=True)
class Urls:
    """A list of URLs: one a line, then optionally a tab and a caption; or a manifest with a column of URLs.

    Empty lines and lines that start with "#" are skipped. Listing fetches nothing.

    Args:
        location: A path or fsspec URL; .csv, .tsv, .jsonl, .ndjson and .parquet are read as manifests.
        url_column: The column of a manifest that holds URLs.
        allow_unpaired: Take a manifest's rows without a text although it has a column for it.
        text_max_chars: Longer captions are refused, in characters.
    """

    name: ClassVar[str] = "urls"
    source: ClassVar[Source] = Source(
        title="img2dataset: Easily turn large sets of image urls to an image dataset",
        authors="Beaumont",
        year=2021,
        url="https://github.com/rom1504/img2dataset",
        departs="lists only; every address is checked when it is fetched",
    )

    location: str
    url_column: str = "url"
    allow_unpaired: bool = False
    text_max_chars: int = 20_000

    def __post_init__(self) -> None:
        if self.text_max_chars < 1:
            raise ValueError(f"text_max_chars must be positive, not {self.text_max_chars}")

    def __call__(self) -> Iterator[Item]:
        """Yield one item a URL, in the list's order.

        Raises:
            SourceError: The list cannot be read, or a manifest lacks the column.
        """
        if extension(self.location) not in EXTENSIONS:
            unique = Locators()
            for row in lines(self.location):
                item = self._item(row)
                yield replace(item, locator=unique(item.locator))
            return
        manifest = Manifest(
            self.location,
            media_column=self.url_column,
            allow_unpaired=self.allow_unpaired,
            text_max_chars=self.text_max_chars,
        )
        for item in manifest():
            yield (
                item
                if _is_url(item)
                else replace(
                    item,
                    uri="",
                    problem="bad-url",
                    problem_message=f"{item.locator:.200} is not an http(s) URL",
                )
            )

    def _item(self, row: Row) -> Item:
        url, _, caption = row.values.get("line", "").partition("\t")
        url, described, problem, message = url.strip(), Described(), row.problem, row.message
        try:
            if not problem:
                text = checked(caption.strip(), "the caption", self.text_max_chars)
                described = Described((ItemText(text),) if text else ())
                checked_url(url)
        except BadInput as error:
            problem, message = error.reason, error.message
        named = url and len(url) <= LOCATOR_MAX_CHARS
        return Item(
            locator=readable(url) if named else f"row:{row.digest}",
            uri="" if problem else url,
            fingerprint=described.digest(url, problem),
            texts=described.texts,
            problem=problem,
            problem_message=message,
        )


def _is_url(item: Item) -> bool:
    """Tell whether a manifest's item is what a list of URLs may hold: a URL, or refused for its row."""
    refused_for_row = item.problem and item.problem not in (
        "missing-file",
        "outside-root",
        "not-a-file",
        "unreadable",
    )
    return bool(refused_for_row) or scheme(item.uri) in ("http", "https")
