"""A snapshot's rows for PyTorch: the same rows in the same order whatever the number of workers and ranks.

`SnapshotDataset` is looked up by index; `SnapshotStream` yields whole batches, can be resumed, and is what training at scale
wants. Neither holds rows: a worker maps the selection's file and reads the media it is asked for.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from schemas.errors import BadInput, DataError
from schemas.settings import Settings
from storage import lake as lakes
from storage.lake import Lake
from storage.selection import Selection, select
from tasks.export import chosen_rows
from tasks.originals import Kind, Originals

Unit = Literal["pair", "media"]
Row = dict[str, Any]
_MAX_PIXELS = 89_478_485


@dataclass(frozen=True)
class Rows:
    """Rows of a selection and where their media are. Small enough to send to any worker.

    Args:
        selection: The rows, written down.
        originals: Where bytes come from.
        decode: Give pictures as (H, W, 3) uint8 arrays instead of bytes.
        unit: A row per pair, or per medium with its best text.
    """

    selection: Selection
    originals: Originals
    decode: bool
    unit: Unit

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """Rows of the selection's file that count. (N,)."""
        rows = self.selection.rows
        wanted = rows["text_id"].is_valid() if self.unit == "pair" else pc.equal(rows["rank"], 1)
        return np.flatnonzero(wanted.to_numpy())

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self) -> dict[str, object]:
        """Leave the index behind: another process makes its own."""
        return {name: value for name, value in vars(self).items() if name != "index"}

    def take(self, at: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Return rows with their media, in the order asked.

        A medium whose bytes cannot be had is given as None, with the reason in `problem`.
        """
        rows = self.selection.rows.take(self.index[np.asarray(at, np.int64)]).to_pylist()
        found = self.originals.read([row["media_id"] for row in rows], [row["uri"] for row in rows])
        return [row | self._media(data) for row, data in zip(rows, found, strict=True)]

    def _media(self, data: bytes | BadInput | None) -> Row:
        if data is None:
            return {"media": None, "problem": ""}
        if isinstance(data, BadInput):
            return {"media": None, "problem": f"{data.reason}: {data}"}
        if not self.decode:
            return {"media": data, "problem": ""}
        try:
            return {"media": decoded(data), "problem": ""}
        except (OSError, ValueError) as error:
            return {"media": None, "problem": f"corrupt: {error}"}


def decoded(data: bytes) -> NDArray[np.uint8]:
    """Return a picture's pixels: first frame, EXIF orientation applied, alpha on white. (H, W, 3) uint8.

    Raises:
        ValueError: It has more pixels than the decoder's limit.
        OSError: It is no picture that Pillow reads.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > _MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are more than {_MAX_PIXELS}")
        picture = ImageOps.exif_transpose(image)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        return np.asarray(picture.convert("RGB"))


def rows_of(
    lake: Lake | str,
    *,
    where: str | None = None,
    statement: str | None = None,
    at: str | None = None,
    use: str = "training",
    unit: Unit = "pair",
    media: Kind = "thumbnail",
    decode: bool = True,
    cache: Path | None = None,
) -> Rows:
    """Choose rows of a snapshot.

    Args:
        lake: The lake, or where it is.
        where: Condition over `pairs p JOIN media m`; everything kept by default.
        statement: SQL that gives `digest` or `media_id`, and `text_id` for single pairs, in place of a condition.
        at: Snapshot id, tag or digest; newest by default.
        use: Which ranking orders a medium's texts.
        unit: A row per pair, or per medium with its best text.
        media: The bytes as taken in, thumbnails, or none.
        decode: Give pictures as arrays instead of bytes.
        cache: Folder for the file of rows; the setting `XMODAL_CACHE` by default.

    Raises:
        DataError: Nothing fits.
    """
    opened = lakes.open(lake) if isinstance(lake, str) else lake
    chosen, said = chosen_rows(opened, statement=statement, where=where, at=at)
    selection = select(opened, chosen, at=at, where=said, use=use, cache=cache or Settings().cache)
    version = opened.snapshot(selection.snapshot_id).versions["media"]
    originals = Originals(opened.place.address, media, version, opened.fs_options, opened.storage_options)
    rows = Rows(selection, originals, decode, unit)
    if not len(rows):
        raise DataError(f"no {unit} of {selection.snapshot_id} fits {said or 'the snapshot'}")
    return rows


class SnapshotDataset(Dataset[Row]):
    """Rows by index, for PyTorch's own samplers. Items are dictionaries: `media`, `text` and the selection's columns."""

    def __init__(self, lake: Lake | str, **choice: Any) -> None:
        """Choose rows as `rows_of` does."""
        self.rows = rows_of(lake, **choice)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.rows)

    def __getitem__(self, at: int) -> Row:
        """Return one row."""
        return self.rows.take([at])[0]

    def __getitems__(self, at: list[int]) -> list[Row]:
        """Return several rows: media of one batch are read together."""
        return self.rows.take(at)


