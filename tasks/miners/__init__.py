"""Which negatives matter? `(B, B) cosines -> (B, H)` columns."""

from tasks.catalog import catalog
from tasks.miners.contract import Miner
from tasks.miners.hardest import Hardest
from tasks.miners.random import Random
from tasks.miners.semi_hard import SemiHard
from tasks.miners.top import Top

MINERS: dict[str, type[Miner]] = catalog(
    Hardest,
    Random,
    SemiHard,
    Top,
)
