"""The short form of `make hostile`: 130 hostile files, 34 tars and 22 addresses through the real flow, and the judge itself."""

import socket

import pytest

from benchmarks.hostile import Outcome, build, judged, state, traced, trap
from benchmarks.hostile_attacks import Traps
from benchmarks.make_hostile import Planted
from flows.ingest import ingest_sources


@pytest.fixture(scope="module")
def scene(tmp_path_factory, prefect_server):
    """A small corpus, taken in; what changed on disk outside the lake; the trap."""
    with pytest.MonkeyPatch.context() as patch, trap() as door:
        patch.setenv("XMODAL_DECODE_TIMEOUT_S", "4")
        patch.setenv("XMODAL_FETCH_RETRIES", "0")
        root = tmp_path_factory.mktemp("hostile")
        scene = build(root, Traps(root / "secret.txt", door.url), files=130, seed=7)
        before = state(root)
        ingest_sources(scene.recipe(), lake=scene.lake)
        after = {path: found for path, found in state(root).items() if not path.startswith(scene.lake)}
        yield scene, before, after, door


def test_every_file_ends_as_a_row_or_is_quarantined_with_a_reason(scene):
    outcome = Outcome(0)
    judged(scene[0], outcome)
    assert outcome.problems == [] and outcome.secrets == []
    media = {
        kind: n
        for (kind, _), n in outcome.found.items()
        if kind not in ("members of archives", "addresses inside")
    }
    assert len(media) > 10
    answered = sum(
        n for (kind, _), n in outcome.found.items() if kind not in ("members of archives", "addresses inside")
    )
    assert answered == len(scene[0].files) >= 130
    assert outcome.found["endless drawing", "decode-timeout"] == 1
    assert outcome.found["odd name", "row"] == sum(one.kind == "odd name" for one in scene[0].files)
    assert {what for kind, what in outcome.found if kind == "addresses inside"} <= {
        "blocked-address",
        "bad-url",
        "download-failed",
    }
    assert outcome.died == []


def test_nothing_outside_the_lake_is_touched_and_no_connection_attempted(scene):
    _, before, after, door = scene
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {
        str(scene[0].root)
    }
    assert door.count == 0


def test_the_judge_sees_what_is_missing_and_where_the_secret_went(scene, tmp_path):
    taken, *_ = scene
    outcome = Outcome(0)
    lost = Planted("bombs", "bombs/never-written.png")
    judged(
        type(taken)(
            taken.root,
            [*taken.files, lost],
            [*taken.archives, Planted("archive", "gone.tar")],
            taken.urls + 1,
        ),
        outcome,
    )
    assert outcome.unanswered == ["bombs/never-written.png", "gone.tar", "a URL"]


LOG = """\
1 openat(AT_FDCWD, "/lake/a", O_WRONLY|O_CREAT, 0666) = 3
1 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
1 openat(AT_FDCWD, "/etc/hurt", O_WRONLY|O_CREAT, 0666) = 3
1 openat(AT_FDCWD, "/etc/denied", O_WRONLY|O_CREAT, 0666) = -1 EPERM (Operation not permitted)
2 rename("/lake/a", "/home/b") = 0
2 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
2 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, 16) = -1 EINPROGRESS
2 connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 16) = 0
2 +++ exited with 0 +++
"""


def test_a_trace_shows_what_was_written_elsewhere_and_who_was_called(tmp_path):
    (tmp_path / "log").write_text(LOG)
    lines = LOG.splitlines()
    assert traced(tmp_path / "log", ["/lake"]) == [lines[2], lines[4], lines[6]]


def test_the_trap_counts():
    with trap() as door:
        socket.create_connection(("127.0.0.1", int(door.url.rpartition(":")[2]))).recv(
            1
        )  # it counts, then shuts the door
        assert door.count == 1
