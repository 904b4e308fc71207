"""One run of several: by words and by vectors, by several encoders, by several ways to ask."""

from tasks.catalog import catalog
from tasks.fusion.comb_mnz import CombMNZ
from tasks.fusion.contract import Fusion
from tasks.fusion.reciprocal_rank import ReciprocalRank
from tasks.fusion.weighted import Weighted

FUSIONS: dict[str, type[Fusion]] = catalog(
    CombMNZ,
    ReciprocalRank,
    Weighted,
)

__all__ = [
    "FUSIONS",
    "CombMNZ",
    "Fusion",
    "ReciprocalRank",
    "Weighted",
]
