"""What every encoder must keep: the contract, on small real instances."""

import pickle
import pkgutil
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import tasks.encoders
from tasks.encoders import ENCODERS, Encoder, identity
from tasks.encoders.efficientnet_lite0 import EfficientNetLite0
from tasks.encoders.hashing import Hashing
from tasks.encoders.hf_dual import HfDual
from tasks.encoders.lite import Lite
from tasks.encoders.minilm import MiniLM

Case = tuple[Encoder, Sequence[object]]
SMALL: dict[str, Callable[[pytest.FixtureRequest], Encoder]] = {
    "efficientnet": lambda request: EfficientNetLite0(),
    "minilm": lambda request: MiniLM(),
    "hashing": lambda request: Hashing(),
    "lite": lambda request: Lite(),
    "clip": lambda request: HfDual(request.getfixturevalue("clip"), batch_size=3),
    "siglip": lambda request: HfDual(request.getfixturevalue("siglip"), batch_size=3),
    "clap": lambda request: HfDual(request.getfixturevalue("clap"), batch_size=3),
}
CASES = [
    *(f"{small}-{kind}" for small in ("hashing", "lite", "clip", "siglip") for kind in ("text", "image")),
    "efficientnet-image",
    "minilm-text",
    "clap-text",
    "clap-audio",
]


@pytest.fixture(params=SMALL)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return SMALL[request.param](request)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, items_of: dict[str, Callable[[int], Sequence[object]]]) -> Case:
    """An encoder and seven items of a kind it takes."""
    small, kind = request.param.split("-")
    return SMALL[small](request), items_of[kind](7)


def test_every_small_instance_covers_every_encoder_and_modality() -> None:
    assert {"efficientnet-lite0", "hashing", "lite", "minilm", "hf-dual"} == set(ENCODERS)


def test_gives_unit_float32_vectors_of_its_width(case: Case) -> None:
    encoder, items = case
    vectors = encoder(items)
    assert vectors.shape == (7, encoder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_is_deterministic(case: Case) -> None:
    encoder, items = case
    np.testing.assert_array_equal(encoder(items), encoder(items))


def test_an_item_does_not_depend_on_its_batch(case: Case) -> None:
    encoder, items = case
    alone = np.concatenate([encoder(items[i : i + 1]) for i in range(len(items))])
    np.testing.assert_allclose(encoder(items), alone, atol=1e-5)


def test_keeps_the_order_of_items(case: Case) -> None:
    encoder, items = case
    order = [4, 2, 6, 0, 5, 1, 3]
    shuffled = encoder([items[i] for i in order])
    np.testing.assert_allclose(encoder(items)[order], shuffled, atol=1e-5)


def test_tells_unlike_items_apart(case: Case) -> None:
    encoder, items = case
    first, last = encoder([items[0], items[3]])
    assert not np.allclose(first, last, atol=1e-6)


def test_accepts_no_items(encoder: Encoder) -> None:
    vectors = encoder([])
    assert vectors.shape == (0, encoder.dim)
    assert vectors.dtype == np.float32


def test_survives_pickling(case: Case) -> None:
    encoder, items = case
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder))(items), encoder(items))


def test_refuses_items_of_two_kinds(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="kind"):
        encoder(["red", np.zeros((4, 4, 3), np.uint8)])  # type: ignore[list-item]


def test_weights_digest_is_sha256_or_empty(encoder: Encoder) -> None:
    digest = encoder.weights_digest()
    assert digest == "" or (len(digest) == 64 and int(digest, 16) >= 0)


def test_has_an_identity_that_a_copy_shares(encoder: Encoder) -> None:
    assert identity(encoder).digest == identity(pickle.loads(pickle.dumps(encoder))).digest
    assert identity(encoder).dim == encoder.dim
    assert identity(encoder).table.startswith(f"embeddings_{encoder.name.replace('-', '_')}")


@pytest.mark.parametrize("method", ENCODERS.values(), ids=ENCODERS)
def test_cites_its_source(method: type[Encoder]) -> None:
    assert method.source.title and method.source.url.startswith("https://")
    assert method.modalities <= {"text", "image", "audio"}


def test_every_module_in_the_folder_is_in_the_list() -> None:
    methods = {
        module.name
        for module in pkgutil.iter_modules(tasks.encoders.__path__)
        if not module.name.startswith("_") and module.name not in {"contract", "identity"}
    }
    assert methods == {method.__module__.split(".")[-1] for method in ENCODERS.values()}
    assert methods == {name.replace("-", "_") for name in ENCODERS}
