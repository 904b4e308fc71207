"""How close are a query and an item, given what else is close to the item? Fitted per gallery, off by default."""

from tasks.catalog import catalog
from tasks.similarities._choice import Choice, Tried, Validation, tune
from tasks.similarities.bank_norm import BankNorm
from tasks.similarities.contract import Similarity
from tasks.similarities.csls import CSLS
from tasks.similarities.inverse_convolution import InverseConvolution
from tasks.similarities.raw import Raw
from tasks.similarities.sinkhorn import Sinkhorn

SIMILARITIES: dict[str, type[Similarity]] = catalog(
    BankNorm,
    CSLS,
    InverseConvolution,
    Raw,
    Sinkhorn,
)

__all__ = ["SIMILARITIES", "Choice", "Similarity", "Tried", "Validation", "tune"]
