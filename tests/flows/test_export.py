"""Exports read by others, and loaders for training, over one real lake."""

import csv
import hashlib
import json
import pickle
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import duckdb
import lance
import numpy as np
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

from flows.curate import curate
from flows.export import export
from schemas.errors import DataError
from schemas.recipes import MethodRef
from storage import lake as lakes
from storage.selection import select
from tasks.loading import SnapshotDataset, SnapshotStream, decoded
from tests.conftest import write_picture

pytestmark = pytest.mark.usefixtures("prefect_server")
REPOSITORY = Path(__file__).parents[2]
FORMATS = ("csv", "huggingface", "lance", "parquet", "webdataset")


@pytest.fixture(scope="module")
def lake(tmp_path_factory, recipe_of, prefect_server):
    """Ten pictures, one with two captions, one without, one dropped for its size."""
    home = tmp_path_factory.mktemp("export")
    for seed in range(9):
        write_picture(home / "media" / f"{seed}.png", seed).with_suffix(".txt").write_text(
            f"picture {seed} of nine"
        )
    (home / "media" / "3.txt").write_text("picture three, | with a pipe\nand =1+1")
    write_picture(home / "media" / "small.png", 77, size=(8, 8)).with_suffix(".txt").write_text("too small")
    write_picture(home / "media" / "bare.png", 78)
    recipe = recipe_of(
        home / "media",
        encoder=None,
        pair_rules=[],
        filters=[{"method": {"name": "min-side"}, "at_least": 32}],
    )
    curate(recipe, lake=str(home / "lake"))
    return lakes.open(str(home / "lake"))


def _export(lake, tmp_path, name, **options):
    return export(str(tmp_path / name), MethodRef(name=name), lake.uri, **options)


