"""What a teacher believes, against a double loop, and that training takes it as it should."""

import numpy as np
import pytest
import torch

from schemas.batch import PairBatch
from tasks.heads.linear import Linear
from tasks.losses.info_nce import InfoNCE
from tasks.losses.tal import TAL
from tasks.training.fit import Schedule, fit
from tasks.training.teacher import Believed


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def pairs() -> PairBatch:
    rng = np.random.default_rng(3)
    group = np.array([0, 0, *range(1, 11)], dtype=np.int64)  # the first two show the same thing
    return PairBatch(unit(rng.normal(size=(12, 6))), unit(rng.normal(size=(12, 6))), group=group)


def test_belief_is_a_softmax_over_everyone_else(pairs):
    believed = Believed(pairs, np.arange(12), pairs.media_vec, pairs.text_vec, 0.3)
    batch = np.array([5, 0, 1, 9])
    forth, back = believed.of(batch)
    for a, i in enumerate(batch):
        others = [k for k in range(12) if pairs.group[k] != pairs.group[i]]
        for b, j in enumerate(batch):
            for found, ours, theirs in (
                (forth, pairs.media_vec, pairs.text_vec),
                (back, pairs.text_vec, pairs.media_vec),
            ):
                total = sum(np.exp(float(ours[i] @ theirs[k]) / 0.3) for k in others)
                wanted = np.exp(float(ours[i] @ theirs[j]) / 0.3) / total if j in others else 0.0
                assert float(found[a, b]) == pytest.approx(wanted, abs=1e-5)


def test_rows_left_out_are_not_believed_in(pairs):
    rows = np.array([0, 2, 3, 4])
    forth, _ = Believed(pairs, rows, pairs.media_vec, pairs.text_vec, 0.3).of(rows)
    np.testing.assert_allclose(forth.sum(dim=1), 1, atol=1e-5)  # the four share the whole of it


def test_a_row_of_label_0_follows_the_teacher_alone():
    similarity = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    forth, back = torch.tensor([[0.0, 0.5], [0.7, 0.0]]), torch.tensor([[0.0, 0.25], [0.1, 0.0]])
    label = torch.tensor([0.0, 1.0])
    found = InfoNCE(temperature=1.0)(similarity, label=label, believed=(forth, back))

    def log_p(row: list[float], at: int) -> float:
        return row[at] - float(np.log(sum(np.exp(row))))

    wanted = [
        -0.5 * log_p([0.9, 0.1], 1) - 0.25 * log_p([0.9, 0.2], 1),
        -log_p([0.2, 0.8], 1) - log_p([0.1, 0.8], 1),
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


class Oracle:
    """Knows where everything lies: the first two numbers of every vector."""

    def media(self, vectors: np.ndarray) -> np.ndarray:
        return unit(vectors[:, :2] + 1e-9)

    text = media


@pytest.mark.parametrize("seed", range(3))
def test_a_good_teacher_mends_what_mismatched_pairs_spoil(seed):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, 240)
    seen = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    media, text = (unit(np.concatenate([seen, 0.8 * rng.normal(size=(240, 14))], axis=1)) for _ in range(2))
    train, test = np.arange(160), np.arange(160, 240)
    wrong = np.arange(96)
    order = np.arange(160)
    order[wrong] = np.roll(wrong, 1)
    pairs = PairBatch(media[train], text[train][order])
    label = np.ones(160, np.float32)
    label[wrong] = 0.0
    how = {
        "head": Linear(width=8), "loss": InfoNCE(temperature=0.1, teacher_temperature=0.02),
        "schedule": Schedule(epochs=25, batch_size=64), "seed": seed,
    }  # fmt: skip

    def angle_error(towers) -> float:
        similarity = towers.media(media[test]) @ towers.text(text[test]).T
        best = similarity.argmax(axis=1)
        return float(np.abs(np.angle(np.exp(1j * (angle[test] - angle[test][best])))).mean())

    assert angle_error(fit(pairs, label=label, teacher=Oracle(), **how)) < angle_error(fit(pairs, **how))


def test_a_loss_without_use_for_a_teacher_says_so(pairs):
    with pytest.raises(ValueError, match="no use for a teacher"):
        fit(pairs, head=Linear(width=4), loss=TAL(), schedule=Schedule(epochs=1), seed=0, teacher=Oracle())
