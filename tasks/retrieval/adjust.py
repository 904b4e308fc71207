"""Similarities fitted to a snapshot's gallery, kept in the lake, and applied to candidates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from schemas.errors import DataError
from schemas.ranking import Candidates
from schemas.recipes import MethodRef
from storage import checkpoints
from storage.lake import Lake
from storage.matrix import Matrix, matrix_of
from storage.search import EncoderTable
from storage.versions import Snapshot
from tasks.catalog import build
from tasks.diagnostics.hubness import Hubness, HubnessReport
from tasks.similarities import SIMILARITIES, Choice, Similarity, Validation, tune
from tasks.similarities.bank_norm import BankNorm
from tasks.similarities.contract import Fitted
from tasks.similarities.csls import CSLS
from tasks.similarities.inverse_convolution import InverseConvolution
from tasks.similarities.sinkhorn import Sinkhorn

KIND = "similarity"
BANK = 4096  # texts that are fitted on, at most
ASKED = 1024  # further texts that settings compete on, at most
OPEN = 4  # fitted similarities kept in this process
_PREFIX = "fitted."
_OPEN: dict[tuple[str, str], "Adjusted"] = {}
FEWEST = 50  # texts to compete on, below which nothing is told from chance
SETTINGS: tuple[Similarity, ...] = (
    CSLS(),
    BankNorm(beta_queries=5.0),
    BankNorm(beta_queries=10.0),
    BankNorm(beta_queries=20.0),
    BankNorm(beta_queries=10.0, dynamic=True),
    Sinkhorn(beta=10.0),
    InverseConvolution(rate_gallery=1.0, rate_queries=1.0),
)


@dataclass(frozen=True)
class Adjusted:
    """A similarity fitted to the media of a snapshot.

    Args:
        id: Of the checkpoint that holds it.
        ref: The method.
        why: Why it was chosen, for a person.
        rows: (G,) rows of the encoder's matrix it was fitted on, ascending.
        fitted: What it knows.
    """

    id: str
    ref: MethodRef
    why: str
    rows: NDArray[np.int64]
    fitted: Fitted

    def __call__(self, matrix: Matrix, vector: NDArray[np.float32], found: Candidates) -> Candidates:
        """Return candidates in the adjusted order; those that are no part of the gallery come last, as they were."""
        at = _rows_of(matrix, found.item_ids)
        place = np.minimum(np.searchsorted(self.rows, at), len(self.rows) - 1)
        inside = (at >= 0) & (self.rows[place] == at)
        if not inside.any():
            return found
        gallery = self._gallery(matrix)
        cosines = (gallery[place[inside]] @ vector)[None].astype(np.float32)
        scores = np.full(len(found), -np.inf, np.float32)
        scores[inside] = self.fitted(cosines, place[inside][None])[0]
        order = np.lexsort((np.array(found.item_ids, dtype=np.str_), -scores))
        return replace(
            found,
            item_ids=tuple(found.item_ids[row] for row in order),
            scores=np.nan_to_num(scores[order], neginf=float(np.min(scores[inside])) - 1.0),
            exact=False,
            notes=(*found.notes, f"ordered by {self.ref.name}: {self.why}"),
            facts={**found.facts, "similarity": self.id},
        )

    def _gallery(self, matrix: Matrix) -> NDArray[np.float32]:
        return self.fitted.gallery(matrix.vectors.values[self.rows])


def fit(
    lake: Lake,
    snapshot: Snapshot,
    entry: EncoderTable,
    pairs: Sequence[tuple[str, str]],
    *,
    settings: Sequence[Similarity] = SETTINGS,
    seed: int = 0,
    run_id: str = "",
) -> tuple[str, Choice, HubnessReport]:
    """Choose a similarity for a snapshot's media, fit it, and keep it. Returns its id, the choice, and how hubby media are.

    Half of the texts of kept pairs are the bank that settings are fitted on, the others compete; what wins must gain more than
    chance explains, else the cosine is kept. Media are ranked for texts.

    Args:
        lake: The lake.
        snapshot: Whose media.
        entry: The encoder's table.
        pairs: (media_id, text_id) that are kept.
        settings: What competes.
        seed: Of the draw, and of the bootstrap.
        run_id: Who asked.

    Raises:
        DataError: There are too few pairs to choose by.
    """
    media, texts = (matrix_of(lake, snapshot, entry.table, side) for side in ("media", "text"))
    rows = np.flatnonzero(media.kept)
    links = np.array(
        [
            (m, t)
            for m, t in zip(
                _rows_of(media, [pair[0] for pair in pairs]),
                _rows_of(texts, [pair[1] for pair in pairs]),
                strict=True,
            )
            if m >= 0 and t >= 0 and media.kept[m]
        ],
        np.int64,
    ).reshape(-1, 2)
    asked_of = np.unique(links[:, 1])
    if len(asked_of) < 2 * FEWEST:
        raise DataError(
            f"{len(asked_of)} texts with a medium are too few to choose a similarity by: it takes {2 * FEWEST}"
        )
    drawn = np.random.default_rng(seed).permutation(asked_of)
    half = len(drawn) // 2
    bank, asked = np.sort(drawn[:half][:BANK]), np.sort(drawn[half:][:ASKED])
    of = links[np.isin(links[:, 1], asked)]
    relevant = csr_array(
        (np.ones(len(of)), (np.searchsorted(asked, of[:, 1]), np.searchsorted(rows, of[:, 0]))),
        shape=(len(asked), len(rows)),
    )
    gallery, values = media.vectors.values[rows], texts.vectors.values
    choice = tune(settings, Validation(gallery, values[bank], values[asked], relevant), seed=seed)
    fitted = choice.method.fit(gallery, values[bank])
    report = Hubness().report(gallery, values[asked])
    ref = MethodRef(name=choice.method.name, params=_params(choice.method))
    meta = {
        "kind": KIND, "recipe": ref.model_dump(mode="json"), "snapshot_id": snapshot.snapshot_id,
        "snapshot_digest": snapshot.digest, "seed": seed, "loss": None, "head": None, "run_id": run_id,
        "table": entry.table, "vectors": media.vectors.key, "why": choice.why,
    }  # fmt: skip
    state = {f"{_PREFIX}{name}": array for name, array in fitted.state().items()} | {"rows": rows}
    return checkpoints.save(lake, state, meta), choice, report


def stored(lake: Lake, snapshot: Snapshot, entry: EncoderTable, matrix: Matrix) -> Adjusted | None:
    """Return the similarity that was fitted to these very media last; None where none was, or the cosine was kept."""
    found = None
    for one, meta in checkpoints.checkpoints(lake).items():
        ours = meta.get("kind") == KIND and meta.get("table") == entry.table
        if ours and meta.get("vectors") == matrix.vectors.key and meta["snapshot_digest"] == snapshot.digest:
            found = (one, meta) if found is None or meta["run_id"] >= found[1]["run_id"] else found
    if found is None or found[1]["recipe"]["name"] == "raw":
        return None
    return _opened(lake.uri, found[0], lake)


def _opened(uri: str, checkpoint_id: str, lake: Lake) -> Adjusted:
    """Return a fitted similarity, read once a process: a checkpoint never changes."""
    if (uri, checkpoint_id) not in _OPEN:
        kept = checkpoints.load(lake, checkpoint_id)
        ref = MethodRef.model_validate(kept.meta["recipe"])
        of_fitted = {
            name.removeprefix(_PREFIX): array
            for name, array in kept.state.items()
            if name.startswith(_PREFIX)
        }
        fitted = build(SIMILARITIES, ref).fitted.restore(of_fitted)
        while len(_OPEN) >= OPEN:
            _OPEN.pop(next(iter(_OPEN)))
        _OPEN[uri, checkpoint_id] = Adjusted(
            checkpoint_id, ref, str(kept.meta["why"]), kept.state["rows"], fitted
        )
    return _OPEN[uri, checkpoint_id]


def gallery_ids(lake: Lake, snapshot: Snapshot, entry: EncoderTable) -> list[str]:
    """Return the ids of the media a similarity is fitted to, in its order."""
    matrix = matrix_of(lake, snapshot, entry.table, "media")
    ids: list[str] = matrix.ids.take(pa.array(np.flatnonzero(matrix.kept))).to_pylist()
    return ids


def said(method: Similarity) -> str:
    """Return a method's parameters for a person."""
    return ", ".join(f"{name} {value}" for name, value in _params(method).items() if value is not None)


def _params(method: Similarity) -> dict[str, object]:
    return asdict(method)  # type: ignore[call-overload,no-any-return]  # every method is a dataclass


def _rows_of(matrix: Matrix, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows of ids in a matrix; -1 for those it lacks. (N,)."""
    found = pc.index_in(pa.array(list(ids), pa.string()), value_set=matrix.ids)
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
