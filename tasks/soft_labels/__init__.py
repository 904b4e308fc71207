"""How true should a pair be taken to be in training? `Evidence -> (N,)` in [0, 1]."""

from tasks.catalog import catalog
from tasks.soft_labels.bicro import BiCroLabel
from tasks.soft_labels.contract import SoftLabel
from tasks.soft_labels.crcl import CRCLLabel
from tasks.soft_labels.ncr import NCRLabel
from tasks.soft_labels.pc2 import PC2Label

SOFT_LABELS: dict[str, type[SoftLabel]] = catalog(
    BiCroLabel,
    CRCLLabel,
    NCRLabel,
    PC2Label,
)
