"""How badly is a batch aligned? `(B, B) cosines -> (B,)`."""

from tasks.catalog import catalog
from tasks.losses.active_complementary import ActiveComplementary
from tasks.losses.complementary import Complementary
from tasks.losses.contract import Loss
from tasks.losses.evidential import Evidential
from tasks.losses.info_nce import InfoNCE
from tasks.losses.sdm import SDM
from tasks.losses.tal import TAL
from tasks.losses.triplet import Triplet

LOSSES: dict[str, type[Loss]] = catalog(
    ActiveComplementary,
    Complementary,
    Evidential,
    InfoNCE,
    SDM,
    TAL,
    Triplet,
)
