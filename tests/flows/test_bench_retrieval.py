"""The bench against loops over the tables."""

import numpy as np

from tasks.bench_retrieval import WAYS, Way, measure, record
from tests.tasks.retrieval.test_engine import ENCODER, build


def _ranks(truth, queries, answers, vectors, gallery):
    """Return the rank of the best answer for each query; of equal scores the smaller id stands first."""
    found = []
    for one in queries:
        score = {item: float(np.float32(vectors[one] @ truth.vectors[item])) for item in gallery}
        order = sorted(score, key=lambda item: (-round(score[item], 5), item))
        found.append(min((order.index(item) + 1 for item in answers[one] if item in order), default=np.inf))
    return np.array(found, float)


def test_every_number_is_what_a_loop_gives(tmp_path):
    truth = build(str(tmp_path / "lake"), 11, 20, 9)
    report = measure(truth.lake, ways=[Way("vectors")], queries=100)
    of_text: dict[str, set[str]] = {}
    for medium, text in truth.pairs:
        of_text.setdefault(text, set()).add(medium)
    gallery = sorted(truth.passing() & truth.vectors.keys())
    asked = {text: ENCODER([truth.texts[text]])[0] for text in of_text}
    best = _ranks(truth, sorted(of_text), of_text, asked, gallery)
    (row, _) = report.rows
    for k in (1, 5, 10):
        assert row.mean[f"R@{k}"] == np.mean(best <= k)
    assert row.mean["MRR"] == np.mean(1 / best)
    assert row.median_rank == np.median(best)
    assert report.rsum["vectors"] == 100 * sum(
        r.mean[name] for r in report.rows for name in ("R@1", "R@5", "R@10")
    )


def test_what_cannot_be_measured_says_why_and_the_rest_is_kept(tmp_path):
    truth = build(str(tmp_path / "lake"), 11, 20, 9)
    report = measure(truth.lake, ways=WAYS, queries=5)
    skipped = {row.way: row.skipped for row in report.rows if row.skipped}
    assert set(skipped) == {"binary codes", "token by token"} and all(skipped.values())
    record(truth.lake, report)
    rows = truth.lake.read("metrics").to_pylist()
    assert {row["subject"] for row in rows} == {row.way for row in report.rows if not row.skipped}
    assert {row["data"] for row in rows} == {truth.lake.head().digest}
