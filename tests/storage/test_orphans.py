"""What killed runs leave beside the tables goes; what somebody may still want stays."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.dataset as pds

from schemas.tables import MEDIA
from storage import orphans
from storage.staging import Staging
from tests.storage.conftest import commit, texts_of


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def stored(lake, data: bytes) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    lake.media.put(digest, data)
    return Path(lake.place.path("media", digest[:2], digest[2:4], digest))


def test_staged_files_from_before_the_newest_snapshot_go_and_later_ones_stay(lake):
    table = pa.table({"n": [1]})
    old = Path(Staging(lake.place, "old").write(table, "a.arrow"))
    commit(lake, {"a": "x"})
    new = Path(Staging(lake.place, "new").write(table, "a.arrow"))
    os.utime(old, (lake.head().created_at.timestamp() - 5,) * 2)
    size = old.stat().st_size
    assert orphans.remove(lake) == size
    assert not old.exists() and new.exists()


def test_a_table_that_no_snapshot_ever_named_goes(lake):
    commit(lake, {"a": "x"})
    lance.write_dataset(pa.table({"n": [1]}), f"{lake.uri}/embeddings_stray.lance")
    assert orphans.remove(lake) > 0
    assert not Path(lake.uri, "embeddings_stray.lance").exists()
    assert texts_of(lake) == {"a": "x"}


def test_half_a_file_goes_once_its_writer_is_dead(lake):
    commit(lake, {"a": "x"})
    folder = Path(lake.uri, "media", "ab", "cd")
    folder.mkdir(parents=True)
    dead, alive = folder / f"x.{dead_process()}.part", folder / f"x.{os.getpid()}.part"
    dead.write_bytes(b"half")
    alive.write_bytes(b"half")
    assert orphans.remove(lake) == 4
    assert not dead.exists() and alive.exists()


def test_media_that_no_row_names_go_but_not_those_a_run_may_come_back_for(lake):
    kept, stray = stored(lake, b"kept"), stored(lake, b"stray")
    row = {name: None for name in MEDIA.stored.names}
    row |= {"media_id": kept.name, "row_digest": b"0" * 16, "present": True, "run_id": "r", "locators": []}
    row |= {
        field.name: _some(field.type)
        for field in MEDIA.stored
        if not field.nullable and row[field.name] is None
    }
    with lake.writer() as writer:
        writer.upsert(MEDIA, pds.dataset(pa.Table.from_pylist([row], schema=MEDIA.stored)))
        writer.commit(tag="latest", recipe_digest="d", run_id="r")
    Staging(lake.place, "killed").write(pa.table({"n": [1]}), "done.arrow")
    assert orphans.remove(lake) == 0 and stray.exists()
    Staging(lake.place, "killed").clear()
    assert orphans.remove(lake) == len(b"stray")
    assert kept.exists() and not stray.exists()


def _some(kind: pa.DataType) -> object:
    return "" if pa.types.is_string(kind) else 0
