"""Facts, thumbnails and refusals, against arithmetic and naive loops."""

import hashlib
import io
import random
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from schemas.errors import BadInput
from schemas.items import Inspected
from schemas.recipes import InspectRecipe
from schemas.settings import DecodeLimits
from tasks.media.decoder import Decoder, LocalBytes
from tasks.media.inspect import inspect
from tasks.media.picture import as_plain, difference_hash
from tests.hostile_media import bad_media, encoded, good_media, png_by_hand, scene, svg


def thumbnail_of(found: Inspected) -> Image.Image:
    assert found.thumbnail is not None
    return Image.open(io.BytesIO(found.thumbnail))


def grey(red: float, green: float, blue: float) -> float:
    return 0.299 * red + 0.587 * green + 0.114 * blue


def hash_by_loops(cells: list[list[float]]) -> str:
    """Difference hash of 8 rows of 9 grey cells, bit by bit."""
    bits = "".join("1" if row[i] < row[i + 1] else "0" for row in cells for i in range(8))
    return f"{int(bits, 2):016x}"


def box_means(picture: Image.Image) -> list[list[float]]:
    """Grey means of 9 x 8 cells of a picture on white whose sides are multiples of 9 and 8."""
    rgb = Image.new("RGBA", picture.size, "white")
    rgb.alpha_composite(picture.convert("RGBA"))
    across, down = picture.width // 9, picture.height // 8
    means: list[list[float]] = []
    for row in range(8):
        means.append([])
        for column in range(9):
            pixels = [
                grey(*rgb.crop((x, y, x + 1, y + 1)).tobytes()[:3])
                for x in range(column * across, (column + 1) * across)
                for y in range(row * down, (row + 1) * down)
            ]
            means[-1].append(sum(pixels) / len(pixels))
    return means


