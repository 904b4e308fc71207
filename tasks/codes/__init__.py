"""Which few bits stand for a vector? `SemiPaired -> Codes`, binary codes that both sides share."""

from tasks.catalog import catalog
from tasks.codes.contract import Coder, Codes, SemiPaired
from tasks.codes.itq_cca import ITQCCA
from tasks.codes.reconstruction_relations import ReconstructionRelations
from tasks.codes.sign_of_projection import SignOfProjection

CODERS: dict[str, type[Coder]] = catalog(
    ITQCCA,
    ReconstructionRelations,
    SignOfProjection,
)

__all__ = ["CODERS", "ITQCCA", "Coder", "Codes", "ReconstructionRelations", "SemiPaired", "SignOfProjection"]
