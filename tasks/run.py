"""The address of a run: what every verb needs to find its work, small enough to send anywhere."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from schemas.digests import key, params_digest
from schemas.recipes import CurationRecipe
from schemas.settings import DecodeLimits, FetchLimits
from storage.media import MediaStore
from storage.places import Place
from storage.staging import Staging
from storage.versions import Snapshot
from tasks import children

if (
    TYPE_CHECKING
):  # workers open neither the database nor, but to embed, an encoder: they start in half the time
    from storage.lake import Lake
    from storage.running import Board
    from tasks.encoders.contract import Encoder
    from tasks.encoders.identity import EncoderIdentity


@dataclass(frozen=True)
class Run:
    """One run of a recipe over one lake.

    Args:
        run_id: Names the run in every row it writes.
        recipe: What to run.
        place: Where the lake is.
        base: The snapshot it starts from; None in an empty lake.
        encoder: Identity of the recipe's encoder; None without one.
        store_media: Copy media bytes into the lake instead of leaving them in place.
        allow_private: Let URLs lead to private addresses.
        decode: Limits on one file.
        fetch: Limits on downloads.
        replay: Quarantine reasons to try again.
        flow: Name of the flow.
        storage_options: What Lance needs to open the lake, on an object store.
    """

    run_id: str
    recipe: CurationRecipe
    place: Place
    base: Snapshot | None
    encoder: "EncoderIdentity | None"
    store_media: bool = False
    allow_private: bool = False
    decode: DecodeLimits = field(default_factory=DecodeLimits)
    fetch: FetchLimits = field(default_factory=FetchLimits)
    replay: tuple[str, ...] = ()
    flow: str = "curate"
    storage_options: Mapping[str, str] | None = None

    @property
    def judges(self) -> bool:
        """Whether the run decides what is kept; an ingest only adds."""
        return self.flow == "curate"

    @cached_property
    def recipe_digest(self) -> str:
        """Digest over everything that can change the result: recipe, encoder, and that it judged at all."""
        return key(self.flow, self.recipe.digest, self.encoder.digest if self.encoder else "")

    @cached_property
    def inspect_digest(self) -> str:
        """Digest over what inspection depends on; a change means reading the media again."""
        return params_digest(self.recipe.inspect.model_dump() | {"limits": self.decode.model_dump()})[:8]

    @property
    def staging(self) -> Staging:
        """The working folder: the same work on the same snapshot finds its own files again."""
        base = self.base.snapshot_id if self.base else "empty"
        return Staging(self.place, key(base, self.recipe_digest, *self.replay)[:16])

    @property
    def lake(self) -> "Lake":
        """The lake, for the driver."""
        from storage.lake import Lake

        return Lake(self.place.uri, self.storage_options, self.place.options)

    @property
    def media(self) -> MediaStore:
        """The lake's media store."""
        return MediaStore(self.place)

    def build_encoder(self) -> "Encoder":
        """Make the recipe's encoder."""
        from tasks.catalog import build
        from tasks.encoders import ENCODERS

        if self.recipe.encoder is None:
            raise ValueError(f"recipe {self.recipe.name!r} names no encoder")
        return build(ENCODERS, self.recipe.encoder)


@dataclass(frozen=True)
class ShardReport:
    """What a worker says of a shard it finished: counts and costs, never rows.

    Args:
        counts: Anything worth counting, by name.
        items: Rows in.
        cpu_s: CPU seconds of the worker and its children.
        gpu_s: Wall seconds on a GPU slot.
        read_bytes: Bytes read from media.
        written_bytes: Bytes written to staging or the media store.
    """

    counts: dict[str, int] = field(default_factory=dict)
    items: int = 0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass
