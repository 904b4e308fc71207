"""The bench of samples: its corpora have the swaps they promise, and its first row is compared with itself."""

import numpy as np

from benchmarks import study_sample


def test_made_corpora_have_the_promised_swaps_and_rows_are_paired(monkeypatch):
    monkeypatch.setattr(study_sample, "RATES", (0.0, 0.2, 0.4))
    corpora = list(study_sample.made(600, 1))
    (before, none), *swapped = corpora
    assert none.all()
    for (pairs, true), rate in zip(swapped, (0.2, 0.4), strict=True):
        same = (pairs.text_vec == before.text_vec).all(axis=1)
        np.testing.assert_array_equal(same, true)
        assert (~true).sum() == 600 * rate
    first, second = (
        [cell.split()[0] for cell in line.strip("| ").split(" | ")[2:-1]]
        for line in study_sample.measured(iter(corpora), (1, 4)).splitlines()[2:]
    )
    assert [float(cell) for cell in first] == [0.0] * 4
    assert float(second[2]) > 0


def test_a_study_that_divides_nothing_is_left_out_of_the_mean():
    assert study_sample._spread([1.0, float("nan"), 3.0], 1) == "2.0 ± 1.4"
    assert study_sample._spread([1.0, float("nan")], 1) == "-"
