"""Which other text would be right? `PairBatch, clean, vectors -> Proposals`."""

from tasks.catalog import catalog
from tasks.repairs.contract import Repair
from tasks.repairs.pseudo_caption import PseudoCaption
from tasks.repairs.rematch import Rematch

REPAIRS: dict[str, type[Repair]] = catalog(
    PseudoCaption,
    Rematch,
)
