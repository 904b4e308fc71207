"""Figures: what is drawn, read from the axes, and that files are PNG of the size promised."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from schemas.errors import DataError
from tasks.dividers.contract import Division
from tasks.figures import PALETTE, recovery_curves, save_png, score_histogram


def scored(n=200, *, noise_rate=0.3, separable=True):
    """Scores of true and wrong pairs, and a division that knows which is which to 0.9."""
    rng = np.random.default_rng(0)
    truth = rng.random(n) > 0.3
    scores = np.clip(rng.normal(np.where(truth, 0.7, 0.3), 0.1), 0, 1).astype(np.float32)
    clean = np.where(truth, 0.9, 0.1).astype(np.float32)
    low, high = (None, None) if noise_rate is None else (noise_rate - 0.05, noise_rate + 0.05)
    return scores, Division(clean, noise_rate, low, high, separable, "as made"), truth


def rows(remedies=("no remedy", "soft weights"), seeds=3):
    return [
        {"remedy": remedy, "rate": rate, "seed": seed, "r10": 60 - 50 * rate + 3 * number + seed}
        for number, remedy in enumerate(remedies)
        for rate in (0.0, 0.2, 0.4)
        for seed in range(seeds)
    ]


def labels(figure):
    return [text.get_text() for text in (figure.axes[0].get_legend() or figure.legends[0]).get_texts()]


def stairs(figure):
    """Label -> heights of the outlines drawn."""
    from matplotlib.patches import StepPatch

    return {
        patch.get_label(): patch.get_data().values
        for patch in figure.axes[0].patches
        if isinstance(patch, StepPatch)
    }


def test_components_are_weighted_counts_and_add_up_to_the_histogram():
    scores, division, _ = scored()
    drawn = stairs(score_histogram(scores, division))
    assert drawn["clean component"].sum() == pytest.approx(division.clean.sum(), rel=1e-5)
    assert drawn["noisy component"].sum() == pytest.approx((1 - division.clean).sum(), rel=1e-5)
    together = drawn["clean component"] + drawn["noisy component"]
    expected = [
        sum(edge <= score < after or (last and score == after) for score in scores)
        for edge, after, last in bins_of(scores)
    ]
    np.testing.assert_allclose(together, expected, atol=1e-4)


def bins_of(scores):
    edges = np.linspace(float(scores.min()), float(scores.max()), 41)
    return [(edges[i], edges[i + 1], i == 39) for i in range(40)]


def test_pairs_made_wrong_on_purpose_are_scaled_to_the_estimated_noise():
    scores, division, _ = scored(noise_rate=0.3)
    drawn = stairs(score_histogram(scores, division, mismatched=np.full(50, 0.25, np.float32)))
    assert drawn["mismatched on purpose"].sum() == pytest.approx(0.3 * 200)


def test_with_the_truth_both_kinds_are_drawn_and_named():
    scores, division, truth = scored()
    figure = score_histogram(scores, division, truth=truth)
    assert f"true ({truth.sum()})" in labels(figure) and f"wrong ({(~truth).sum()})" in labels(figure)
    assert f"true noise {100 * (~truth).mean():.0f} %" in figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("rate", "separable", "said"),
    [
        (0.3, True, "estimated noise 30 % (95 %: 25 to 35)"),
        (None, True, "estimated noise: cannot tell"),
        (None, False, "estimated noise: cannot tell; not separable, nothing should be dropped"),
    ],
)
def test_the_estimate_is_written_out(rate, separable, said):
    scores, division, _ = scored(noise_rate=rate, separable=separable)
    assert score_histogram(scores, division).axes[0].get_title(loc="left") == said


def test_a_line_is_the_mean_over_seeds_and_the_band_their_deviation():
    figure = recovery_curves(rows())
    first, second = figure.axes[0].get_lines()
    np.testing.assert_allclose(first.get_xdata(), [0, 20, 40])
    np.testing.assert_allclose(first.get_ydata(), [61, 51, 41])  # seeds 0, 1, 2: mean 1 above
    np.testing.assert_allclose(second.get_ydata(), [64, 54, 44])
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {60.0, 62.0} <= set(band[band[:, 0] == 0][:, 1].round(6))
    assert labels(figure) == ["no remedy", "soft weights"]


def test_lines_of_many_remedies_are_told_apart():
    figure = recovery_curves(rows([f"remedy {i}" for i in range(12)]))
    looks = {
        (line.get_color(), line.get_linestyle(), line.get_marker()) for line in figure.axes[0].get_lines()
    }
    assert len(looks) == 12
    assert len(set(PALETTE)) == len(PALETTE)


def test_axes_are_labelled_and_text_is_large_enough():
    scores, division, _ = scored()
    for figure in (score_histogram(scores, division), recovery_curves(rows())):
        axes = figure.axes[0]
        assert axes.get_xlabel() and axes.get_ylabel()
        written = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
        assert min(text.get_fontsize() for text in written) >= 12  # points, at 100 px an inch


def test_files_are_png_of_900_by_560_and_equal_every_time(tmp_path):
    scores, division, truth = scored()
    for name in ("a", "b"):
        score_histogram(scores, division, tmp_path / name / "histogram.png", truth=truth)
        recovery_curves(rows(), tmp_path / name / "recovery.png")
    for file in ("histogram.png", "recovery.png"):
        with Image.open(tmp_path / "a" / file) as image:
            assert image.format == "PNG"
            assert image.size == (900, 560)
            assert (
                len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 20
            )  # something is drawn
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_saves_where_it_is_told(tmp_path):
    assert save_png(recovery_curves(rows()), tmp_path / "new" / "x.png").is_file()


def test_takes_one_score_equal_scores_and_one_run():
    one = Division(np.ones(1, np.float32), None, None, None, False, "one pair")
    score_histogram(np.array([0.4], np.float32), one)
    alike = Division(np.ones(9, np.float32), 0.0, 0.0, 0.0, True, "alike")
    score_histogram(np.full(9, 0.5, np.float32), alike, truth=np.ones(9, dtype=bool))
    recovery_curves([{"remedy": "none", "rate": 0.0, "r10": 3.0}])


def test_refuses_what_cannot_be_drawn():
    scores, division, truth = scored()
    with pytest.raises(ValueError, match="one shape"):
        score_histogram(scores[:-1], division)
    with pytest.raises(ValueError, match="one shape"):
        score_histogram(scores, division, truth=truth[:-1])
    broken = scores.copy()
    broken[3] = np.nan
    with pytest.raises(DataError, match="1 not finite"):
        score_histogram(broken, division)
    with pytest.raises(DataError, match="no rows"):
        recovery_curves([])
    with pytest.raises(DataError, match="row 1 has no 'rate'"):
        recovery_curves([rows()[0], {"remedy": "x", "r10": 1.0}])
    with pytest.raises(DataError, match="row 0 has rate"):
        recovery_curves([{"remedy": "x", "rate": 0.1, "r10": float("nan")}])


def test_importing_loads_no_matplotlib_and_drawing_no_pyplot():
    code = (
        "import sys; from tasks import figures; assert 'matplotlib' not in sys.modules;"
        "figures.recovery_curves([{'remedy': 'x', 'rate': 0.0, 'r10': 1.0}]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
