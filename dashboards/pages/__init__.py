"""The pages, one module per group; each gives the routes of its own."""

from collections.abc import Callable

from fastapi import APIRouter

from dashboards.pages import (
    atlas,
    captions,
    correspondence,
    explore,
    overview,
    quality,
    review,
    runs,
    versions,
)
from dashboards.site import Site

PAGES: tuple[Callable[[Site], APIRouter], ...] = (
    atlas.routes,
    captions.routes,
    correspondence.routes,
    explore.routes,
    overview.routes,
    quality.routes,
    review.routes,
    runs.routes,
    versions.routes,
)
