"""What every coder promises."""

import pkgutil
import subprocess
import sys
from urllib.parse import urlparse

import numpy as np
import pytest

import tasks.codes
from schemas.errors import DataError
from schemas.recipes import MethodRef
from tasks.catalog import build
from tasks.codes import CODERS, Codes, SemiPaired

every_coder = pytest.mark.parametrize("name", CODERS)


def rows(pairs=60, media=40, texts=30, seed=0, dims=(12, 9)):
    """Two views of the same few directions; what is unpaired comes from the same ones."""
    rng = np.random.default_rng(seed)
    views = [rng.normal(size=(5, dim)) for dim in dims]

    def seen(latent, view):
        return (latent @ view + 0.3 * rng.normal(size=(len(latent), view.shape[1]))).astype(np.float32)

    both = rng.normal(size=(pairs, 5))
    alone = [seen(rng.normal(size=(n, 5)), view) for n, view in zip((media, texts), views, strict=True)]
    return SemiPaired(seen(both, views[0]), seen(both, views[1]), *alone)


@every_coder
@pytest.mark.parametrize("bits", [8, 16, 64])
def test_codes_are_packed_bits_of_both_sides(name, bits):
    given = rows()
    codes = build(CODERS, MethodRef(name=name, params={"bits": bits}))(given)
    assert codes.bits == bits
    for side, vectors in (("media", given.media_vec), ("text", given.text_only)):
        packed = codes.code(side, vectors)
        assert packed.shape == (len(vectors), bits // 8)
        assert packed.dtype == np.uint8


@every_coder
def test_a_bit_is_the_sign_of_a_projection(name):
    given = rows()
    codes = CODERS[name](bits=16)(given)
    packed = codes.code("text", given.text_vec)
    for row, vector in enumerate(given.text_vec[:10]):
        for bit in range(16):
            value = float((vector - codes.text_mean) @ codes.text_map[:, bit])
            if abs(value) > 1e-4:
                assert (packed[row, bit // 8] >> (7 - bit % 8)) & 1 == (value > 0)


@every_coder
def test_gives_the_same_codes_again(name):
    once, again = (CODERS[name](bits=16)(rows()).state() for _ in range(2))
    for part, values in once.items():
        np.testing.assert_array_equal(values, again[part])


@every_coder
def test_leaves_the_rows_as_they_are(name):
    given, untouched = rows(), rows()
    CODERS[name](bits=8)(given)
    for part, values in vars(given).items():
        np.testing.assert_array_equal(values, getattr(untouched, part))


@every_coder
def test_codes_survive_being_kept(name):
    given = rows()
    codes = CODERS[name](bits=16)(given)
    again = Codes.from_state(codes.state())
    np.testing.assert_array_equal(again.code("media", given.media_vec), codes.code("media", given.media_vec))
    with pytest.raises(DataError, match="text_mean"):
        Codes.from_state({part: v for part, v in codes.state().items() if part != "text_mean"})


@every_coder
@pytest.mark.parametrize("given", [{"media": 0, "texts": 0}, {"pairs": 2}, {"pairs": 200, "media": 0}])
def test_needs_no_unpaired_rows_and_few_paired_ones(name, given):
    drawn = rows(**given)
    codes = CODERS[name](bits=8)(drawn)
    assert all(np.isfinite(values).all() for values in codes.state().values())


@every_coder
def test_rows_that_are_all_alike_give_codes(name):
    same = np.ones((6, 4), np.float32)
    codes = CODERS[name](bits=8)(SemiPaired(same, same, same[:2], same[:0]))
    assert len(np.unique(codes.code("media", same), axis=0)) == 1


@every_coder
def test_nothing_to_learn_from_is_refused(name):
    none = np.empty((0, 4), np.float32)
    with pytest.raises(DataError, match="found 0"):
        CODERS[name](bits=8)(SemiPaired(none, none, none, none))


@every_coder
@pytest.mark.parametrize("bits", [0, 12, -8])
def test_bits_come_in_eights(name, bits):
    with pytest.raises(ValueError, match="multiple of 8"):
        CODERS[name](bits=bits)


@every_coder
def test_cites_a_source(name):
    source = CODERS[name].source
    assert source.title
    assert source.authors
    assert 1950 < source.year < 2100
    assert urlparse(source.url).scheme == "https"


def test_every_module_in_the_folder_is_in_the_list():
    modules = {module.name for module in pkgutil.iter_modules(tasks.codes.__path__)}
    methods = {name for name in modules if not name.startswith("_")} - {"contract"}
    assert methods == {name.replace("-", "_") for name in CODERS}


def test_the_list_is_sorted():
    assert list(CODERS) == sorted(CODERS)


def test_importing_the_family_opens_no_torch():
    code = "import sys, tasks.codes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_refuses_rows_that_do_not_fit():
    a, b = np.ones((3, 4), np.float32), np.ones((2, 5), np.float32)
    with pytest.raises(DataError, match="as many texts"):
        SemiPaired(a, b, a, b)
    with pytest.raises(DataError, match="one encoder a side"):
        SemiPaired(a, b[[0, 1, 1]], b, b)
    with pytest.raises(DataError, match="media_only .* row 1"):
        SemiPaired(a, a, np.float32([[1, 1, 1, 1], [1, np.nan, 1, 1]]), a)
    with pytest.raises(DataError, match="rows of vectors"):
        SemiPaired(a[0], a, a, a)


def test_refuses_to_code_what_it_was_not_fitted_for():
    codes = CODERS["sign-of-projection"](bits=8)(rows())
    with pytest.raises(ValueError, match="media or text"):
        codes.code("image", np.ones((1, 12), np.float32))
    with pytest.raises(ValueError, match="must be"):
        codes.code("text", np.ones((1, 12), np.float32))
    with pytest.raises(DataError, match="row 0"):
        codes.code("media", np.full((1, 12), np.nan, np.float32))
    assert codes.code("media", np.empty((0, 12), np.float32)).shape == (0, 1)


def test_refuses_maps_that_do_not_fit():
    mean, matrix = np.zeros(3, np.float32), np.zeros((3, 8), np.float32)
    with pytest.raises(ValueError, match="multiple of 8"):
        Codes(mean, matrix[:, :7], mean, matrix[:, :7])
    with pytest.raises(ValueError, match="multiple of 8"):
        Codes(mean, matrix, mean, np.zeros((3, 16), np.float32))
    with pytest.raises(ValueError, match="a mean"):
        Codes(mean[:2], matrix, mean, matrix)
