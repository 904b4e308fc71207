"""Slots on a query: a condition on columns, a set of media, and what to do where nothing passes both."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from schemas.errors import DataError
from schemas.ranking import Query
from schemas.tables import MEDIA
from storage.conditions import LONGEST, checked
from storage.gazetteer import Gazetteer, gazetteer_of
from storage.lake import Lake
from storage.versions import Snapshot
from tasks.slots.read import Kinds, Slot, Understood, understood


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A query with its slots on it.

    Args:
        query: What to ask instead.
        slots: Those that count.
        dropped: Those that were given up because nothing passed, in that order.
    """

    query: Query
    slots: tuple[Slot, ...] = ()
    dropped: tuple[Slot, ...] = ()
    _asked: Query | None = None
    _gazetteer: Gazetteer | None = None
    _options: dict[str, Kinds | Collection[str]] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever asked should be told."""
        said = [str(slot) for slot in self.slots]
        said += [
            f"nothing passed everything that was asked, so {slot.words} ({', '.join(slot.kinds)}) was given up"
            for slot in self.dropped
        ]
        return tuple(said)

    def relaxed(self) -> "Narrowed | None":
        """Return the query without the slot that leaves fewest media, for when nothing was found.

        What is written kind:value is never given up. None: there is nothing to give up.
        """
        given = [slot for slot in self.slots if not slot.explicit]
        if not given or self._asked is None or self._gazetteer is None:
            return None
        dropped = (*self.dropped, min(given, key=lambda slot: (slot.media, slot.start)))
        return _narrowed(self._asked, self._gazetteer, self._options, dropped)


def narrowed(
    lake: Lake,
    snapshot: Snapshot,
    query: Query,
    slots: Kinds | Collection[str] = "auto",
    without: Collection[str] = (),
) -> Narrowed:
    """Return a query with the slots of its text on it. Only queries of media by words have slots.

    Args:
        lake: The lake.
        snapshot: What is searched.
        query: What is looked for.
        slots: Which names count: auto, all, none, or kinds; see `tasks.slots.read`.
        without: Kinds that do not.

    Raises:
        DataError: `slots` or a kind is unknown, or what is written kind:value names nothing in the snapshot.
    """
    if isinstance(slots, str) and slots not in ("auto", "all", "none"):
        raise DataError(f"slots is auto, all, none, or several kinds; found {slots!r}")
    if slots == "none" or query.text is None or query.side != "media":
        return Narrowed(query)
    return _narrowed(query, gazetteer_of(lake, snapshot), {"kinds": slots, "without": without}, ())


def _narrowed(
    query: Query,
    gazetteer: Gazetteer,
    options: dict[str, Kinds | Collection[str]],
    dropped: tuple[Slot, ...],
) -> Narrowed:
    read = understood(gazetteer, query.text or "", ignore=dropped, **options)  # type: ignore[arg-type]
    return Narrowed(_on(query, read, gazetteer), read.slots, dropped, query, gazetteer, options)


def _on(query: Query, read: Understood, gazetteer: Gazetteer) -> Query:
    """Return the query that finds only what passes every slot: columns by condition, texts by the media they leave."""
    # read by itself first: between parentheses of ours it could be understood in another way
    wheres = [f"({checked(query.where, MEDIA.schema.names)})"] if query.where is not None else []
    among = None if query.among is None else set(query.among)
    passing = None
    for slot in read.slots:
        if slot.where is not None and sum(map(len, wheres)) + len(slot.where) < LONGEST - 100:
            wheres.append(f"({slot.where})")
            continue
        mask = gazetteer.having(slot.readings)
        passing = mask if passing is None else passing & mask
    if passing is not None:
        ids = set(gazetteer.ids.filter(passing).to_pylist())
        among = ids if among is None else among & ids
    return replace(
        query,
        text=read.text,
        where=" AND ".join(wheres) if wheres else None,
        among=None if among is None else frozenset(among),
    )