def test_awkward_but_valid_media_are_taken_with_the_right_facts(tmp_path: Path, decoder: Decoder) -> None:
    expected = good_media(tmp_path)
    answers = decoder.inspect_many((LocalBytes(str(tmp_path / name)), name) for name in expected)
    for (name, facts), found in zip(expected.items(), answers, strict=True):
        assert isinstance(found, Inspected), f"{name}: {found}"
        assert {key: getattr(found, key) for key in facts} == facts, name
        data = (tmp_path / name).read_bytes()
        assert (found.media_id, found.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        if found.modality == "image":
            thumbnail = thumbnail_of(found)
            assert (thumbnail.format, thumbnail.mode) == ("WEBP", "RGB"), name
        else:
            assert (found.thumbnail, found.decoder) == (None, "none")


def test_every_bad_file_is_refused_for_its_own_reason(tmp_path: Path, decoder: Decoder) -> None:
    expected = bad_media(tmp_path)
    answers = decoder.inspect_many((LocalBytes(str(tmp_path / name)), name) for name in expected)
    for (name, reason), found in zip(expected.items(), answers, strict=True):
        assert isinstance(found, BadInput), f"{name} was taken"
        assert found.reason == reason, f"{name}: {found.message}"
        if reason != "not-a-file":
            assert found.digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest(), name


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L"])
def test_hash_equals_a_naive_loop_over_cells(mode: str, recipe: InspectRecipe, limits: DecodeLimits) -> None:
    chance = random.Random(1)
    cells = Image.new("RGBA", (9, 8))
    cells.putdata([tuple(chance.randrange(256) for _ in range(4)) for _ in range(72)])
    picture = cells.convert(mode).resize((63, 40), Image.Resampling.NEAREST)
    found = inspect(encoded(picture, "PNG"), name="a.png", recipe=recipe, limits=limits)
    assert found.phash == hash_by_loops(box_means(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_hash_and_thumbnail_are_of_the_upright_picture(
    orientation: int, recipe: InspectRecipe, limits: DecodeLimits
) -> None:
    chance = random.Random(2)
    cells = Image.new("RGB", (72, 72))
    cells.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(72 * 72)])
    smooth = cells.resize((12, 12), Image.Resampling.BOX).resize((144, 72), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(ImageOps.autocontrast(smooth), "JPEG", exif=exif, quality=100)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    found = inspect(data, name="a.jpg", recipe=recipe, limits=limits)
    expected = upright.convert("L").resize((9, 8), Image.Resampling.BOX)
    wrong = int(found.phash or "0", 16) ^ int(
        hash_by_loops([list(expected.crop((0, r, 9, r + 1)).tobytes()) for r in range(8)]), 16
    )
    assert wrong.bit_count() <= 2  # cells within one grey level of each other may fall either way
    small = thumbnail_of(found)
    assert small.size == upright.size == (found.width_px, found.height_px)
    for corner in ((3, 3), (small.width - 4, 3), (3, small.height - 4), (small.width - 4, small.height - 4)):
        assert small.getpixel(corner) == pytest.approx(upright.getpixel(corner), abs=40)


@pytest.mark.parametrize(
    ("mode", "levels"),
    [
        ("I;16", [level * 257 for level in range(256)]),
        ("I", [level * 257 for level in range(256)]),
        ("I", [level * 4000 - 900 for level in range(256)]),
        ("F", [level / 255 for level in range(256)]),
        ("F", [level * 3.5 - 7 for level in range(256)]),
    ],
)
def test_deep_grey_is_scaled_and_not_clipped(mode: str, levels: list[float]) -> None:
    deep = Image.new(mode, (16, 16))
    deep.putdata(levels)
    assert list(as_plain(deep).get_flattened_data()) == list(range(256))


def test_a_float_picture_without_finite_range_is_still_taken(
    recipe: InspectRecipe, limits: DecodeLimits
) -> None:
    deep = Image.new("F", (2, 1))
    deep.putdata([float("nan"), float("inf")])
    assert inspect(encoded(deep, "TIFF"), name="a.tiff", recipe=recipe, limits=limits).colour_mode == "F"


@pytest.mark.parametrize(
    ("picture", "on_white"),
    [
        (Image.new("RGBA", (30, 30), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("RGBA", (3000, 30), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (30, 30), (0, 64)), (191, 191, 191)),
        (Image.new("RGB", (30, 30), (10, 200, 30)), (10, 200, 30)),
        (Image.new("1", (30, 30), 1), (255, 255, 255)),
    ],
)
def test_transparency_is_composited_on_white(
    picture: Image.Image, on_white: tuple[int, int, int], recipe: InspectRecipe, limits: DecodeLimits
) -> None:
    found = inspect(encoded(picture, "PNG"), name="a.png", recipe=recipe, limits=limits)
    assert thumbnail_of(found).getpixel((0, 0)) == pytest.approx(on_white, abs=4)


def test_hidden_colour_of_transparent_pixels_does_not_bleed(
    recipe: InspectRecipe, limits: DecodeLimits
) -> None:
    picture = Image.new("RGBA", (1000, 1000), (255, 255, 255, 255))
    for x in range(0, 1000, 2):
        picture.paste((0, 0, 0, 0), (x, 0, x + 1, 1000))
    found = inspect(encoded(picture, "PNG"), name="a.png", recipe=recipe, limits=limits)
    assert min(thumbnail_of(found).tobytes()) >= 250


def test_cmyk_jpeg_is_not_read_inverted(recipe: InspectRecipe, limits: DecodeLimits) -> None:
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    data = encoded(red, "JPEG", quality=95)
    assert b"Adobe" in data
    found = inspect(data, name="a.jpg", recipe=recipe, limits=limits)
    assert thumbnail_of(found).getpixel((16, 16)) == pytest.approx((255, 0, 0), abs=12)


@pytest.mark.parametrize(
    ("size", "thumbnail_size"),
    [((640, 480), (320, 240)), ((320, 9), (320, 9)), ((5, 4), (5, 4)), ((2, 3000), (1, 320))],
)
def test_thumbnail_shrinks_to_the_longer_side_and_never_grows(
    size: tuple[int, int], thumbnail_size: tuple[int, int], recipe: InspectRecipe, limits: DecodeLimits
) -> None:
    for kind in ("PNG", "JPEG"):
        found = inspect(encoded(scene().resize(size), kind), name="a", recipe=recipe, limits=limits)
        assert (found.width_px, found.height_px) == size
        assert thumbnail_of(found).size == thumbnail_size


def test_a_large_jpeg_decoded_small_keeps_its_facts_and_nearly_its_hash(
    recipe: InspectRecipe, limits: DecodeLimits
) -> None:
    picture = scene().resize((2880, 1920), Image.Resampling.BICUBIC)
    jpeg = inspect(encoded(picture, "JPEG", quality=95), name="a", recipe=recipe, limits=limits)
    full = difference_hash(as_plain(Image.open(io.BytesIO(encoded(picture, "JPEG", quality=95)))))
    assert (jpeg.width_px, jpeg.height_px) == (2880, 1920)
    assert (int(jpeg.phash or "0", 16) ^ int(full, 16)).bit_count() <= 1


def test_the_same_bytes_give_the_same_row(recipe: InspectRecipe, limits: DecodeLimits) -> None:
    data = encoded(scene().resize((900, 700)), "JPEG")
    rows = [inspect(data, name="a.jpg", recipe=recipe, limits=limits) for _ in range(2)]
    assert rows[0] == rows[1]


def test_a_different_quality_gives_a_different_thumbnail(limits: DecodeLimits) -> None:
    data = encoded(scene().resize((400, 300)), "PNG")
    sizes = [
        len(
            inspect(data, name="a", recipe=InspectRecipe(thumbnail_quality=q), limits=limits).thumbnail or b""
        )
        for q in (5, 95)
    ]
    assert sizes[0] < sizes[1]


def test_limits_hold_to_the_pixel_and_the_byte(recipe: InspectRecipe) -> None:
    data = encoded(scene(), "PNG")  # 24 x 16 = 384 pixels
    fits = DecodeLimits(max_pixels=384, max_bytes=len(data))
    assert inspect(data, name="a", recipe=recipe, limits=fits).width_px == 24
    for limits, reason in (
        (DecodeLimits(max_pixels=383), "too-many-pixels"),
        (DecodeLimits(max_bytes=len(data) - 1), "too-many-bytes"),
    ):
        with pytest.raises(BadInput) as refused:
            inspect(data, name="a", recipe=recipe, limits=limits)
        assert refused.value.reason == reason
        assert refused.value.digest == hashlib.sha256(data).hexdigest()


def test_a_bomb_inside_an_icon_is_seen(recipe: InspectRecipe, limits: DecodeLimits) -> None:
    inner = png_by_hand(30_000, 20_000, b"\x78\x9c\x03\0\0\0\0\x01")
    entry = bytes([16, 16, 0, 0, 1, 0, 32, 0]) + len(inner).to_bytes(4, "little") + (22).to_bytes(4, "little")
    with pytest.raises(BadInput) as refused:
        inspect(b"\0\0\1\0\1\0" + entry + inner, name="a.ico", recipe=recipe, limits=limits)
    assert refused.value.reason == "too-many-pixels"


def test_pillows_own_limit_is_left_as_it_was(recipe: InspectRecipe) -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadInput):
        inspect(encoded(scene(), "PNG"), name="a", recipe=recipe, limits=DecodeLimits(max_pixels=1))
    assert before == Image.MAX_IMAGE_PIXELS


def test_broken_exif_costs_the_orientation_and_not_the_picture(
    recipe: InspectRecipe, limits: DecodeLimits
) -> None:
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(20))
    assert inspect(data, name="a.jpg", recipe=recipe, limits=limits).orientation is None


def test_a_drawing_is_rendered_with_the_thumbnails_longer_side(limits: DecodeLimits) -> None:
    found = inspect(svg(), name="a.svg", recipe=InspectRecipe(thumbnail_px=200), limits=limits)
    small = thumbnail_of(found)
    assert small.size == (200, 100)
    assert small.getpixel((100, 50)) == pytest.approx((0xCC, 0, 0), abs=4)
    assert found.decoder.startswith("resvg_py ")
