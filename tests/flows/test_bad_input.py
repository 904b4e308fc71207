import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from flows.curate import curate
from schemas.recipes import CurationRecipe
from storage import lake as lakes
from tests.conftest import write_picture
from tests.hostile_media import bad_media, good_media

pytestmark = pytest.mark.usefixtures("prefect_server")


def _folder(root: Path) -> tuple[dict[str, dict], dict[str, str]]:
    good, bad = {}, {}
    (root / "good").mkdir(parents=True)
    (root / "bad").mkdir()
    good |= {f"good/{name}": facts for name, facts in good_media(root / "good").items()}
    bad |= {f"bad/{name}": reason for name, reason in bad_media(root / "bad").items()}
    outside = write_picture(root.parent / "outside.png", 7)
    (root / "leads-out.png").symlink_to(outside)
    (root / "leads-nowhere.png").symlink_to(root / "nothing.png")
    write_picture(root / "nul.png", 8).with_suffix(".txt").write_bytes(b"a caption\x00with NUL")
    write_picture(root / "latin.png", 9).with_suffix(".txt").write_bytes("ein Käfer".encode("latin-1"))
    write_picture(root / "long.png", 10).with_suffix(".txt").write_text("word " * 200_000)
    os.mkfifo(root / "pipe.png")
    bad |= {
        "leads-out.png": "outside-root", "leads-nowhere.png": "missing-file", "nul.png": "nul-bytes",
        "latin.png": "bad-encoding", "long.png": "text-too-long", "pipe.png": "not-a-file",
    }  # fmt: skip
    return good, bad


def _manifest(root: Path) -> tuple[int, dict[str, str]]:
    root.mkdir()
    write_picture(root / "a.png", 21)
    write_picture(root / "b.png", 22)
    lines = [
        json.dumps({"media": "a.png", "text": "a good row", "language": "en"}).encode(),
        json.dumps({"media": "gone.png", "text": "its file is missing"}).encode(),
        json.dumps({"media": "b.png", "text": ""}).encode(),
        json.dumps({"media": "b.png", "text": "NUL \x00 inside"}).encode(),
        json.dumps({"media": "b.png", "text": "x" * 1_000_000}).encode(),
        json.dumps({"media": "../outside.png", "text": "climbs out"}).encode(),
        b'{"media": "b.png", "text": "bad \xff byte"}',
        b'{"media": "b.png", "text": ',
    ]
    (root / "rows.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return 1, {
        "missing-file": 1, "missing-text": 1, "nul-bytes": 1, "text-too-long": 1, "outside-root": 1,
        "bad-encoding": 1, "bad-row": 1,
    }  # fmt: skip


def _archive(path: Path, scratch: Path) -> tuple[int, dict[str, int]]:
    picture = write_picture(scratch / "tar.png", 31).read_bytes()
    with tarfile.open(path, "w") as tar:
        for name, body in (("one.png", picture), ("one.txt", b"from a tar"), ("../../x.png", picture)):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return 1, {"outside-root": 2}


def test_every_bad_input_is_quarantined_with_its_reason_and_every_good_one_kept(
    tmp_path, lake_dir, monkeypatch
):
    monkeypatch.setenv("XMODAL_DECODE_TIMEOUT_S", "60")
    good, bad = _folder(tmp_path / "folder")
    manifest_good, manifest_bad = _manifest(tmp_path / "manifest")
    tar_good, tar_bad = _archive(tmp_path / "shard.tar", tmp_path / "scratch")
    (tmp_path / "urls.txt").write_text(
        "http://127.0.0.1:9/private.png\thosts of one's own\n"
        "http://169.254.169.254/latest/meta-data\tcloud metadata\n"
        "file:///etc/passwd\tno web address\n"
    )
    recipe = CurationRecipe.model_validate(
        {
            "name": "hostile",
            "sources": [
                {"name": "folder", "kind": "folder", "location": str(tmp_path / "folder")},
                {
                    "name": "manifest",
                    "kind": "manifest",
                    "location": str(tmp_path / "manifest" / "rows.jsonl"),
                },
                {"name": "tar", "kind": "webdataset", "location": str(tmp_path / "shard.tar")},
                {"name": "urls", "kind": "urls", "location": str(tmp_path / "urls.txt")},
            ],
            "encoder": {"name": "hashing"},
            "near_duplicates": None,
        }
    )
    first = curate(recipe, lake=lake_dir)
    lake = lakes.open(lake_dir)
    refused = lake.read("quarantine").to_pylist()

    found = {row["locator"]: row["reason"] for row in refused if row["source"] == "folder"}
    assert found == bad
    by_source = {}
    for row in refused:
        by_source.setdefault(row["source"], []).append(row["reason"])
    assert sorted(by_source["manifest"]) == sorted(manifest_bad)
    assert by_source["tar"] == ["outside-root"] * tar_bad["outside-root"]
    assert sorted(by_source["urls"]) == ["bad-url", "blocked-address", "blocked-address"]
    assert all(row["message"] and row["error_class"] and row["stage"] for row in refused)

    kept = {row["locators"][0]: row for row in lake.read("media").to_pylist()}
    assert {f"folder/{name}" for name in good} <= {
        place for row in kept.values() for place in row["locators"]
    }
    for name, facts in good.items():
        row = next(row for row in kept.values() if f"folder/{name}" in row["locators"])
        assert {column: row[column] for column in facts} == facts, name
        assert row["kept"]

    counts = json.loads(lake.runs()[0]["counts"])["items"]
    assert counts["in"] == len(good) + len(bad) + manifest_good + 7 + tar_good + 2 + 3
    assert counts["in"] == sum(counts.get(n, 0) for n in ("kept", "merged", "filtered", "quarantined"))
    assert counts["quarantined"] == len(refused)

    assert curate(recipe, lake=lake_dir).snapshot_id == first.snapshot_id
    assert lakes.open(lake_dir).read("quarantine").num_rows == len(refused)


def test_replay_takes_in_what_was_mended_and_keeps_the_refusal_on_record(
    media_folder, recipe_of, lake_dir, monkeypatch
):
    monkeypatch.setenv("XMODAL_DECODE_MAX_PIXELS", "4000")
    write_picture(media_folder / "large.png", 50, size=(100, 80))
    recipe = recipe_of(media_folder)
    curate(recipe, lake=lake_dir)
    (refused,) = lakes.open(lake_dir).read("quarantine").to_pylist()
    assert (refused["reason"], refused["active"]) == ("too-many-pixels", True)
    curate(recipe, lake=lake_dir, replay=("too-many-pixels",))  # nothing was mended: still refused
    assert [row["active"] for row in lakes.open(lake_dir).read("quarantine").to_pylist()] == [True]
    monkeypatch.delenv("XMODAL_DECODE_MAX_PIXELS")
    curate(recipe, lake=lake_dir, replay=("too-many-pixels",))
    lake = lakes.open(lake_dir)
    assert [row["active"] for row in lake.read("quarantine").to_pylist()] == [False]
    assert json.loads(lake.runs()[0]["counts"])["items"]["kept"] == 13
