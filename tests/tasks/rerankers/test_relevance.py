"""The relevance head: it learns what the cosine cannot see, and its numbers are probabilities."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from schemas.errors import DataError
from tasks.metrics import division_quality
from tasks.rerankers import Asked, Cosine, Found, Lesson, Relevance
from tasks.rerankers._closer_look import Glasses, look
from tasks.rerankers._network import Network
from tasks.rerankers.relevance import calibration_curve


@pytest.fixture(scope="module")
def lessons(make_lessons):
    return make_lessons(200, answerable=0.8, blur=2.0)


@pytest.fixture(scope="module")
def test_lessons(make_lessons):
    return make_lessons(100, seed=9, answerable=0.8, blur=2.0)


@pytest.fixture(scope="module")
def learnt(lessons):
    return Relevance().learn(lessons)


def scored(reranker, lessons):
    scores = np.concatenate([reranker(one.query, one.candidates) for one in lessons])
    return scores, np.concatenate([one.relevant for one in lessons])


def test_learns_what_the_cosine_does_not_see(learnt, test_lessons):
    by_cosine = roc_auc_score(*reversed(scored(Cosine(), test_lessons)))
    by_head = roc_auc_score(*reversed(scored(learnt, test_lessons)))
    assert by_head > by_cosine + 0.1


def test_numbers_alone_do_not_lose_what_the_cosine_says(lessons, test_lessons):
    head = Relevance(directions=0).learn(lessons)
    by_cosine = roc_auc_score(*reversed(scored(Cosine(), test_lessons)))
    assert roc_auc_score(*reversed(scored(head, test_lessons))) > by_cosine - 0.02


def test_a_fact_that_tells_is_used(lessons, test_lessons):
    head = Relevance(directions=0, facts=("same",), learning_rate=1e-2).learn(lessons)
    assert roc_auc_score(*reversed(scored(head, test_lessons))) > 0.99
    bare = replace(test_lessons[0].candidates, facts={})
    with pytest.raises(DataError, match="lack the fact 'same'; they have none"):
        head(test_lessons[0].query, bare)
    odd = replace(test_lessons[0].candidates, facts={"same": np.full(30, np.nan)})
    with pytest.raises(DataError, match="fact 'same' is not finite"):
        head(test_lessons[0].query, odd)


def test_scores_are_probabilities_on_queries_it_never_saw(learnt, test_lessons):
    scores, right = scored(learnt, test_lessons)
    found = division_quality(scores, right)
    assert found.ece < 0.05
    assert found.brier < brier_score_loss(right, np.full(len(right), right.mean()))
    assert abs(scores.mean() - right.mean()) < 0.03


def test_labels_drawn_by_chance_teach_nothing(lessons, test_lessons):
    rng = np.random.default_rng(0)
    shuffled = [replace(one, relevant=rng.permutation(one.relevant)) for one in lessons]
    scores, _ = scored(Relevance(epochs=3).learn(shuffled), test_lessons)
    common = np.concatenate([one.relevant for one in shuffled]).mean()
    assert np.quantile(np.abs(scores - common), 0.95) < 0.1


def test_calibrates_on_queries_it_was_not_trained_on(lessons):
    method = Relevance(epochs=1)
    held = method._held_out(lessons)
    groups = {one.group for one, apart in zip(lessons, held, strict=True) if apart}
    assert sum(held) == pytest.approx(0.25 * len(lessons), abs=2)
    assert not groups & {one.group for one, apart in zip(lessons, held, strict=True) if not apart}
    # Half of their right ones denied: the network stays as it is, and the curve sinks.
    rng = np.random.default_rng(0)
    denied = [
        replace(one, relevant=one.relevant & (rng.random(30) < 0.5)) if apart else one
        for one, apart in zip(lessons, held, strict=True)
    ]
    before, after = method.learn(lessons).state(), method.learn(denied).state()
    np.testing.assert_array_equal(before["first_map"], after["first_map"])
    assert after["curve"].max() < before["curve"].max()


def test_what_does_not_carry_over_to_held_out_queries_is_not_kept(lessons, test_lessons):
    held = Relevance()._held_out(lessons)
    rng = np.random.default_rng(0)
    chance = [
        one if apart else replace(one, relevant=rng.permutation(one.relevant))
        for one, apart in zip(lessons, held, strict=True)
    ]
    by_cosine = roc_auc_score(*reversed(scored(Cosine(), test_lessons)))
    assert roc_auc_score(*reversed(scored(Relevance().learn(chance), test_lessons))) > by_cosine - 0.01


def test_the_curve_is_isotonic_regression_over_bins():
    rng = np.random.default_rng(0)
    values = rng.normal(size=2000)
    right = rng.random(2000) < 1 / (1 + np.exp(-values))
    at, curve = calibration_curve(values, right)
    order = np.argsort(values)
    bins = [order[first : first + 20] for first in range(0, 2000, 20)]
    expected = IsotonicRegression().fit([values[b].mean() for b in bins], [right[b].mean() for b in bins])
    x = np.linspace(at[0], at[-1], 50)
    np.testing.assert_allclose(np.interp(x, at, curve), expected.predict(x), atol=1e-12)
    # one lucky value at the top is no certainty
    values[0], right[0] = 9, True
    assert calibration_curve(values, right)[1][-1] < 1


def test_where_the_curve_is_flat_the_networks_order_stays(learnt, test_lessons):
    scores, _ = scored(learnt, test_lessons)
    values = np.concatenate(
        [
            learnt._learnt.network(look(one.query, one.candidates, learnt._learnt.glasses, ()))
            for one in test_lessons
        ]
    )
    assert (np.diff(scores[np.argsort(values)]) >= 0).all()
    assert len(np.unique(scores)) > 0.95 * len(scores)
    curve = np.interp(values, learnt._learnt.curve_at, learnt._learnt.curve)
    assert np.abs(scores - curve).max() <= 1.001e-3


def test_the_network_is_what_a_loop_computes():
    rng = np.random.default_rng(0)
    inputs, numbers, hidden = 11, 3, 4
    arrays = {
        "centre": rng.normal(size=inputs),
        "scale": rng.uniform(0.5, 2, inputs),
        "straight": rng.normal(size=numbers),
        "first_map": rng.normal(size=(inputs, hidden)),
        "first_bias": rng.normal(size=hidden),
        "second_map": rng.normal(size=hidden),
        "second_bias": rng.normal(size=1),
    }
    network = Network({name: array.astype(np.float32) for name, array in arrays.items()})
    rows = rng.normal(size=(5, inputs)).astype(np.float32)
    for row, found in zip(rows, network(rows), strict=True):
        z = [(row[i] - arrays["centre"][i]) / arrays["scale"][i] for i in range(inputs)]
        value = arrays["second_bias"][0] + sum(arrays["straight"][n] * z[8 + n] for n in range(numbers))
        for h in range(hidden):
            bent = arrays["first_bias"][h] + sum(z[i] * arrays["first_map"][i, h] for i in range(inputs))
            value += arrays["second_map"][h] * max(bent, 0)
        assert found == pytest.approx(value, abs=1e-4)


def test_reads_vectors_and_numbers_as_it_says(make_case):
    query, found = make_case(0, count=4, dim=3)
    glasses = Glasses(np.eye(3, 2, dtype=np.float32), np.zeros(3, np.float32), np.full(3, 0.1, np.float32))
    for rank, row in enumerate(look(query, found, glasses, ())):
        q, x = query.vector[:2], found.vectors[rank, :2] - 0.1
        cos = float(query.vector @ found.vectors[rank])
        gap = float(query.vector @ found.vectors[0]) - cos
        expected = [*q, *x, *(q * x), *np.abs(q - x), cos, np.log2(rank + 1), gap]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_directions_are_principal_whatever_lies_between_the_sides(make_lessons):
    some = make_lessons(30)
    asked, found = [one.query for one in some], [one.candidates for one in some]
    glasses = Glasses.fitted(asked, found, 4)
    far = [Asked(one.vector + np.float32(5)) for one in asked]
    np.testing.assert_allclose(Glasses.fitted(far, found, 4).directions, glasses.directions, atol=1e-3)
    np.testing.assert_allclose(glasses.directions.T @ glasses.directions, np.eye(4), atol=1e-5)
    sides = [np.stack([one.vector for one in asked]), np.concatenate([one.vectors for one in found])]
    covariance = sum(np.cov(side.T.astype(float), bias=True) for side in sides)
    spread = np.diag(glasses.directions.T.astype(float) @ covariance @ glasses.directions)
    np.testing.assert_allclose(spread, np.linalg.eigvalsh(covariance)[::-1][:4], rtol=1e-4)


def test_a_candidate_scores_alike_for_any_order_of_lessons_given(lessons):
    # The split is by group, not by place: a lesson stays on its side.
    method = Relevance()
    held = dict(zip([one.group for one in lessons], method._held_out(lessons), strict=True))
    turned = list(reversed(lessons))
    assert all(held[one.group] == apart for one, apart in zip(turned, method._held_out(turned), strict=True))


def test_refuses_too_few_lessons_and_says_what_to_do(make_lessons):
    with pytest.raises(
        DataError, match="8 lessons with right and wrong candidates to calibrate on, but found"
    ):
        Relevance().learn(make_lessons(12))
    with pytest.raises(DataError, match="to train on, but found 0 of 0"):
        Relevance().learn([])
    right = [replace(one, relevant=np.ones(30, bool)) for one in make_lessons(60)]
    with pytest.raises(DataError, match="found 0 of"):
        Relevance().learn(right)


def test_refuses_a_state_of_other_parameters(learnt):
    with pytest.raises(ValueError, match="the state reads 16 directions but this reranker 8"):
        Relevance(directions=8).with_state(learnt.state())
    with pytest.raises(ValueError, match="first_map of the state must be"):
        Relevance(hidden=64).with_state(learnt.state())
    with pytest.raises(ValueError, match="centre of the state must be"):
        Relevance(facts=("same",)).with_state(learnt.state())


def test_refuses_verdicts_that_do_not_fit():
    found = Found(("a",), np.ones((1, 2), np.float32), np.ones(1, np.float32))
    with pytest.raises(ValueError, match="1 candidates need as many verdicts"):
        Lesson(Asked(np.ones(2, np.float32)), found, np.ones(2, bool))


@pytest.mark.parametrize(
    "params",
    [
        {"hidden": 0},
        {"near": 0},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"dropout": 1.0},
        {"held_out": 0.0},
        {"held_out": 0.6},
        {"seed": -1},
        {"directions": -1},
        {"facts": ("a", "a")},
    ],
)
def test_refuses_parameters_out_of_range(params):
    with pytest.raises(ValueError):
        Relevance(**params)
