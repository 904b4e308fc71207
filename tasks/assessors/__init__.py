"""How good is this text, in one respect? `Drafts -> Assessed`, scores in [0, 1] or NaN."""

from tasks.assessors.contract import Assessor
from tasks.assessors.cross_check import CrossCheck
from tasks.assessors.diversity import Diversity
from tasks.assessors.flip import Flip
from tasks.assessors.language_id import LanguageId
from tasks.assessors.novelty import Novelty
from tasks.assessors.round_trip import RoundTrip
from tasks.assessors.self_check import SelfCheck
from tasks.assessors.substance import Substance
from tasks.assessors.support import Support
from tasks.catalog import catalog

ASSESSORS: dict[str, type[Assessor]] = catalog(
    CrossCheck,
    Diversity,
    Flip,
    LanguageId,
    Novelty,
    RoundTrip,
    SelfCheck,
    Substance,
    Support,
)
