"""Tiny tables of media and texts."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from schemas.tables import MEDIA, TEXTS


def webp(pixels: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 pixels without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def media_rows(**columns: list) -> pa.Table:
    """Media rows with the given columns, typed as in the lake."""
    fields = {**{f.name: f.type for f in MEDIA.schema}, "text_count": pa.int64()}
    return pa.table({name: pa.array(values, fields[name]) for name, values in columns.items()})


def text_rows(**columns: list) -> pa.Table:
    """Text rows with the given columns, typed as in the lake."""
    fields = {**{f.name: f.type for f in TEXTS.schema}, "media_count": pa.int64()}
    return pa.table({name: pa.array(values, fields[name]) for name, values in columns.items()})


@pytest.fixture
def media() -> pa.Table:
    """Four media: noise, a flat picture, a sound, an icon on white."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    icon = np.full((32, 32, 3), 255, np.uint8)
    icon[8:16, 8:16] = (200, 30, 30)
    return media_rows(
        media_id=["a", "b", "c", "d"],
        width_px=[60, 5, None, 32],
        height_px=[40, 50, None, 32],
        size_bytes=[9000, 100, 70_000, 800],
        thumbnail=[webp(noise), webp(np.full((50, 5), 77, np.uint8)), None, webp(icon)],
        text_count=[1, 4, 2, 1],
    )


@pytest.fixture
def texts() -> pa.Table:
    """Four texts, one of them null."""
    return text_rows(
        text_id=["a", "b", "c", "d"],
        text=["A red house by the sea", "DSC_0001.jpg", None, "Untitled"],
        language=["en", "und", None, "de"],
        media_count=[1, 2, None, 90],
    )


@pytest.fixture
def rows_of(media: pa.Table, texts: pa.Table) -> dict[str, pa.Table]:
    """The table of each subject."""
    return {"media": media, "text": texts}


@pytest.fixture
def make_media():  # noqa: ANN201
    """Build media rows from columns."""
    return media_rows


@pytest.fixture
def make_texts():  # noqa: ANN201
    """Build text rows from columns."""
    return text_rows


@pytest.fixture
def as_webp():  # noqa: ANN201
    """Encode pixels without loss."""
    return webp
