"""Correspondence: the scores of pairs, a threshold to move, and the pairs on either side of it."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, HTTPException, Query, Request, Response
from numpy.typing import NDArray

from dashboards.pages.cards import PairCard, is_id, pair_cards
from dashboards.pages.overview import divisions
from dashboards.site import Site
from storage.lake import Lake
from storage.sql import Limits
from storage.versions import Snapshot
from tasks.dividers.contract import Component

STEPS = 200  # places the threshold can stand at; bars are half as many
WALL = 24  # pairs shown on either side
STUDIED = "consensus"  # method of the scores that say P(true) by a study


@dataclass(frozen=True)
class Scored:
    """The scores of pairs under one scorer, in rising order.

    Args:
        pair_ids: (N,) pairs.
        values: (N,) float32.
        kept: (N,) whether the pair is kept now.
        true: (N,) P(true) by the study in force; NaN: not studied.
    """

    pair_ids: pa.ChunkedArray
    values: NDArray[np.float32]
    kept: NDArray[np.bool_]
    true: NDArray[np.float32]

    def edges(self) -> NDArray[np.float32]:
        """Return the places a threshold can stand at, from the lowest score to past the highest. (STEPS + 1,)."""
        low, high = float(self.values[0]), float(self.values[-1])
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        found = np.linspace(low, high, STEPS + 1, dtype=np.float32)
        found[-1] = np.nextafter(np.float32(max(high, self.values[-1])), np.float32(np.inf))
        return found

    def below(self, thresholds: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many pairs score under each threshold, and how many of these are kept now."""
        places = np.searchsorted(self.values, thresholds, side="left")
        kept = np.concatenate(([0], np.cumsum(self.kept)))
        return places, kept[places]

    def kinds(self, edges: NDArray[np.float32]) -> "Kinds | None":
        """Return how many pairs of each bar are expected to be wrong and true by P(true); None: nothing was studied."""
        studied = ~np.isnan(self.true)
        if not studied.any():
            return None
        values, true = self.values[studied], self.true[studied].astype(np.float64)
        wrong, right = (np.histogram(values, edges, weights=share)[0] for share in (1 - true, true))
        return Kinds(wrong.tolist(), right.tolist(), is_fitted=False)

    def around(self, threshold: float, n: int) -> tuple[list[int], list[int]]:
        """Return the positions of the n pairs nearest under a threshold, nearest first, and of the n from it on."""
        place = int(np.searchsorted(self.values, np.float32(threshold), side="left"))
        return list(range(place - 1, max(place - 1 - n, -1), -1)), list(
            range(place, min(place + n, len(self.values)))
        )


@dataclass(frozen=True)
class Kinds:
    """The two kinds of pairs that a divider sees in scores, as pairs a bar.

    Args:
        wrong: (bars,) pairs that are not true.
        true: (bars,) pairs that are.
        is_fitted: By the densities of a mixture; else by P(true) of each pair.
    """

    wrong: list[float]
    true: list[float]
    is_fitted: bool


