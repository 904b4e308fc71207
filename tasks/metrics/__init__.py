"""How good a ranking is, query by query; how well a score finds wrong pairs; and whether a difference is real."""

from tasks.catalog import catalog
from tasks.metrics.average_precision import AveragePrecision
from tasks.metrics.best_rank import BestRank
from tasks.metrics.contract import NOWHERE, Metric, Ranking
from tasks.metrics.detection import Detection, DivisionQuality, detection, division_quality
from tasks.metrics.judged import Judged, in_order, judged
from tasks.metrics.ndcg import NDCG
from tasks.metrics.ndcg_burges import NDCGBurges
from tasks.metrics.precision import Precision
from tasks.metrics.r_precision import RPrecision
from tasks.metrics.rank_variance import RankSpread, rank_spread
from tasks.metrics.ranking import Retrieval, ranking, ranks, recall_at, retrieval, same_group
from tasks.metrics.recall import Recall
from tasks.metrics.recall_share import RecallShare
from tasks.metrics.reciprocal_rank import ReciprocalRank
from tasks.metrics.significance import Comparison, compare, compare_all, holm

METRICS: dict[str, type[Metric]] = catalog(
    AveragePrecision,
    BestRank,
    NDCG,
    NDCGBurges,
    Precision,
    RPrecision,
    Recall,
    RecallShare,
    ReciprocalRank,
)

__all__ = [
    "METRICS",
    "NDCG",
    "NOWHERE",
    "AveragePrecision",
    "BestRank",
    "Comparison",
    "Detection",
    "DivisionQuality",
    "Judged",
    "Metric",
    "NDCGBurges",
    "Precision",
    "RPrecision",
    "RankSpread",
    "Ranking",
    "Recall",
    "RecallShare",
    "ReciprocalRank",
    "Retrieval",
    "compare",
    "compare_all",
    "detection",
    "division_quality",
    "holm",
    "in_order",
    "judged",
    "rank_spread",
    "ranking",
    "ranks",
    "recall_at",
    "retrieval",
    "same_group",
]
