"""Makes lakes as large as wanted that look like a crawl: `python -m benchmarks.make_lake --rows N FOLDER`.

FOLDER gets `manifest.jsonl`, `media/`, `recipe.json` and `lake/`, which holds what an ingest of the manifest would leave.
Captions have word frequencies after Zipf's law and lengths as captions have; media have one to five of them; some are
boilerplate under thousands of media, a fifth belong to another medium; a fiftieth of the pictures are near-duplicates, a
few are flat; vectors lie in clusters of uneven size. Media are named by URL, which a run never fetches again; one in a
hundred is a real picture, so that it can be read again when `change` touches its row. Thumbnails come from 256 drawn ones.
"""

import argparse
import io
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.feather
from numpy.typing import NDArray
from PIL import Image

from schemas.digests import key, media_digest, text_digest
from schemas.recipes import CurationRecipe
from schemas.tables import MEDIA, PAIRS, SCORES, SOURCES, TEXTS, TableSpec, embeddings
from storage import lake as lakes
from storage import rows as row_digests
from storage.places import Place
from tasks.encoders.hashing import Hashing
from tasks.encoders.identity import identity
from tasks.ingest import listed
from tasks.run import Run

DIM = 64
AT_ONCE = 50_000  # rows made in one go
REAL = 100  # one medium in this many is a file
SWAPPED = 0.2
NEAR = 0.02
SIDE_PX = (160, 120)
SMALL_PX = (32, 24)  # from a million media on
_WORDS = """
a of the in on and with red old boat house tree bird lamp small man woman white black two dog blue sitting street photo
green standing large people table front water car flower night view wooden city young
"""
_PARTS = "ba ce di fo gu ka le mi no pu ra se ti vo wu za che sho tra pli"
_BOILERPLATE = (
    "untitled",
    "image",
    "photo",
    "stock photo",
    "thumbnail",
    "logo",
    "click to enlarge",
    "product image",
)


def main() -> None:
    """Make one lake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000, help="media")
    parser.add_argument("--dim", type=int, default=DIM)
    args = parser.parse_args()
    made = make(args.folder, args.rows, dim=args.dim)
    print(json.dumps(made))


def recipe(folder: Path, *, dim: int = DIM, study: bool = False) -> dict[str, Any]:
    """Return the curation of a made lake; `study` also divides its pairs into clean and noisy."""
    return {
        "name": "scale",
        "sources": [{"name": "crawl", "kind": "manifest", "location": str(folder / "manifest.jsonl")}],
        "inspect": {"detect_language": False},
        "near_duplicates": {"max_distance": 3, "verdict": "flag"},
        "filters": [
            {"method": {"name": "min-side"}, "at_least": 32},
            {"method": {"name": "aspect"}, "at_most": 4},
            {"method": {"name": "length-chars"}, "at_least": 3, "at_most": 400},
            {"method": {"name": "shared-text"}, "at_most_quantile": 0.995, "floor": 5},
        ],
        "encoder": {"name": "hashing", "params": {"dim": dim}},
        "pair_rules": [{"method": {"name": "cosine"}, "at_least": 0.3}],
        **({"correspondence": {"roles": ["caption"], "noisy": "keep"}} if study else {}),
        "quality": None,
    }


def make(folder: Path, rows: int, *, dim: int = DIM, judged: bool = False, seed: int = 0) -> dict[str, int]:
    """Make a lake of so many media and return its rows by table.

    Args:
        folder: Where to; made if need be.
        rows: Media.
        dim: Width of the vectors; 0: none, and no encoder in the recipe.
        judged: Whether pairs have a score and everything is kept or dropped, by chance, as if a curation had been there.
        seed: Of everything drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = recipe(folder, dim=dim or DIM)
    (folder / "recipe.json").write_text(json.dumps(wanted))
    lake = lakes.open(str(folder / "lake"))
    specs: list[TableSpec] = [SOURCES, MEDIA, TEXTS, PAIRS, *([SCORES] if judged else [])]
    said: dict[str, str] = {}
    if dim:
        encoder = Hashing(dim=dim)
        who = identity(encoder)
        specs.append(embeddings(who.table, dim))
        said = {
            "xmodal.encoder": json.dumps(vars(who)),
            "xmodal.encoder_ref": json.dumps({"name": "hashing", "params": {"dim": dim}}),
        }
    with tempfile.TemporaryDirectory(prefix="xmodal-make-", dir=folder) as scratch:
        files: dict[str, list[str]] = {spec.name: [] for spec in specs}
        maker = _Maker(folder, rows, dim, judged, seed)
        for number, items in enumerate(_blocks(_listed(folder, rows, seed, scratch))):
            made = maker.tables(items)
            for spec in specs:
                path = f"{scratch}/{spec.name}-{number}.arrow"
                table = row_digests.with_digest(made[spec.name], spec)
                pyarrow.feather.write_feather(table, path, compression="uncompressed", chunksize=16_384)
                files[spec.name].append(path)
        with lake.writer() as writer:
            for spec in specs:
                vectors = spec.name.startswith("embeddings_")
                writer.upsert(
                    spec, pds.dataset(files[spec.name], format="ipc"), metadata=said if vectors else None
                )
            snapshot = writer.commit(tag="latest", recipe_digest="made", run_id="make")
    return snapshot.row_counts


