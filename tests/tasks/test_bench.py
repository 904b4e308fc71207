"""The correspondence bench: one real cell on small pairs, and the arithmetic of its report."""

import numpy as np
import pytest

from schemas.batch import PairBatch
from schemas.recipes import MethodRef
from tasks.bench import Plan, figures, reported
from tasks.bench_report import markdown
from tasks.shards.correspondence import Cell, Found, load_pairs, run_cell, save_pairs


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def shared(n: int, seed: int) -> PairBatch:
    """Pairs whose sides, of different widths, show one hidden cause."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(n, 10))
    maps = np.random.default_rng(99)
    media = cause @ maps.normal(size=(10, 40)) + 2 * rng.normal(size=(n, 40))
    text = cause @ maps.normal(size=(10, 24)) + 2 * rng.normal(size=(n, 24))
    numbers = np.arange(n, dtype=np.int64)
    return PairBatch(
        unit(media), unit(text), media_key=numbers, text_key=numbers, label=numbers % 7,
        texts=[f"thing number {number}" for number in range(n)], common=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "pairs.npz"
    save_pairs(path, shared(300, 0), shared(80, 1))
    return str(path)


@pytest.fixture(scope="module")
def found(corpus):
    cells = [
        Cell(
            "made",
            corpus,
            "caption",
            rate,
            seed,
            scorers=(MethodRef(name="geometry"),),
            arms=("none", "oracle", "soft"),
        )
        for rate in (0.0, 0.4)
        for seed in range(2)
    ]
    return [run_cell(cell) for cell in cells]


def test_pairs_come_back_as_they_were_saved(corpus):
    saved, read = shared(80, 1), load_pairs(corpus, "test")
    for name in ("media_vec", "text_vec", "label", "media_key", "text_key"):
        np.testing.assert_array_equal(getattr(read, name), getattr(saved, name))
    assert list(read.texts) == list(saved.texts)


def test_a_cell_is_the_same_again_bit_for_bit(found):
    again = run_cell(found[-1].cell)
    assert again.values == found[-1].values


def test_truth_is_what_was_planted(found):
    for one in found:
        assert (~one.histogram["true"]).sum() == round(one.cell.rate * 300)


def test_recovery_is_the_share_of_the_gap(found):
    report = reported(found)
    point = ("made", "caption", 0.4)
    none, oracle, soft = (
        np.mean(report.of(point, f"arm: {arm}", "r10")) for arm in ("none", "oracle", "soft")
    )
    assert report.recovered(point) == pytest.approx((soft - none) / (oracle - none))
    assert report.recovered(("made", "caption", 0.0)) is None
    assert report.compared[point, "none"].difference == pytest.approx(soft - none)


def test_planted_mismatches_are_found_and_mended(found):
    report = reported(found)
    point = ("made", "caption", 0.4)
    assert np.mean(report.of(point, "consensus", "auroc")) > np.mean(
        report.of(point, "in-sample cosine", "auroc")
    )
    assert np.mean(report.of(point, "arm: soft", "r10")) > np.mean(report.of(point, "arm: none", "r10"))


def test_the_report_names_every_point_and_arm(found):
    said = markdown(reported(found), Plan(arms=("none", "oracle", "soft")))
    for words in ("made, caption, 0 %", "made, caption, 40 %", "soft: gap recovered", "in-sample cosine"):
        assert words in said


def test_figures_are_drawn(found, tmp_path):
    paths = figures(found, tmp_path)
    assert sorted(path.name for path in paths) == ["made-caption-40-scores.png", "made-caption-recovery.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_report_keeps_runs_of_different_protocols_apart():
    def one(protocol: str, value: float) -> Found:
        cell = Cell("made", "", protocol, 0.4, 0)
        return Found(cell, [("arm: none", "r10", value)], {}, {})

    report = reported([one("caption", 1.0), one("image", 2.0)])
    assert report.of(("made", "caption", 0.4), "arm: none", "r10") == [1.0]
