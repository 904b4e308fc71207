"""Drawings: sizes by arithmetic, and what may and may not be inside."""

import base64
import gzip
import io

import pytest
from PIL import Image

from schemas.errors import BadInput
from tasks.media.drawing import rasterise
from tests.hostile_media import encoded, svg


def centre(png: bytes) -> tuple[int, ...]:
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    colour = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(colour, tuple)
    return colour


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ('width="40" height="20"', (40, 20)),
        ('width="2in" height="25.4mm"', (192, 96)),
        ('width="72pt" height="6pc"', (96, 96)),
        ('width="100%" height="100%" viewBox="0 0 30 60"', (30, 60)),
        ('viewBox="-5,-5, 30.4 60.6"', (30, 61)),
        ('width="1e3" height=".5"', (1000, 1)),
        ("", None),
    ],
)
def test_size_is_the_drawings_own_in_css_pixels(size: str, expected: tuple[int, int] | None) -> None:
    raster = rasterise(svg(size=size), longer_px=64)
    assert raster.size == expected
    assert max(Image.open(io.BytesIO(raster.png)).size) == pytest.approx(64, abs=1)


def test_an_embedded_picture_is_drawn() -> None:
    dot = base64.b64encode(encoded(Image.new("RGB", (8, 8), (0, 0, 255)), "PNG")).decode()
    for mime in ("image/png", ""):
        image = f'<image width="40" height="20" preserveAspectRatio="none" href="data:{mime};base64,{dot}"/>'
        assert centre(rasterise(svg(image), longer_px=40).png) == (0, 0, 255, 255)


def test_gradients_uses_and_entities_inside_the_drawing_work() -> None:
    content = (
        '<defs><linearGradient id="a"><stop stop-color="&ink;"/></linearGradient>'
        '<rect id="b" width="40" height="20" style="fill:url(#a)"/></defs><use xlink:href="#b"/>'
    )
    drawing = svg(content, before='<!DOCTYPE svg [<!ENTITY ink "#00ff00">]>')
    assert centre(rasterise(drawing, longer_px=40).png) == (0, 255, 0, 255)


def test_scripts_are_left_out_and_text_survives_rewriting() -> None:
    script = "<script>document.documentElement.remove()</script>"
    style = "<style>rect{fill:#00f} /* a &lt; b &amp; c */</style>"
    drawing = svg(script + style + '<title>"&lt;&amp;&gt;"</title><rect width="40" height="20"/>')
    assert centre(rasterise(drawing, longer_px=40).png) == (0, 0, 255, 255)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_declared_encodings_are_read(encoding: str) -> None:
    drawing = (
        f'<?xml version="1.0" encoding="{encoding}"?>' + svg('<rect id="é" width="40" height="20"/>').decode()
    )
    assert centre(rasterise(drawing.encode(encoding), longer_px=40).png) == (0, 0, 0, 255)


def test_a_gzip_bomb_stops_at_the_bound() -> None:
    with pytest.raises(BadInput) as refused:
        rasterise(gzip.compress(svg() + b" " * (65 << 20), 1), longer_px=40)
    assert refused.value.reason == "too-many-bytes"


@pytest.mark.parametrize("reference", ["&nothing;", "<use href='#a' /"])
def test_malformed_drawings_are_corrupt(reference: str) -> None:
    with pytest.raises(BadInput) as refused:
        rasterise(
            svg(reference, before='<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd">'), longer_px=40
        )
    assert refused.value.reason == "corrupt"


@pytest.mark.parametrize("tail", ["!", "", " " * 100_000 + "!"])
def test_a_length_of_very_many_digits_is_read_at_once(tail):
    """Once took seconds for 20,000 digits and minutes for 100,000: time grew with their square."""
    size = f'width="{"0" * 100_000}7{tail}" height="10"'
    raster = rasterise(svg(size=size), longer_px=16)
    assert raster.size == ((7, 10) if not tail else None)


@pytest.mark.parametrize("length", ["9" * 400, "9" * 308 + "e9", "3e9"])
def test_a_length_past_all_pixels_is_refused(length):
    with pytest.raises(BadInput) as refused:
        rasterise(svg(size=f'width="{length}" height="10"'), longer_px=16)
    assert refused.value.reason == "too-many-pixels"