def routes(site: Site) -> APIRouter:
    """Return the routes of correspondence."""
    router = APIRouter()

    @router.get("/correspondence")
    def correspondence(request: Request, scorer: str = "", threshold: float | None = None) -> Response:
        head = site.head()
        studies = divisions(site)
        known = scorers(site)
        if not known:
            return site.show(request, "correspondence.html", known=known, studies=studies)
        chosen = _chosen(known, scorer, studies)
        found = scored(site, head, chosen)
        edges = found.edges()
        falls, falls_kept = found.below(edges)
        bars = [int(n) for n in np.diff(falls[::2])]
        study = studies[0] if studies and studies[0]["active"] else None
        drawn = _drawn(study)
        is_own = drawn is not None and drawn.of.partition("(")[0] == chosen["method"]
        kinds = (
            drawn.kinds(edges[::2])
            if drawn is not None and is_own and drawn.fitted
            else found.kinds(edges[::2])
        )
        start = edges[STEPS // 4] if threshold is None or not np.isfinite(threshold) else threshold
        place = int(np.abs(edges - start).argmin())
        return site.show(
            request, "correspondence.html", known=known, chosen=chosen, studies=studies, bars=bars,
            place=place, kinds=kinds, drawn=None if is_own else drawn,
            steps={
                "edges": [round(float(edge), 6) for edge in edges[:-1]] + [float(edges[-1])],
                "falls": falls.tolist(), "kept": falls_kept.tolist(), "pairs": len(found.values),
            },
            **_wall(site, head, found, float(edges[place])),
        )  # fmt: skip

    @router.get("/correspondence/wall")
    def wall(request: Request, scorer: str, threshold: float = Query(allow_inf_nan=False)) -> Response:
        head = site.head()
        chosen = _chosen(scorers(site), scorer, [])
        found = scored(site, head, chosen)
        return site.show(
            request, "_wall.html", "_wall.html", chosen=chosen, **_wall(site, head, found, threshold)
        )

    return router


def scorers(site: Site) -> list[dict[str, Any]]:
    """Return what has scored pairs: method, digest of its parameters, how many."""
    if "scores" not in site.head().versions:
        return []

    def read() -> list[dict[str, Any]]:
        return site.rows(
            "SELECT method, params_digest, count(*) AS n FROM raw.scores WHERE subject = 'pair' GROUP BY 1, 2 "
            "ORDER BY n DESC, 1, 2"
        )

    return site.once(("scorers", site.head().snapshot_id), read)


def scored(site: Site, head: Snapshot, scorer: dict[str, Any]) -> Scored:
    """Return the scores of the present pairs under a scorer.

    Raises:
        HTTPException: 404, none of them is present any more.
    """

    def read() -> Scored:
        studies = [study["rule_digest"] for study in divisions(site) if study["active"]]
        return _read(
            site.lake, head, scorer["method"], scorer["params_digest"], studies[0] if studies else ""
        )

    found = site.once(("scored", head.snapshot_id, scorer["method"], scorer["params_digest"]), read)
    if not len(found.values):
        raise HTTPException(404, "no pair that is present has a score of this scorer")
    return found


def _read(lake: Lake, head: Snapshot, method: str, params_digest: str, study: str) -> Scored:
    """Read scores and, of the study whose rule has this digest, what each pair's P(true) is."""
    found = lake.sql(
        "SELECT s.subject_id AS pair_id, s.value, p.kept IS NOT FALSE AS kept, t.value AS p_true FROM raw.scores s "
        "JOIN raw.pairs p ON p.pair_id = s.subject_id LEFT JOIN raw.scores t ON t.subject_id = s.subject_id "
        f"AND t.subject = 'pair' AND t.method = '{STUDIED}' AND t.inputs = ? WHERE s.subject = 'pair' AND s.method = ? "
        "AND s.params_digest = ? AND p.present AND s.value IS NOT NULL AND NOT isnan(s.value) "
        "ORDER BY s.value, s.subject_id",
        params=[study, method, params_digest],
        at=head.snapshot_id,
        limits=Limits(rows=None),
    ).arrow()
    return Scored(
        found["pair_id"],
        found["value"].to_numpy(zero_copy_only=False).astype(np.float32),
        found["kept"].to_numpy(zero_copy_only=False).astype(bool),
        found["p_true"].to_numpy(zero_copy_only=False).astype(np.float32),
    )


def _chosen(known: list[dict[str, Any]], wanted: str, studies: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the scorer asked for as METHOD:DIGEST, else the active study's, else the first."""
    if wanted:
        for one in known:
            if wanted in (one["method"], f"{one['method']}:{one['params_digest']}"):
                return one
        raise HTTPException(404, "no pair has a score of this scorer")
    active = {study["scorer"] for study in studies if study["active"]}
    return next((one for one in known if one["method"] in active), known[0])


def _wall(site: Site, head: Snapshot, found: Scored, threshold: float) -> dict[str, Any]:
    under, over = found.around(threshold, WALL)
    wanted: list[str] = found.pair_ids.take(pa.array(under + over, pa.int64())).to_pylist()
    values = dict(zip(wanted, found.values[under + over].tolist(), strict=True))
    shown: dict[str, PairCard] = {
        card.pair_id: card
        for card in pair_cards(site.lake, head, [one for one in wanted if is_id(one)], values)
    }
    falls, kept = found.below(np.array([threshold], np.float32))
    return {
        "threshold": threshold, "falls": int(falls[0]), "falls_kept": int(kept[0]),
        "under": [shown[one] for one in wanted[: len(under)] if one in shown],
        "over": [shown[one] for one in wanted[len(under) :] if one in shown],
    }  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """What a study stored of the scores it divided.

    Args:
        of: The scorer whose scores they are; "" for a sum of several, or ranks.
        edges: (bars + 1) of a histogram.
        pairs: (bars,) pairs of each bar.
        true: (bars,) of these expected to be true, by P(true).
        fitted: The wrong and the true kind, where a mixture was fitted.
    """

    of: str
    edges: list[float]
    pairs: list[int]
    true: list[float]
    fitted: list[Component]

    @property
    def own(self) -> Kinds:
        """The two kinds in the stored histogram."""
        if self.fitted:
            return self.kinds(np.array(self.edges))
        wrong = [n - true for n, true in zip(self.pairs, self.true, strict=True)]
        return Kinds(wrong, self.true, is_fitted=False)

    def kinds(self, edges: NDArray[np.floating]) -> Kinds:
        """Return the pairs that the fitted densities expect between edges."""
        wrong, true = (sum(self.pairs) * np.diff(one.below(edges)) for one in self.fitted)
        return Kinds(wrong.tolist(), true.tolist(), is_fitted=True)


def _drawn(study: dict[str, Any] | None) -> Drawn | None:
    """Return what a study stored of the scores it divided; None where it is of a version that stored nothing."""
    if study is None or not study.get("components"):
        return None
    stored = json.loads(study["components"])
    return Drawn(**stored | {"fitted": [Component(**one) for one in stored["fitted"]]})
