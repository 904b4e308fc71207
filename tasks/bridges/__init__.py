"""Where would the old encoder have put it? Vectors of a new encoder to unit vectors in the space of an old one."""

from tasks.bridges._slerp import best_share, slerp
from tasks.bridges.contract import Bridge, Crossing, Rows
from tasks.bridges.mlp import MLP
from tasks.bridges.procrustes import Procrustes
from tasks.bridges.ridge import Ridge
from tasks.catalog import catalog

__all__ = ["BRIDGES", "Bridge", "Crossing", "Rows", "best_share", "slerp"]

BRIDGES: dict[str, type[Bridge]] = catalog(
    MLP,
    Procrustes,
    Ridge,
)
