"""The same caption, wrong in one place, or the same in other words. `texts -> rewrites`."""

from tasks.catalog import catalog
from tasks.negatives.contract import Rewriter
from tasks.negatives.flip_attribute import FlipAttribute
from tasks.negatives.insert_attribute import InsertAttribute
from tasks.negatives.negate import Negate
from tasks.negatives.paraphrase import Paraphrase
from tasks.negatives.swap_object import SwapObject

REWRITERS: dict[str, type[Rewriter]] = catalog(
    FlipAttribute,
    InsertAttribute,
    Negate,
    Paraphrase,
    SwapObject,
)
