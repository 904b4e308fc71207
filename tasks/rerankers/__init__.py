"""A closer look at what was found, and how much of it to keep."""

from tasks.catalog import catalog
from tasks.rerankers.contract import Asked, Found, Learner, Lesson, Reranker
from tasks.rerankers.cosine import Cosine
from tasks.rerankers.cut import (
    CutCurve,
    best_first,
    cut,
    cut_curve,
    kept,
    threshold_for,
    threshold_for_recall,
)
from tasks.rerankers.feedback import Feedback
from tasks.rerankers.mmr import MMR
from tasks.rerankers.relevance import Relevance

RERANKERS: dict[str, type[Reranker]] = catalog(
    Cosine,
    Feedback,
    MMR,
    Relevance,
)

__all__ = [
    "MMR",
    "RERANKERS",
    "Asked",
    "Cosine",
    "CutCurve",
    "Feedback",
    "Found",
    "Learner",
    "Lesson",
    "Relevance",
    "Reranker",
    "best_first",
    "cut",
    "cut_curve",
    "kept",
    "threshold_for",
    "threshold_for_recall",
]
