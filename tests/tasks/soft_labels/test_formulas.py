"""The formulas: against loops that spell them out, pair by pair."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest

from schemas.errors import DataError
from tasks.soft_labels import BiCroLabel, CRCLLabel, NCRLabel, PC2Label
from tasks.soft_labels._evidence import batches
from tasks.soft_labels.contract import Evidence


def groups(n, batch, seed=0):
    return [rows.tolist() for rows in batches(n, batch, seed)]


def ncr_by_loops(evidence, margin, best, batch):
    s = evidence.media_vec.astype(float) @ evidence.text_vec.astype(float).T
    label = np.zeros(len(s))
    for rows in groups(len(s), batch):
        score = {}
        for i in rows:
            a = sum(max(0, margin + s[i, j] - s[i, i]) for j in rows if j != i) / len(rows)
            b = sum(max(0, margin + s[j, i] - s[i, i]) for j in rows if j != i) / len(rows)
            score[i] = min(max(margin - (a + b) / 2, 0), margin)
        top = sorted(score.values(), reverse=True)[: max(1, round(best * len(rows)))]
        for i in rows:
            p = min(score[i] / (sum(top) / len(top)), 1)
            w = float(evidence.clean[i])
            label[i] = w + (1 - w) * p if w > 0.5 else p
    return label


def test_ncr_is_its_formula(make_evidence):
    evidence, _ = make_evidence(70, seed=2)
    expected = ncr_by_loops(evidence, 0.3, 0.2, 16)
    np.testing.assert_allclose(NCRLabel(margin=0.3, best=0.2, batch=16)(evidence), expected, atol=1e-5)


def test_ncr_labels_one_pair_of_its_kind_alone():
    # w of row 0 must not reach row 1: the released code mixes them.
    vectors = np.eye(2, dtype=np.float32)
    one = NCRLabel()(Evidence(np.float32([0.9, 0.1]), vectors, vectors[::-1].copy()))
    other = NCRLabel()(Evidence(np.float32([0.6, 0.1]), vectors, vectors[::-1].copy()))
    np.testing.assert_allclose(one, [0.9, 0])
    np.testing.assert_allclose(other, [0.6, 0])


def crcl_by_loops(evidence, temperature, batch):
    s = evidence.media_vec.astype(float) @ evidence.text_vec.astype(float).T / temperature
    matched = np.zeros(len(s))
    for rows in groups(len(s), batch):
        for i in rows:
            among_texts = exp(s[i, i]) / sum(exp(s[i, j]) for j in rows)
            among_media = exp(s[i, i]) / sum(exp(s[j, i]) for j in rows)
            matched[i] = (among_texts + among_media) / 2
    return matched


def test_crcl_is_its_formula(make_evidence):
    evidence, _ = make_evidence(70, seed=3)
    matched = crcl_by_loops(evidence, 0.05, 16)
    expected = 0.8 * evidence.previous + 0.2 * matched
    expected[expected < 0.1] = 0
    assert (expected == 0).any()
    np.testing.assert_allclose(CRCLLabel(batch=16)(evidence), expected, atol=1e-5)
    first = np.where(matched < 0.1, 0, matched)
    np.testing.assert_allclose(CRCLLabel(batch=16)(replace(evidence, previous=None)), first, atol=1e-5)


def test_pc2_is_its_formula():
    vectors = np.eye(6, dtype=np.float32)
    evidence = Evidence(
        np.float32([0.9, 0.9, 0.6, 0.5, 0.2, 1.0]),
        vectors,
        vectors,
        stability=np.float32([0.8, 0.5, 1.0, 1.0, 0.9, 0.0]),
    )
    np.testing.assert_allclose(PC2Label()(evidence), [0.9 + 0.1 * 0.8, 0.9, 1.0, 0, 0, 1.0], rtol=1e-6)


def test_pc2_says_what_it_lacks(make_evidence):
    with pytest.raises(DataError, match="stability"):
        PC2Label()(replace(make_evidence(5, seed=0)[0], stability=None))


def bicro_by_loops(evidence, share):
    media, text = evidence.media_vec.astype(float), evidence.text_vec.astype(float)
    trusted = [i for i in range(len(media)) if evidence.clean[i] > 0.5]
    trusted.sort(key=lambda i: -(media[i] @ text[i]))
    anchors = trusted[: max(1, round(share * len(trusted)))]

    def ratio(i, chosen_by, other):
        k = max(anchors, key=lambda k: chosen_by[i] @ chosen_by[k])
        u, v = chosen_by[i] @ chosen_by[k], other[i] @ other[k]
        return min(u / v, v / u) if u > 0 and v > 0 else 0

    label = []
    for i in range(len(media)):
        r = (ratio(i, media, text) + ratio(i, text, media)) / 2
        label.append(1 if i in anchors else 0.5 + r / 2 if evidence.clean[i] > 0.5 else r)
    return np.array(label)


def test_bicro_is_its_formula(make_evidence):
    evidence, _ = make_evidence(90, seed=4)
    expected = bicro_by_loops(evidence, 0.2)
    assert (expected == 0).any()  # a cosine below 0
    np.testing.assert_allclose(BiCroLabel(anchors=0.2)(evidence), expected, atol=1e-5)
    cut = np.where(expected <= 0.5, 0, expected)
    np.testing.assert_allclose(BiCroLabel(anchors=0.2, floor=0.5)(evidence), cut, atol=1e-5)


def test_bicro_without_a_clean_pair_has_only_the_divider_to_go_by(make_evidence):
    evidence, _ = make_evidence(20, seed=0)
    doubted = replace(evidence, clean=evidence.clean / 2)
    np.testing.assert_array_equal(BiCroLabel()(doubted), doubted.clean)


@pytest.mark.parametrize("n", [1, 5, 16, 17, 100])
def test_batches_hold_every_pair_once_and_are_of_like_size(n):
    dealt = groups(n, 16)
    assert sorted(row for rows in dealt for row in rows) == list(range(n))
    sizes = [len(rows) for rows in dealt]
    assert max(sizes) <= 16
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (NCRLabel, {"margin": 0.0}),
        (NCRLabel, {"best": 0.0}),
        (NCRLabel, {"batch": 1}),
        (CRCLLabel, {"momentum": 1.0}),
        (CRCLLabel, {"floor": 1.0}),
        (CRCLLabel, {"temperature": 0.0}),
        (BiCroLabel, {"anchors": 0.0}),
        (BiCroLabel, {"most": 0}),
        (BiCroLabel, {"floor": 1.0}),
    ],
)
def test_refuses_parameters_out_of_range(rule, wrong):
    with pytest.raises(ValueError, match="must be"):
        rule(**wrong)