def _kept(lake):
    rows = lake.read("media", where="present AND kept IS NOT false")
    return dict(zip(rows["media_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_what_is_kept_and_its_manifest_lists_every_file(lake, tmp_path, name):
    done = _export(lake, tmp_path, name)
    target = tmp_path / name
    manifest = json.loads((target / "manifest.json").read_text())
    assert done.media == manifest["rows"] == len(_kept(lake)) == 10
    assert manifest["snapshot"] == lake.head().snapshot_id
    for file in manifest["files"]:
        data = (target / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size_bytes"], file["sha256"])


def test_plain_pyarrow_and_duckdb_read_the_parquet_files(lake, tmp_path):
    _export(lake, tmp_path, "parquet", shard_bytes=1)
    files = sorted((tmp_path / "parquet").glob("*.parquet"))
    assert len(files) == 10  # a shard holds a medium at least
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert {row["media_id"]: hashlib.sha256(row["media"]).hexdigest() for row in rows} == {
        media_id: media_id for media_id in _kept(lake)
    }
    counted = duckdb.sql(f"SELECT count(*), count(text) FROM '{tmp_path}/parquet/*.parquet'").fetchall()[0]
    assert counted == (10, 10)  # the bare one has its file name


def test_webdataset_reads_the_tar_files(lake, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    _export(lake, tmp_path, "webdataset", shard_bytes=600)
    tars = sorted(str(path) for path in (tmp_path / "webdataset").glob("*.tar"))
    assert len(tars) > 1
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert {sample["__key__"] for sample in samples} == set(_kept(lake))
    for sample in samples:
        assert hashlib.sha256(sample["png"]).hexdigest() == sample["__key__"]
        said = json.loads(sample["json"])
        assert said["text"] == sample["txt"].decode() and said["media_id"] == sample["__key__"]


def test_tar_files_are_the_same_bytes_again(lake, tmp_path):
    first = _export(lake, tmp_path / "a", "webdataset")
    second = _export(lake, tmp_path / "b", "webdataset")
    (a,), (b,) = ((tmp_path / x / "webdataset").glob("*.tar") for x in "ab")
    assert a.read_bytes() == b.read_bytes() and first.size_bytes == second.size_bytes
    with tarfile.open(a) as tar:
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}


def test_datasets_loads_the_huggingface_layout_with_pictures_decoded(lake, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    _export(lake, tmp_path, "huggingface")
    loaded = datasets.load_dataset(
        str(tmp_path / "huggingface"), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert len(loaded) == 10
    uris = _kept(lake)
    for row in loaded:
        assert (
            np.asarray(row["image"])
            == decoded(Path(uris[row["media_id"]].removeprefix("file://")).read_bytes())
        ).all()
        assert row["texts"][0]["text"] == row["text"]


def test_csv_keeps_lines_and_lance_opens(lake, tmp_path):
    _export(lake, tmp_path, "csv")
    with next((tmp_path / "csv").glob("*.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(row["text"] == "picture three, | with a pipe\nand =1+1" for row in rows)
    assert all(json.loads(row["texts"])[0]["text"] == row["text"] for row in rows)
    _export(lake, tmp_path, "lance")
    (table,) = (tmp_path / "lance").glob("*.lance")
    assert lance.dataset(str(table)).count_rows() == 10


def test_a_condition_and_a_statement_choose(lake, tmp_path):
    some = sorted(_kept(lake))[:3]
    listed = ", ".join(f"'{media_id}'" for media_id in some)
    assert _export(lake, tmp_path / "a", "csv", where=f"m.media_id IN ({listed})").media == 3
    done = _export(
        lake, tmp_path / "b", "csv", statement=f"SELECT digest FROM media WHERE digest IN ({listed})"
    )
    assert done.media == 3
    with pytest.raises(DataError, match="nothing to export"):
        _export(lake, tmp_path / "c", "csv", where="m.width_px > 1000000")
    with pytest.raises(DataError, match="not both"):
        _export(lake, tmp_path / "d", "csv", where="true", statement="SELECT digest FROM media")


def test_started_again_it_writes_only_what_is_missing(lake, tmp_path):
    _export(lake, tmp_path, "parquet", shard_bytes=1)
    target = tmp_path / "parquet"
    files = sorted(target.glob("*.parquet"))
    before = {file: file.stat().st_mtime_ns for file in files}
    (target / "manifest.json").unlink()
    (parts,) = (target / "_export").iterdir()
    (parts / "00004.json").unlink()  # killed before the fifth shard said it was done
    files[4].unlink()
    _export(lake, tmp_path, "parquet", shard_bytes=1)
    written = [file for file in files if file.stat().st_mtime_ns != before[file]]
    assert written == [files[4]] and (target / "manifest.json").exists()
    assert _export(lake, tmp_path, "parquet", shard_bytes=1).unchanged


def test_a_target_with_other_things_is_refused(lake, tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "thesis.doc").write_text("mine")
    with pytest.raises(DataError, match=r"not empty.*thesis\.doc"):
        _export(lake, tmp_path, "csv")


def test_a_medium_whose_bytes_changed_is_left_out_and_named(lake, tmp_path):
    media_id, uri = sorted(_kept(lake).items())[0]
    path = Path(uri.removeprefix("file://"))
    data = path.read_bytes()
    try:
        path.write_bytes(data + b"x")
        done = _export(lake, tmp_path, "webdataset")
    finally:
        path.write_bytes(data)
    assert (done.media, done.missing) == (9, 1)
    (line,) = (tmp_path / "webdataset" / "missing.jsonl").read_text().splitlines()
    assert json.loads(line)["media_id"] == media_id and json.loads(line)["reason"] == "corrupt"


def test_the_datasheet_counts_what_was_dropped_and_cannot_be_broken_by_data(lake, tmp_path):
    _export(lake, tmp_path, "csv")
    sheet = (tmp_path / "csv" / "datasheet.md").read_text()
    assert "10 media chosen, of 10 that the snapshot keeps" in sheet
    assert "| min-side | 1 |" in sheet
    assert lake.head().digest in sheet


# Loaders


def _ids(batch):
    return [row["pair_id"] for row in batch]


def _pairs(lake):
    return Counter(lake.read("pairs", where="present AND kept IS NOT false")["pair_id"].to_pylist())


def test_a_dataset_gives_every_pair_with_its_pixels(lake):
    dataset = SnapshotDataset(lake, media="original")
    assert Counter(dataset[at]["pair_id"] for at in range(len(dataset))) == _pairs(lake)
    row = dataset[0]
    data = Path(row["uri"].removeprefix("file://")).read_bytes()
    assert (row["media"] == decoded(data)).all()
    assert row["media"].shape == (40, 48, 3)


def test_what_a_killed_process_left_beside_selections_goes_with_the_next(lake, tmp_path):
    dying = (
        "import os, signal, sys; from pathlib import Path; from storage import lake, selection\n"
        "selection.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "selection.select(lake.open(sys.argv[1]), cache=Path(sys.argv[2]))\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", dying, lake.uri, str(tmp_path)], cwd=REPOSITORY, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    place = tmp_path / "selections"
    assert [path.suffix for path in place.glob("[!.]*")] == [""]  # its folder, and no file of rows
    assert len(select(lake, cache=tmp_path)) == len(_kept(lake))
    assert [path.suffix for path in place.glob("[!.]*")] == [".arrow"]


def test_encoded_media_are_the_very_bytes(lake):
    row = SnapshotDataset(lake, media="original", decode=False, unit="media")[1]
    assert hashlib.sha256(row["media"]).hexdigest() == row["media_id"]


def test_two_workers_and_two_ranks_yield_each_row_exactly_once(lake):
    seen = []
    for rank in range(2):
        stream = SnapshotStream(lake, batch_size=2, rank=rank, world_size=2, collate=_ids)
        loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="spawn")
        seen += [pair for batch in loader for pair in batch]
    assert Counter(seen) == _pairs(lake)


@pytest.mark.parametrize("used", range(6))
def test_a_stream_goes_on_where_it_was_stopped(lake, used):
    def stream():
        return SnapshotStream(lake, batch_size=2, seed=5, collate=_ids, media="none")

    whole = list(stream())
    first = stream()
    state = first.state_dict(used)
    again = stream()
    again.load_state_dict(pickle.loads(pickle.dumps(state)))
    assert whole[:used] + list(again) == whole
    assert len(again) == len(whole) - used


def test_a_state_of_another_order_is_refused(lake):
    state = SnapshotStream(lake, batch_size=2).state_dict(1)
    with pytest.raises(DataError, match="batch_size"):
        SnapshotStream(lake, batch_size=3).load_state_dict(state)


def test_epochs_differ_in_order_and_even_ranks_have_as_many_batches(lake):
    stream = SnapshotStream(lake, batch_size=3, collate=_ids, media="none")
    first = [pair for batch in stream for pair in batch]
    stream.set_epoch(1)
    second = [pair for batch in stream for pair in batch]
    assert first != second and sorted(first) == sorted(second)
    counts = {
        len(list(SnapshotStream(lake, batch_size=3, rank=rank, world_size=2, even=True, media="none")))
        for rank in (0, 1)
    }
    assert counts == {1}


def test_a_medium_that_is_gone_is_a_row_with_its_problem(lake):
    dataset = SnapshotDataset(lake, media="original")
    path = Path(dataset[2]["uri"].removeprefix("file://"))
    data = path.read_bytes()
    try:
        path.unlink()
        row = dataset[2]
    finally:
        path.write_bytes(data)
    assert row["media"] is None and row["problem"].startswith("missing-file")
