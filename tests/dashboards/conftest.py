"""A lake worth looking at, a server over a copy of it, and a browser."""

import contextvars
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from dashboards.server import create
from flows.caption import caption
from flows.cli.dashboard import writing
from flows.curate import curate
from schemas.recipes import CaptionRecipe
from storage import lake as lakes
from storage.lake import Lake

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = '<script>window.hurt = 1</script><img src=x onerror="window.hurt = 1"> & "red" \' {{ 7 * 7 }}'
AS_SQL = "'); DROP TABLE media; -- \" OR 1=1"
STACKED = "z" + "\u0336" * 5000 + " end"  # ten kilobytes of strokes through one letter
WORDS = ("red", "green", "blue", "yellow", "black", "white", "pink", "orange")
COLOURS = ("#d01010", "#10b010", "#1010d0", "#e0d010", "#101010", "#f0f0f0", "#f090b0", "#f08010")


@pytest.fixture(scope="session")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 pictures of two colours, captioned by them; the first twelve say wrong ones, one of them in hostile words."""
    folder = tmp_path_factory.mktemp("pictured") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(96):
        left, right = rng.permutation(len(WORDS))[:2]
        picture = Image.new("RGB", (48, 40), COLOURS[left])
        picture.paste(COLOURS[right], (24, 0, 48, 40))
        pixels = np.asarray(picture).astype(int) + rng.integers(-12, 12, (40, 48, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
        said = [WORDS[left], WORDS[right]]
        if number < 12:
            said = [str(word) for word in rng.permutation([w for w in WORDS if w not in said])[:2]]
        (folder / f"{number:02d}.txt").write_text(f"{said[0]} beside {said[1]}, number {number}")
    for number, text in enumerate((HOSTILE, AS_SQL, STACKED)):
        (folder / f"{number:02d}.txt").write_text(text)
    (folder / "broken <b>.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def seen_lake(
    pictured: Path,
    tmp_path_factory: pytest.TempPathFactory,
    recipe_of: Callable[..., Any],
    prefect_server: None,
) -> Lake:
    """Three versions: curated, studied, captioned. Do not write to it."""
    uri = str(tmp_path_factory.mktemp("seen") / "lake")
    recipe = recipe_of(
        pictured,
        filters=[],
        near_duplicates=None,
        shard_rows=128,
        encoder={"name": "lite"},
        pair_rules=[{"method": {"name": "cosine"}, "at_least": 0.9, "verdict": "flag"}],
        correspondence={"noisy_below": 0.4, "clean_above": 0.6, "roles": ["caption"]},
    )
    curate(recipe.model_copy(update={"correspondence": None}), lake=uri)
    curate(recipe, lake=uri)
    written = {
        "name": "written",
        "captioners": [{"name": "labels"}],
        "encoder": {"name": "lite"},
        "of": "all",
        "limit": 6,
    }
    caption(CaptionRecipe.model_validate(written), lake=uri)
    return lakes.open(uri)


@pytest.fixture
def own_lake(seen_lake: Lake, tmp_path: Path) -> Lake:
    """A copy to write to."""
    shutil.copytree(seen_lake.uri, tmp_path / "lake")
    return lakes.open(str(tmp_path / "lake"))


@contextmanager
def listening(lake: Lake, **options: Any) -> Iterator[str]:
    """Serve a lake on a free port of this machine and give the address."""
    app = create(lake, **options)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    context = contextvars.copy_context()  # which Prefect server the tests use
    thread = threading.Thread(target=lambda: context.run(server.run), daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < until and thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture
def serving() -> Iterator[Callable[..., str]]:
    """Serve lakes until the test ends: `serving(lake)` reads, `serving(lake, writes=True)` writes too."""
    with ExitStack() as stack:

        def serve(lake: Lake, *, writes: bool = False, **options: Any) -> str:
            actions = writing(lake) if writes else None
            return stack.enter_context(listening(lake, actions=actions, **options))

        yield serve


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser, gone with the module: its driver keeps the thread's event loop while it lives."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser to drive: {CHROMIUM} is not installed (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    quiet = (
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    )  # fmt: skip
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(quiet))
        yield browser
        browser.close()
