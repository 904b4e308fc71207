"""How good a ranking is, query by query; how well a score finds wrong pairs; and whether a difference is real."""

from tasks.catalog import catalog
from tasks.metrics.average_precision import AveragePrecision
from tasks.metrics.best_rank import BestRank
from tasks.metrics.contract import Metric, Ranking
from tasks.metrics.detection import Detection, DivisionQuality, detection, division_quality
from tasks.metrics.ranking import Retrieval, ranking, ranks, recall_at, retrieval, same_group
from tasks.metrics.recall import Recall
from tasks.metrics.significance import Comparison, compare, compare_all, holm

METRICS: dict[str, type[Metric]] = catalog(
    AveragePrecision,
    BestRank,
    Recall,
)

__all__ = [
    "METRICS",
    "AveragePrecision",
    "BestRank",
    "Comparison",
    "Detection",
    "DivisionQuality",
    "Metric",
    "Ranking",
    "Recall",
    "Retrieval",
    "compare",
    "compare_all",
    "detection",
    "division_quality",
    "holm",
    "ranking",
    "ranks",
    "recall_at",
    "retrieval",
    "same_group",
]
