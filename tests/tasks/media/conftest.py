"""One decoder for the tests that do not kill it, and a drawing no machine finishes."""

from collections.abc import Iterator

import pytest

from schemas.recipes import InspectRecipe
from schemas.settings import DecodeLimits
from tasks.media.decoder import Decoder
from tests.hostile_media import svg


@pytest.fixture(scope="session")
def recipe() -> InspectRecipe:
    return InspectRecipe()


@pytest.fixture(scope="session")
def limits() -> DecodeLimits:
    return DecodeLimits()


@pytest.fixture(scope="session")
def decoder(recipe: InspectRecipe, limits: DecodeLimits) -> Iterator[Decoder]:
    with Decoder(recipe, limits) as decoder:
        yield decoder


@pytest.fixture(scope="session")
def endless_svg() -> bytes:
    """A valid drawing whose noise filter asks for a thousand million octaves a pixel."""
    noise = '<filter id="a"><feTurbulence baseFrequency="0.05" numOctaves="1000000000"/></filter>'
    return svg(f'{noise}<rect width="40" height="20" filter="url(#a)"/>')