def change(folder: Path, share: float = 0.01, round_: int = 1) -> int:
    """Change a share of the manifest's rows: half get another text, half are new; a quarter as many go. Returns how many."""
    path = folder / "manifest.jsonl"
    draw = np.random.default_rng((round_, 1))
    words = _Words(draw)
    lines = path.read_text().splitlines()
    touched = max(2, int(len(lines) * share))
    real = [number for number, line in enumerate(lines) if '"media/' in line]
    for number in draw.choice(real, min(touched // 2, len(real)), replace=False).tolist():
        row = json.loads(lines[number])
        row["texts"][0]["text"] = words.caption()
        lines[number] = json.dumps(row)
    fresh = [
        _row(_picture(folder, f"{round_}-{number}", draw), [words.caption()])
        for number in range(touched - touched // 2)
    ]
    gone = set(draw.choice(len(lines), touched // 4, replace=False).tolist())
    kept = [line for number, line in enumerate(lines) if number not in gone]
    path.write_text("\n".join([*kept, *fresh]) + "\n")
    return touched + touched // 4


def thumbnails(size: tuple[int, int] = SIDE_PX, count: int = 256, seed: int = 0) -> list[bytes]:
    """Return so many drawn thumbnails, WebP."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        out = io.BytesIO()
        blocks = Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        blocks.resize(size, Image.Resampling.NEAREST).save(out, "WEBP", quality=60)
        made.append(out.getvalue())
    return made


class _Words:
    """Captions: words after Zipf's law, lengths log-normal about nine words, a few of them boilerplate."""

    def __init__(self, draw: np.random.Generator, vocabulary: int = 50_000) -> None:
        made = np.random.default_rng(7)
        parts = made.choice(_PARTS.split(), (vocabulary, 3))
        self._words = [*_WORDS.split(), *("".join(row) for row in parts.tolist())][:vocabulary]
        weight = 1 / (np.arange(vocabulary) + 2.7) ** 1.07
        self._up_to = np.cumsum(weight / weight.sum())
        self._draw = draw
        self._ahead: list[str] = []

    def caption(self) -> str:
        """Return a caption."""
        if not self._ahead:
            self._ahead = self._some(4096)
        return self._ahead.pop()

    def _some(self, count: int) -> list[str]:
        lengths = np.clip(self._draw.lognormal(2.1, 0.55, count), 1, 60).astype(int)
        ranks = np.searchsorted(self._up_to, self._draw.random(lengths.sum()))
        words = [self._words[min(rank, len(self._words) - 1)] for rank in ranks.tolist()]
        ends = np.cumsum(lengths)
        boiler = self._draw.random(count) < 0.03
        which = np.minimum(self._draw.zipf(1.6, count), len(_BOILERPLATE)) - 1
        return [
            _BOILERPLATE[w] if b else " ".join(words[e - n : e])
            for e, n, b, w in zip(ends, lengths, boiler, which, strict=True)
        ]


def _write_manifest(folder: Path, rows: int, draw: np.random.Generator) -> None:
    words = _Words(draw)
    with (folder / "manifest.jsonl").open("w") as out:
        for start in range(0, rows, AT_ONCE):
            counts = np.minimum(1 + draw.poisson(0.3, min(AT_ONCE, rows - start)), 5).tolist()
            for number, count in enumerate(counts, start):
                texts = [words.caption() for _ in range(count)]
                where = (
                    _picture(folder, f"0-{number}", draw)
                    if number % REAL == 0
                    else f"https://site{number % 977}.example/{number}.jpg"
                )
                out.write(_row(where, texts) + "\n")


def _row(where: str, texts: list[str]) -> str:
    return json.dumps({"media": where, "texts": [{"text": text, "language": "en"} for text in texts]})


def _picture(folder: Path, name: str, draw: np.random.Generator) -> str:
    """Draw a small picture and return its place beside the manifest."""
    place = f"media/{name[-2:]}/{name}.png"
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    blocks.resize((72, 72), Image.Resampling.NEAREST).save(path, compress_level=1)
    return place


def _listed(folder: Path, rows: int, seed: int, scratch: str) -> Iterator[pa.RecordBatch]:
    """Write the manifest and yield what a run lists of it, both by a process of its own: a half of all the work."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    lister = spawn.Process(target=_list, args=(there, folder, rows, seed, scratch))
    lister.start()
    there.close()
    with here:
        while True:
            try:
                path = Path(here.recv())
            except EOFError:  # it has ended
                break
            yield from pa.ipc.open_stream(path.read_bytes())
            path.unlink()
    lister.join()
    if lister.exitcode:
        raise RuntimeError(
            f"the process that lists {folder} ended with {lister.exitcode}; what it said is above"
        )


def _list(to: Connection, folder: Path, rows: int, seed: int, scratch: str) -> None:
    """Send the names of files of items, so as not to wait until each is taken."""
    _write_manifest(folder, rows, np.random.default_rng(seed))
    wanted = CurationRecipe.model_validate(json.loads((folder / "recipe.json").read_text()))
    run = Run("make", wanted, Place(str(folder / "lake")), None, None, flow="ingest")
    for number, batch in enumerate(listed(run)):
        path = f"{scratch}/listed-{number}.arrow"
        with pa.ipc.new_stream(path, batch.schema) as stream:
            stream.write_batch(batch)
        to.send(path)


def _blocks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= AT_ONCE:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


@dataclass
class _Maker:
    """Turns listed items into rows of every table, a block at a time; remembers which texts it gave already."""

    folder: Path
    rows: int
    dim: int
    judged: bool
    seed: int

    def __post_init__(self) -> None:
        self.draw = np.random.default_rng((self.seed, 2))
        self.pictures = thumbnails(SMALL_PX if self.rows >= 1_000_000 else SIDE_PX)
        self.texts: set[bytes] = set()
        self.hashes = np.empty(0, np.uint64)
        clusters = max(64, int(self.rows**0.5))
        self.centres = self.draw.standard_normal((clusters, max(self.dim, 1))).astype(np.float32)
        weight = 1 / np.arange(1, clusters + 1) ** 0.7
        self.up_to = np.cumsum(weight / weight.sum())

    def tables(self, items: pa.Table) -> dict[str, pa.Table]:
        """Return {table: its rows} for a block of items."""
        n, draw = len(items), self.draw
        locators, uris = items["locator"].to_pylist(), items["uri"].to_pylist()
        media_ids = [
            media_digest(Path(uri).read_bytes() if not uri.startswith("https") else uri.encode())
            for uri in uris
        ]
        found = [[text["text"] for text in texts] for texts in items["texts"].to_pylist()]
        of_medium = np.repeat(np.arange(n), [len(texts) for texts in found])
        words = [text for texts in found for text in texts]
        text_ids = [text_digest(text, "en", "raw") for text in words]
        starts = np.concatenate([[0], np.cumsum([len(texts) for texts in found])])
        first = [number for number, text_id in enumerate(text_ids) if self._is_new(text_id)]
        pair_ids = [
            key(media_ids[m], text_id) for m, text_id in zip(of_medium.tolist(), text_ids, strict=True)
        ]
        pairs = np.unique(np.array(pair_ids), return_index=True)[1] if pair_ids else np.empty(0, int)
        made = {
            "sources": _rows(SOURCES, n, {
                "source_id": items["source_id"], "source": items["source"], "locator": items["locator"],
                "fingerprint": items["fingerprint"], "media_id": media_ids,
                "text_ids": [sorted(set(text_ids[a:b])) for a, b in zip(starts[:-1], starts[1:], strict=True)],
                "status": ["ok"] * n, "outcome": ["kept"] * n,
            }),
            "media": _rows(MEDIA, n, self._facts(n) | {
                "media_id": media_ids, "uri": uris, "cluster_id": media_ids,
                "locators": [[f"crawl/{locator}"] for locator in locators], **self._verdicts(n),
            }),
            "texts": _rows(TEXTS, len(first), {
                "text_id": [text_ids[i] for i in first], "text": [words[i] for i in first],
                "language": ["en"] * len(first), "language_from": ["declared"] * len(first),
                "origin": ["raw"] * len(first), "length_chars": [len(words[i]) for i in first],
                **self._verdicts(len(first)),
            }),
            "pairs": _rows(PAIRS, len(pairs), {
                "pair_id": [pair_ids[i] for i in pairs.tolist()], "media_id": [media_ids[of_medium[i]] for i in pairs.tolist()],
                "text_id": [text_ids[i] for i in pairs.tolist()], "role": ["caption"] * len(pairs), **self._verdicts(len(pairs)),
            }),
        }  # fmt: skip
        if self.judged:
            ids = made["pairs"]["pair_id"]
            made["scores"] = _rows(SCORES, len(ids), {
                "score_id": ids, "subject": ["pair"] * len(ids), "subject_id": ids, "method": ["cosine"] * len(ids),
                "params_digest": ["p"] * len(ids), "inputs": ["i"] * len(ids), "value": draw.random(len(ids)),
            })  # fmt: skip
        if self.dim:
            spec, table = self._vectors(media_ids, of_medium[first], [text_ids[i] for i in first])
            made[spec.name] = table
        return made

    def _is_new(self, text_id: str) -> bool:
        digest = bytes.fromhex(text_id[:16])
        new = digest not in self.texts
        self.texts.add(digest)
        return new

    def _facts(self, n: int) -> dict[str, Any]:
        draw = self.draw
        area = np.exp(draw.normal(13, 1.2, n))
        ratio = np.exp(draw.normal(0.15, 0.45, n))
        width = np.clip(np.sqrt(area * ratio), 8, 20_000).astype(np.int32)
        height = np.clip(np.sqrt(area / ratio), 8, 20_000).astype(np.int32)
        hashes = draw.integers(0, 2**64, n, dtype=np.uint64, endpoint=False)
        if len(self.hashes):  # near-duplicates of earlier pictures, and of the block before this one
            near = np.flatnonzero(draw.random(n) < NEAR)
            flips = np.uint64(1) << draw.integers(0, 64, len(near), dtype=np.uint64)
            hashes[near] = draw.choice(self.hashes, len(near)) ^ flips
        flat = draw.random(n) < 0.005
        hashes[flat] = np.uint64(1) << draw.integers(0, 64, flat.sum(), dtype=np.uint64)
        self.hashes = np.concatenate([self.hashes, hashes[: max(1, n // 20)]])
        return {
            "modality": ["image"] * n, "media_type": draw.choice(["image/jpeg", "image/png", "image/webp"], n).tolist(),
            "size_bytes": np.exp(draw.normal(11.5, 1, n)).astype(np.int64), "width_px": width, "height_px": height,
            "colour_mode": ["RGB"] * n, "frames": np.ones(n, np.int32), "animated": [False] * n, "has_alpha": [False] * n,
            "phash": [f"{h:016x}" for h in hashes.tolist()],
            "thumbnail": [self.pictures[i] for i in draw.integers(0, len(self.pictures), n).tolist()],
            "decoder": ["made"] * n, "licence": draw.choice(["CC0-1.0", "CC-BY-4.0", ""], n).tolist(), "extra": [""] * n,
        }  # fmt: skip

    def _verdicts(self, n: int) -> dict[str, Any]:
        return {"kept": self.draw.random(n) < 0.8, "dropped_by": ["rule"] * n} if self.judged else {}

    def _vectors(
        self, media: list[str], owner: NDArray[np.int64], texts: list[str]
    ) -> tuple[TableSpec, pa.Table]:
        """Return vectors around the medium's centre, a fifth of the texts around another one."""
        who = identity(Hashing(dim=self.dim))
        spec = embeddings(who.table, self.dim)
        draw, n = self.draw, len(media)
        centre = np.searchsorted(self.up_to, draw.random(n)).clip(max=len(self.centres) - 1)
        of_text = np.where(
            draw.random(len(texts)) < SWAPPED, draw.integers(0, len(self.centres), len(texts)), centre[owner]
        )
        vectors = self.centres[np.concatenate([centre, of_text])]
        vectors += 0.7 * draw.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        count = len(vectors)
        return spec, _rows(spec, count, {
            "item_id": [*media, *texts], "side": ["media"] * n + ["text"] * len(texts),
            "modality": ["image"] * n + ["text"] * len(texts), "encoder_digest": [who.digest] * count,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self.dim),
        })  # fmt: skip


def _rows(spec: TableSpec, n: int, known: dict[str, Any]) -> pa.Table:
    """Return n rows of a table; what is not known is null, but for `present` and `run_id`."""
    known = {"present": [True] * n, "run_id": ["make"] * n} | known
    columns = []
    for field in spec.schema:
        column = known.get(field.name)
        if column is None:
            columns.append(pa.nulls(n, field.type))
            continue
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        columns.append((column if isinstance(column, pa.Array) else pa.array(column)).cast(field.type))
    return pa.table(columns, schema=spec.schema)


if __name__ == "__main__":
    main()
