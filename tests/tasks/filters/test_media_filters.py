"""Values of the media filters, from arithmetic and an oracle."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, laplace

from schemas.errors import DataError
from tasks.filters import Aspect, ManyTexts, MinSide, Sharpness, SizeBytes, Uniformity

CHECKERBOARD = ((np.indices((40, 40)).sum(axis=0) % 2) * 255).astype(np.uint8)


def test_min_side_is_the_shorter_of_the_two(make_media):
    rows = make_media(width_px=[300, 20, None], height_px=[200, 21, 5])
    np.testing.assert_array_equal(MinSide()(rows), [200, 20, np.nan])


def test_aspect_does_not_depend_on_which_side_is_longer(make_media):
    rows = make_media(width_px=[300, 100, 7], height_px=[100, 300, 7])
    np.testing.assert_array_equal(Aspect()(rows), [3, 3, 1])


def test_aspect_refuses_a_side_of_no_pixels(make_media):
    with pytest.raises(DataError, match="0 px"):
        Aspect()(make_media(width_px=[0], height_px=[3]))


def test_size_and_count_are_passed_on(make_media):
    rows = make_media(media_id=["a"], size_bytes=[12_345], text_count=[7])
    assert SizeBytes()(rows) == [12_345]
    assert ManyTexts()(rows) == [7]


def test_sharpness_is_the_variance_of_scipys_laplacian(make_media, as_webp):
    grey = np.random.default_rng(1).integers(0, 256, (31, 17), dtype=np.uint8)
    expected = laplace(grey / 255, mode="nearest").var()
    assert Sharpness()(make_media(thumbnail=[as_webp(grey)])) == pytest.approx(expected, rel=1e-5)


def test_sharpness_falls_with_blur_and_is_zero_on_a_flat_picture(make_media, as_webp):
    noise = np.random.default_rng(2).integers(0, 256, (64, 64)).astype(float)
    blurred = [gaussian_filter(noise, sigma).astype(np.uint8) for sigma in (0, 1, 2)]
    scores = Sharpness()(
        make_media(thumbnail=[as_webp(p) for p in [*blurred, np.full((9, 9), 200, np.uint8)]])
    )
    assert (np.diff(scores) < 0).all()
    assert scores[-1] == 0


def test_sharpness_of_a_checkerboard_is_sixteen_inside_the_edges(make_media, as_webp):
    # A pixel differs from 4 neighbours by 1, from 3 on the 152 edges' pixels but the corners, from 2 in the
    # 4 corners.
    values = np.repeat([4.0, 3.0, 2.0], [38 * 38, 4 * 38, 4])
    assert Sharpness()(make_media(thumbnail=[as_webp(CHECKERBOARD)])) == pytest.approx(
        (values**2).mean(), rel=1e-5
    )


def test_a_picture_of_one_pixel_has_a_sharpness(make_media, as_webp):
    assert Sharpness()(make_media(thumbnail=[as_webp(np.full((1, 1), 3, np.uint8))])) == 0


def test_uniformity_is_the_share_of_the_commonest_colour(make_media, as_webp):
    picture = np.full((10, 10, 3), (250, 10, 90), np.uint8)
    picture[:3] = (0, 255, 0)
    flat = np.full((10, 10, 3), 255, np.uint8)
    halves = np.where(np.indices((10, 10))[0] < 5, 0, 255).astype(np.uint8)
    rows = make_media(thumbnail=[as_webp(picture), as_webp(flat), as_webp(halves)])
    np.testing.assert_allclose(Uniformity()(rows), [0.7, 1.0, 0.5])


def test_uniformity_forgives_a_little_noise_across_a_cell_boundary(make_media, as_webp):
    noisy = np.random.default_rng(3).integers(126, 131, (20, 20, 3), dtype=np.uint8)  # cells part at 128
    assert Uniformity()(make_media(thumbnail=[as_webp(noisy)])) == 1
    assert Uniformity(tolerance=0)(make_media(thumbnail=[as_webp(noisy)])) < 0.5


def test_uniformity_refuses_a_tolerance_out_of_range():
    with pytest.raises(ValueError, match="0-255"):
        Uniformity(tolerance=256)


@pytest.mark.parametrize("method", [Sharpness, Uniformity])
@pytest.mark.parametrize("broken", [b"", b"not a picture"])
def test_refuses_a_thumbnail_that_is_no_picture(method, broken, make_media):
    with pytest.raises(DataError, match="no picture"):
        method()(make_media(thumbnail=[broken]))


@pytest.mark.parametrize("method", [Sharpness, Uniformity])
def test_refuses_a_thumbnail_cut_short(method, make_media, as_webp):
    whole = as_webp(np.random.default_rng(4).integers(0, 256, (30, 30), dtype=np.uint8))
    with pytest.raises(DataError, match="no picture"):
        method()(make_media(thumbnail=[whole[: len(whole) // 2]]))
