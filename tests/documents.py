"""Reads the documents and runs what they show: every fenced block, as its reader would, in one folder."""

import http.server
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from prefect.settings import get_current_settings

from schemas.recipes import CurationRecipe

ROOT = Path(__file__).resolve().parent.parent
SHELL = ("bash", "console", "sh")
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
COLOURS = {"red": (220, 30, 30), "green": (20, 160, 40), "blue": (30, 40, 220)}


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and the comment on the line above it."""

    where: str
    kind: str
    code: str
    note: str

    @property
    def file(self) -> str:
        """Name of the file the block is the content of; "" when it is none."""
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else ""

    @property
    def is_run(self) -> bool:
        """Whether the reader is meant to run it here."""
        return not self.note.startswith("not run: ")

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block that begin a command."""
        lines = self.code.replace("\\\n", " ").splitlines()
        if self.kind == "console":  # the other lines are what is printed
            lines = [line for line in lines if line.startswith("$ ")]
        return [
            line.removeprefix("$ ").strip() for line in lines if line.strip() and not line.startswith("#")
        ]


def blocks(document: Path) -> list[Block]:
    """Return a document's fenced blocks, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(
            where=f"{document.name}:{text.count(chr(10), 0, match.start('code')) + 1}",
            kind=match["kind"],
            code=match["code"],
            note=(match["note"] or "").strip(),
        )
        for match in _BLOCK.finditer(text)
    ]


def prepare(folder: Path) -> None:
    """Put there what the examples name: pictures with captions, a manifest, tar shards, a list of URLs."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for name in COLOURS:
        (photos / f"{name}.png").write_bytes(_picture(name))
        (photos / f"{name}.txt").write_text(f"a {name} square on a table", encoding="utf-8")
    (photos / "broken.png").write_bytes(b"")
    (folder / "more").mkdir()
    (folder / "more" / "stripes.png").write_bytes(_picture("red", seed=7))
    (folder / "captions.csv").write_text("path,text,licence\nmore/stripes.png,red and dark stripes,CC0-1.0\n")
    with tarfile.open(folder / "shard-000.tar", "w") as tar:
        for member, data in (("a.png", _picture("green", seed=8)), ("a.txt", b"green stripes")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (folder / "web").mkdir()
    (folder / "web" / "blue.png").write_bytes(_picture("blue", seed=9))


def _picture(colour: str, seed: int = 0) -> bytes:
    shade = np.random.default_rng([seed, *COLOURS[colour]]).integers(60, 101, (8, 8, 1))
    pixels = (np.array(COLOURS[colour]) * shade // 100).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve a folder on loopback and give the port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which `xmodal` and `python` are this checkout's, on the tests' Prefect server."""
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    for name, arguments in (("xmodal", " -m flows.cli.app"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        program.chmod(0o755)
    api = get_current_settings().api.url
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return kept | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": str(api) if api else "",
        "XMODAL_WORKERS": "0",
        "XMODAL_CACHE": str(folder / ".cache"),
        "XMODAL_ALLOW_PRIVATE_ADDRESSES": "true",  # the list of URLs leads to loopback
        "COLUMNS": "160",
    }


def run(document: Path, folder: Path) -> list[str]:
    """Do what the document says, top to bottom, in one folder; return where each block that was run stands.

    Raises:
        AssertionError: A block fails; says which, and what it printed.
    """
    prepare(folder)
    done = []
    with served(folder / "web") as port:
        (folder / "urls.txt").write_text(f"http://127.0.0.1:{port}/blue.png\ta blue thing from the web\n")
        where = environment(folder)
        for block in blocks(document):
            if not block.is_run:
                continue
            if block.file and not block.file.startswith(("tasks/", "flows/")):
                (folder / block.file).write_text(block.code, encoding="utf-8")
                done.append(block.where)
            if block.kind == "yaml" and "sources:" in block.code:
                CurationRecipe.model_validate(yaml.safe_load(block.code))
            if block.kind in SHELL:
                script = "\n".join(block.commands) if block.kind == "console" else block.code
                _call(["bash", "-euo", "pipefail", "-c", script], block, folder, where)
                done.append(block.where)
            elif block.kind == "python" and not block.file:
                _call([sys.executable, "-c", block.code], block, folder, where)
                done.append(block.where)
    return done


def _call(command: list[str], block: Block, folder: Path, where: dict[str, str]) -> None:
    found = subprocess.run(
        command, cwd=folder, env=where, capture_output=True, text=True, timeout=300, check=False
    )
    said = f"{block.where}\n{block.code}\nexit code {found.returncode}\n{found.stdout}\n{found.stderr}"
    assert found.returncode == 0, said
    assert "Traceback" not in found.stderr, said
