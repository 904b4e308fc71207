"""Is this caption about this media? `PairBatch -> (N,)` in [0, 1]."""

from tasks.catalog import catalog
from tasks.noise.contract import NoiseScorer
from tasks.noise.cosine import CosineScore
from tasks.noise.out_of_fold import OutOfFold

NOISE_SCORERS: dict[str, type[NoiseScorer]] = catalog(
    CosineScore,
    OutOfFold,
)
