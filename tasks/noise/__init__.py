"""Is this caption about this media? `PairBatch -> (N,)` in [0, 1]."""

from tasks.catalog import catalog
from tasks.noise.agreement import Agreement
from tasks.noise.complementary import ComplementaryScore
from tasks.noise.consensus import Consensus
from tasks.noise.contract import NoiseScorer
from tasks.noise.cosine import CosineScore
from tasks.noise.early_loss import EarlyLoss
from tasks.noise.entangled import Entangled
from tasks.noise.evidential import EvidentialScore
from tasks.noise.frequency import Frequency
from tasks.noise.frozen_estimator import FrozenEstimator
from tasks.noise.geometry import Geometry
from tasks.noise.oscillation import Oscillation
from tasks.noise.out_of_fold import OutOfFold

NOISE_SCORERS: dict[str, type[NoiseScorer]] = catalog(
    Agreement,
    ComplementaryScore,
    Consensus,
    CosineScore,
    EarlyLoss,
    Entangled,
    EvidentialScore,
    Frequency,
    FrozenEstimator,
    Geometry,
    Oscillation,
    OutOfFold,
)
