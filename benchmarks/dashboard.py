"""How quick the dashboard and the server are on a large lake: `python -m benchmarks.dashboard [--rows N]`.

A made-up lake of N media with thumbnails, texts, pairs, scores and vectors, shown by `xmodal dashboard` in a process of its
own. Chromium opens every page so many times, each in a fresh page: when the first content is painted, and when everything has
been loaded. Then 16 clients ask `/search` (words, k = 10) and thumbnails in turn, 10,000 requests in all, beside raw LanceDB
asked for the same vectors in this process, one after the other and by as many threads; memory of the server is read on the
way. `--only pages` and `--only server` do half of it.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import lancedb
import numpy as np
import psutil

from benchmarks import make_lake
from benchmarks.measure import machine, table
from schemas.tables import embeddings
from storage import lake as lakes
from tasks.encoders.hashing import Hashing

ENCODER = Hashing(dim=64)
VECTORS = embeddings("embeddings_hashing", ENCODER.dim)
PAGES = {
    "overview": "/",
    "gallery": "/gallery",
    "gallery, under a condition": "/gallery?where=width_px+%3E+2000",
    "search": "/explore?q=red+boat",
    "correspondence": "/correspondence",
    "threshold moved": "/correspondence?threshold=0.4",
    "review": "/review",
    "captions": "/captions",
    "quality": "/quality",
    "versions": "/versions",
    "runs": "/runs",
}
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
_LOADED = "() => performance.getEntriesByType('navigation')[0].loadEventEnd"


def fill(folder: Path, count: int) -> list[str]:
    """Make a lake of so many media with pictures and vectors, and return the ids of a thousand."""
    make_lake.make(folder, count, dim=ENCODER.dim, judged=True)
    lake = lakes.open(str(folder / "lake"))
    ids: list[str] = lake.dataset("media").head(1000, columns=["media_id"])["media_id"].to_pylist()
    return ids


def served(uri: str, port: int) -> subprocess.Popen[bytes]:
    """Start the dashboard and wait until it answers."""
    command = [sys.executable, "-m", "flows.cli.app", "dashboard", "--lake", uri, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
            return process
        except httpx.HTTPError:
            time.sleep(0.2)
    process.kill()
    raise TimeoutError("the dashboard did not answer within two minutes")


def painted(port: int, times: int) -> list[list[object]]:
    """Return for each page how soon its first content is painted and everything loaded, ms."""
    from playwright.sync_api import sync_playwright

    rows: list[list[object]] = []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for name, path in PAGES.items():
            paints, loads = [], []
            for _ in range(times):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(f"http://127.0.0.1:{port}{path}", wait_until="load")
                page.wait_for_function(f"({_LOADED})() > 0")
                paint = page.evaluate(_PAINTED)
                paints.append(float(paint) if paint is not None else float("nan"))
                loads.append(float(page.evaluate(_LOADED)))
                page.close()
            rows.append(
                [
                    name,
                    *(f"{np.nanpercentile(found, q):.0f}" for found in (paints, loads) for q in (50, 95)),
                    f"{loads[0]:.0f}",
                ]
            )
        browser.close()
    return rows


async def asked(
    port: int, ids: list[str], total: int, clients: int
) -> tuple[dict[str, list[float]], int, float]:
    """Return the latencies by what is asked, how many failed, and the seconds all of it took."""
    words = ("red boat", "old house", "small bird", "tree", "lamp", "red tree", "old lamp", "boat")
    spent: dict[str, list[float]] = {"/search": [], "/media/{digest}/thumbnail": []}
    failed = 0
    todo = iter(range(total))

    async def client() -> None:
        nonlocal failed
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as ask:
            for n in todo:
                kind = "/search" if n % 2 else "/media/{digest}/thumbnail"
                path = (
                    f"/search?q={words[n // 2 % 8].replace(' ', '+')}&k=10"
                    if n % 2
                    else f"/media/{ids[n % len(ids)]}/thumbnail"
                )
                start = time.perf_counter()
                try:
                    answer = await ask.get(path)
                    failed += answer.status_code != 200
                except httpx.HTTPError:
                    failed += 1
                spent[kind].append(time.perf_counter() - start)

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return spent, failed, time.perf_counter() - begin


def raw(uri: str, times: int, threads: int) -> list[object]:
    """Return how LanceDB alone answers a vector query over the same table, asked by so many threads of this process."""
    opened = lancedb.connect(uri).open_table(VECTORS.name)
    draw = np.random.default_rng(1)
    queries = draw.normal(size=(times, ENCODER.dim)).astype(np.float32)

    def ask(query: np.ndarray) -> float:
        start = time.perf_counter()
        found = opened.search(query).distance_type("cosine").where("side = 'media'").limit(10)
        found.select(["item_id"]).to_arrow()
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        spent = list(pool.map(ask, queries))
    return timed(f"raw LanceDB, flat, {threads} at once", spent)


def load(port: int, ids: list[str], uri: str, total: int, clients: int, server: psutil.Process) -> None:
    """Ask the server by many clients, print how quick it was, and its memory after each tenth of the requests."""
    asyncio.run(asked(port, ids, 200, clients))
    spent: dict[str, list[float]] = {}
    held, failed, took = [server.memory_info().rss], 0, 0.0
    before = server.cpu_times()
    for _ in range(10):
        found, wrong, seconds = asyncio.run(asked(port, ids, total // 10, clients))
        failed, took = failed + wrong, took + seconds
        for kind, times in found.items():
            spent.setdefault(kind, []).extend(times)
        held.append(server.memory_info().rss)
    cpu = server.cpu_times()
    rows = [timed(kind, found) for kind, found in spent.items()]
    rows.append(["all", total // 10 * 10, f"{total // 10 * 10 / took:.0f} a second", ""])
    rows += [raw(uri, 50, 1), raw(uri, 400, clients)]
    print(table(["asked", "requests", "p50 ms", "p95 ms"], rows))
    each = 1e3 * (cpu.user + cpu.system - before.user - before.system) / (total // 10 * 10)
    print(f"\n{failed} of {total // 10 * 10:,} failed; {each:.1f} ms of CPU a request")
    print("memory, MB: " + " ".join(f"{at / 1e6:.0f}" for at in held), flush=True)


def timed(name: str, spent: list[float]) -> list[object]:
    """Return a line of a table: how often, median and 95th percentile in milliseconds."""
    return [name, len(spent), f"{1e3 * np.median(spent):.0f}", f"{1e3 * np.percentile(spent, 95):.0f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=10, help="Each page is opened so often.")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", choices=("pages", "server"))
    given = parser.parse_args()
    print(machine() + "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="xmodal-bench-dashboard-") as scratch:
        uri = str(Path(scratch) / "lake")
        start = time.perf_counter()
        ids = fill(Path(scratch), given.rows)
        print(f"{given.rows:,} media, made in {time.perf_counter() - start:.0f} s\n", flush=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = served(uri, port)
        try:
            if given.only != "server":
                columns = ["page", "first paint p50 ms", "p95", "loaded p50 ms", "p95", "the first time"]
                print(table(columns, painted(port, given.times)) + "\n", flush=True)
            if given.only != "pages":
                load(port, ids, uri, given.requests, given.clients, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    main()