class SnapshotStream(IterableDataset[Any]):
    """Whole batches, each row exactly once an epoch over all ranks and workers; use with `DataLoader(..., batch_size=None)`.

    Batches are numbered over the whole epoch. Rank r of R takes those with number r modulo R, and its workers take turns, so
    what a rank sees does not depend on how many workers it has, and `state_dict` is one number.

    Args:
        lake: The lake, or where it is.
        batch_size: Rows a batch; the epoch's last may be smaller.
        seed: Of the order of rows; None: by medium, as they lie.
        rank: This process's number.
        world_size: How many processes there are.
        even: Every rank gets as many batches as the others, full ones only: what is over is left out of this epoch.
        collate: Applied to each batch, a list of rows, in the worker.
        choice: As for `rows_of`.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        lake: Lake | str,
        *,
        batch_size: int = 32,
        seed: int | None = 0,
        rank: int = 0,
        world_size: int = 1,
        even: bool = False,
        collate: Callable[[list[Row]], Any] | None = None,
        **choice: Any,
    ) -> None:
        if batch_size < 1 or world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"batch_size and world_size are at least 1 and rank under world_size; found {batch_size}, {world_size}, {rank}"
            )
        self.rows = rows_of(lake, **choice)
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.even, self.collate = even, collate
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        """Return how many batches this rank yields from where it stands to the end of the epoch."""
        return max(0, len(self._numbers()) - self.start)

    def state_dict(self, batches: int) -> dict[str, int | str | None]:
        """Return where to go on after so many batches of this epoch, counted from its beginning.

        The loader reads ahead, so only whoever takes its batches knows how many were used.
        """
        return {
            "epoch": self.epoch, "batches": batches, "seed": self.seed, "batch_size": self.batch_size,
            "world_size": self.world_size, "rows": Path(self.rows.selection.path).stem, "unit": self.rows.unit,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            DataError: It is of other rows or another order, so batches would be repeated or left out.
        """
        own = self.state_dict(0)
        for name in ("seed", "batch_size", "world_size", "rows", "unit"):
            if state[name] != own[name]:
                raise DataError(
                    f"this state was saved with {name} {state[name]!r}, and here it is {own[name]!r}: rows would be "
                    "repeated or left out; open the stream as it was, or begin a new epoch"
                )
        self.epoch, self.start = int(state["epoch"]), int(state["batches"])

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: another order, from its first batch. Call it in the main process before iterating."""
        self.epoch, self.start = epoch, 0

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's batches."""
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        order = self._order()
        for number in self._numbers()[self.start :][first::step]:
            batch = self.rows.take(order[number * self.batch_size : (number + 1) * self.batch_size])
            yield self.collate(batch) if self.collate else batch

    def _numbers(self) -> range:
        """Return the numbers of this rank's batches."""
        if self.even:
            whole = len(self.rows) // self.batch_size
            return range(self.rank, whole - whole % self.world_size, self.world_size)
        return range(self.rank, -(-len(self.rows) // self.batch_size), self.world_size)

    def _order(self) -> NDArray[np.int64]:
        if self.seed is None:
            return np.arange(len(self.rows))
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self.rows))