class Step:
    """One step of the cost ledger; fields as in `ShardReport`, and wall seconds."""

    step: str
    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    items: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, report: ShardReport) -> None:
        """Add a shard's costs and counts."""
        for name in ("cpu_s", "gpu_s", "read_bytes", "written_bytes", "items"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        for name, count in report.counts.items():
            self.count(name, count)

    def count(self, name: str, n: int = 1) -> None:
        """Count something."""
        self.counts[name] = self.counts.get(name, 0) + n


class Ledger:
    """What each step of a run cost and counted."""

    def __init__(self, board: "Board | None" = None) -> None:
        self.board = board  # where whoever looks on reads what is being done
        self.steps: list[Step] = []
        self.started_at = datetime.now(UTC)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Measure a step's wall and driver CPU seconds; shards' costs are added by the caller, also of those done here."""
        step = Step(name)
        if self.board is not None:
            self.board.began(name)
        wall, cpu, reported = time.perf_counter(), time.process_time(), _REPORTED[0]
        try:
            yield step
        finally:
            step.wall_s = time.perf_counter() - wall
            step.cpu_s += max(0.0, time.process_time() - cpu - (_REPORTED[0] - reported))
            self.steps.append(step)
            if self.board is not None:
                counted = dict(sorted(step.counts.items()))
                self.board.ended(
                    {"step": name, "wall_s": round(step.wall_s, 3), "items": step.items, "counts": counted}
                )

    def costs(self) -> list[dict[str, Any]]:
        """Return costs by step, rounded to milliseconds."""
        rows = [asdict(step) for step in self.steps]
        return [
            {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in row.items()
                if name != "counts"
            }
            for row in rows
        ]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return counts by step; steps that counted nothing are left out."""
        return {step.step: dict(sorted(step.counts.items())) for step in self.steps if step.counts}


_REPORTED = [
    0.0
]  # CPU seconds of this process that its shards have measured: a step does not count them again


@contextmanager
def cpu_seconds() -> Iterator[list[float]]:
    """Measure CPU seconds of this process and its children (`tasks.children`); the list's one entry is set at the end."""
    spent = [0.0]
    of_children, own = children.cpu_seconds(), time.process_time()
    yield spent
    own = time.process_time() - own
    spent[0] = max(0.0, own + children.cpu_seconds() - of_children)
    _REPORTED[0] += own


def may_pass(task: object, run: object, state: Any) -> bool:
    """Whether a failed step is worth trying again: storage or network hiccups are, bad recipes and data are not."""
    error = state.result(raise_on_failure=False)
    lasting = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
    return isinstance(error, OSError) and not isinstance(error, lasting)


RETRY: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [1, 5], "retry_condition_fn": may_pass}


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return the package's version, and the commit and whether it is clean where the code is a checkout."""
    try:
        ours = version("xmodal")
    except PackageNotFoundError:
        ours = "0"
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ours
    try:
        # `describe --dirty` would write to the checkout's index
        command = [
            "git",
            "--no-optional-locks",
            "-C",
            str(root),
            "status",
            "--porcelain=v2",
            "--branch",
            "-uno",
        ]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ours
    lines = found.stdout.splitlines()
    commit = next((line.split()[2][:12] for line in lines if line.startswith("# branch.oid ")), "unknown")
    dirty = any(not line.startswith("#") for line in lines)
    return f"{ours}+{commit}{'-dirty' if dirty else ''}"


def new_run_id(now: float) -> str:
    """Return a run id that sorts by time."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    return f"{stamp}-{key(str(now), str(os.getpid()), platform.node())[:6]}"


T = TypeVar("T")
R = TypeVar("R")


class Workers(Protocol):
    """Where shards are worked on: this process, a local Dask cluster, or someone's scheduler."""

    def map(
        self,
        function: Callable[[T], R],
        shards: Sequence[T],
        *,
        label: str,
        gpu: bool = False,
        more: int = 0,
    ) -> Iterator[R]:
        """Yield a result per shard, as they finish. Nothing is started when there are no shards."""
        ...

    def begin(self, function: Callable[[], R], *, gpu: bool = False) -> None:
        """Have each worker that is up call a function while the driver goes on."""
        ...

    def begun(self) -> list[Any]:
        """Return what the calls of `begin` returned so far, each once."""
        ...


class Plan(Protocol):
    """What a plan says of its size."""

    @property
    def items(self) -> int:
        """New and changed items."""
        ...

    @property
    def removed(self) -> int:
        """Items that are gone."""
        ...


@dataclass(frozen=True)
class Job:
    """A run with what it is run by: its ledger and its workers. Stays in the driver."""

    run: Run
    ledger: Ledger
    workers: Workers

    def is_unchanged(self, planned: Plan) -> bool:
        """Whether nothing in the sources differs from the snapshot, and the same recipe made it."""
        base = self.run.base
        known = base is not None and (base.recipe_digest == self.run.recipe_digest or not self.run.judges)
        return known and not planned.items and not planned.removed
