"""How well do the parts of a query fit the parts of an item? `(n, d), Tokens -> (K,)`, higher is closer."""

from tasks.catalog import catalog
from tasks.late.contract import LateScorer, Tokens
from tasks.late.filip import FILIP
from tasks.late.max_sim import MaxSim
from tasks.late.soft_max_sim import SoftMaxSim

LATE_SCORERS: dict[str, type[LateScorer]] = catalog(
    FILIP,
    MaxSim,
    SoftMaxSim,
)

__all__ = ["FILIP", "LATE_SCORERS", "LateScorer", "MaxSim", "SoftMaxSim", "Tokens"]
