"""What every loss promises."""

import pkgutil
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from urllib.parse import urlparse

import pytest
import torch

import tasks.losses
from schemas.errors import InvalidParameter
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.losses import LOSSES

# Each loss, and each of its forms that takes another path.
FORMS = [
    ("active-complementary", {}),
    *[("complementary", {"penalty": penalty}) for penalty in ("log", "tan", "mae", "exp", "gce")],
    ("evidential", {}),
    *[("info-nce", {"rest": rest}) for rest in ("similar", "uniform", "dropped")],
    ("info-nce", {"smoothing": 0.1}),
    ("sdm", {}),
    ("tal", {}),
    *[("triplet", {"negatives": negatives}) for negatives in ("mean", "hardest", "semi-hard")],
    *[("triplet", {"soft": soft}) for soft in ("linear", "sine")],
]
every_form = pytest.mark.parametrize(("name", "params"), FORMS)
every_loss = pytest.mark.parametrize("name", LOSSES)


def made(name, params):
    return build(LOSSES, MethodRef(name=name, params=params))


def test_every_loss_is_tried():
    assert {name for name, _ in FORMS} == set(LOSSES)


@every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gives_one_finite_number_a_row_in_the_type_of_the_cosines(name, params, dtype, make_batch):
    batch = make_batch(7, groups=4)
    loss = made(name, params)(batch.similarity.to(dtype), label=batch.label.to(dtype), same=batch.same)
    assert loss.shape == (7,)
    assert loss.dtype == dtype
    assert loss.isfinite().all()
    assert (loss > -1e-6).all()


@every_form
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("value", [1.0, -1.0, 0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("labelled", [None, 0.0, 0.5, 1.0])
def test_equal_similarities_leave_value_and_gradient_finite(name, params, size, value, masked, labelled):
    similarity = torch.full((size, size), value, requires_grad=True)
    label = None if labelled is None else torch.full((size,), labelled)
    same = torch.ones(size, size, dtype=torch.bool) if masked else None
    loss = made(name, params)(similarity, label=label, same=same)
    assert loss.isfinite().all()
    loss.sum().backward()
    assert similarity.grad.isfinite().all()


@every_form
@pytest.mark.parametrize("right", [1.0, -1.0])
def test_the_extremes_of_the_cosine_leave_value_and_gradient_finite(name, params, right):
    similarity = torch.where(torch.eye(6, dtype=torch.bool), right, -right).requires_grad_()
    loss = made(name, params)(similarity, label=torch.linspace(0, 1, 6))
    assert loss.isfinite().all()
    loss.sum().backward()
    assert similarity.grad.isfinite().all()


@every_form
def test_the_gradient_is_that_of_the_value(name, params, make_batch):
    batch = make_batch(5, seed=3, groups=4)
    loss = made(name, params)
    if name == "info-nce" and params.get("rest", "similar") == "similar":
        pytest.skip("the target moves with the similarity but has no gradient, on purpose")
    if name == "tal":
        batch = make_batch(5, seed=3)  # the weights of several positives have no gradient, on purpose
    assert torch.autograd.gradcheck(
        lambda similarity: loss(similarity, label=batch.label, same=batch.same),
        batch.similarity.clone().requires_grad_(),
    )


@every_form
def test_prefers_aligned_pairs_to_mismatched_ones(name, params, make_batch):
    batch = make_batch(12, spread=0.2)
    loss = made(name, params)
    assert loss(batch.similarity).mean() < loss(batch.similarity.roll(1, dims=1)).mean()


@every_form
def test_transposing_changes_nothing(name, params, make_batch):
    batch = make_batch(6, groups=4)
    forth = made(name, params)(batch.similarity, label=batch.label, same=batch.same)
    back = made(name, params)(batch.similarity.T, label=batch.label, same=batch.same.T)
    torch.testing.assert_close(forth, back)


@every_form
def test_the_order_of_rows_changes_nothing(name, params, make_batch):
    batch, order = make_batch(8, groups=5), torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    loss = made(name, params)
    moved = loss(
        batch.similarity[order][:, order], label=batch.label[order], same=batch.same[order][:, order]
    )
    torch.testing.assert_close(moved, loss(batch.similarity, label=batch.label, same=batch.same)[order])


@every_form
def test_the_diagonal_of_same_need_not_be_set(name, params, make_batch):
    batch = make_batch(6)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    torch.testing.assert_close(
        made(name, params)(batch.similarity, same=nothing), made(name, params)(batch.similarity)
    )


@every_form
def test_no_label_means_all_true(name, params, make_batch):
    batch = make_batch(6)
    loss = made(name, params)
    torch.testing.assert_close(loss(batch.similarity, label=torch.ones(6)), loss(batch.similarity))


@every_form
def test_a_label_concerns_its_own_row_only(name, params, make_batch):
    similarity = 0.05 * make_batch(6).similarity  # close enough that every hinge is open
    loss = made(name, params)
    doubted = torch.ones(6, dtype=torch.float64)
    doubted[2] = 0.3
    changed = loss(similarity, label=doubted) - loss(similarity)
    others = torch.arange(6) != 2
    torch.testing.assert_close(changed[others], torch.zeros(5, dtype=torch.float64))
    assert (changed[2] != 0) == (name != "complementary")


@every_form
def test_what_shows_the_same_thing_is_not_pushed_away(name, params, make_batch):
    batch = make_batch(5)
    same = torch.eye(5, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    similarity = batch.similarity.clone().requires_grad_()
    made(name, params)(similarity, same=same).sum().backward()
    assert similarity.grad[0, 1] <= 1e-12  # a gradient step never makes it less similar


@every_loss
def test_refuses_labels_of_another_length(name, make_batch):
    with pytest.raises(ValueError, match="one label a row"):
        LOSSES[name]()(make_batch(4).similarity, label=torch.ones(3))


@every_loss
def test_refuses_temperatures_and_margins_out_of_range(name):
    takes = {field.name for field in fields(LOSSES[name])} & {"temperature", "margin"}
    assert takes
    for field in takes:
        for wrong in (0.0, -1.0):
            with pytest.raises(InvalidParameter, match="must be positive"):
                made(name, {field: wrong})


@every_loss
def test_is_frozen(name):
    loss = LOSSES[name]()
    with pytest.raises(FrozenInstanceError):
        setattr(loss, fields(LOSSES[name])[0].name, 1)


@every_loss
def test_cites_a_source(name):
    source = LOSSES[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {m.name for m in pkgutil.iter_modules(tasks.losses.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in LOSSES}


def test_the_list_is_sorted():
    assert list(LOSSES) == sorted(LOSSES)


@pytest.mark.parametrize("family", ["losses", "miners", "heads", "training.fit", "training.co_teaching"])
def test_importing_a_family_does_not_import_torch(family):
    command = f"import sys, tasks.{family}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
