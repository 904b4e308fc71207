"""The decoder process: in order, timed, bounded, replaceable, and never left behind."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from schemas.errors import BadInput, XmodalError
from schemas.items import Inspected
from schemas.recipes import InspectRecipe
from schemas.settings import DecodeLimits
from tasks.media.decoder import Decoder, LocalBytes
from tests.hostile_media import blank_png, encoded, scene

ROOT = Path(__file__).resolve().parents[3]


def good(number: int) -> bytes:
    """A picture of its own for each number."""
    return encoded(Image.new("RGB", (8 + number, 8), (number, 0, 0)), "PNG")


def outcome(answer: Inspected | BadInput) -> str | int | None:
    return answer.reason if isinstance(answer, BadInput) else answer.width_px


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.fixture
def patient(recipe: InspectRecipe) -> Iterator[Decoder]:
    with Decoder(recipe, DecodeLimits(timeout_s=60)) as decoder:
        yield decoder


def test_nothing_is_started_before_it_is_needed_and_nothing_is_left_after(patient: Decoder) -> None:
    assert patient.pid is None
    patient.inspect(good(0), name="a.png")
    pid = patient.pid
    assert pid is not None and is_running(pid)
    patient.close()
    assert not is_running(pid)
    assert patient.inspect(good(0), name="a.png").width_px == 8  # a closed decoder starts again


def test_answers_keep_the_order_of_requests(patient: Decoder) -> None:
    requests = [(good(n) if n % 3 else b"", f"{n}.png") for n in range(40)]
    answers = [outcome(answer) for answer in patient.inspect_many(requests)]
    assert answers == [8 + n if n % 3 else "empty-file" for n in range(40)]


def test_requests_and_answers_larger_than_the_pipe_do_not_lock_up() -> None:
    noise = encoded(Image.effect_noise((1200, 1200), 90), "PNG")
    assert len(noise) > 1 << 20
    with Decoder(InspectRecipe(thumbnail_px=600, thumbnail_quality=100), DecodeLimits()) as decoder:
        found = list(decoder.inspect_many([(noise, "a.png")] * 4))
    sizes = [len(answer.thumbnail or b"") for answer in found if isinstance(answer, Inspected)]
    assert len(sizes) == 4
    assert min(sizes) > 1 << 17


def test_a_hanging_file_is_killed_and_the_rest_goes_on(recipe: InspectRecipe, endless_svg: bytes) -> None:
    with Decoder(recipe, DecodeLimits(timeout_s=1.5)) as decoder:
        requests = [(good(0), "a"), (endless_svg, "b.svg"), (good(1), "c"), (good(2), "d")]
        answers = list(decoder.inspect_many(requests))
    assert [outcome(answer) for answer in answers] == [8, "decode-timeout", 9, 10]
    assert isinstance(answers[1], BadInput)
    assert answers[1].digest == hashlib.sha256(endless_svg).hexdigest()


def test_a_hanging_local_file_is_named_by_its_digest(
    tmp_path: Path, recipe: InspectRecipe, endless_svg: bytes
) -> None:
    (tmp_path / "a.svg").write_bytes(endless_svg)
    with Decoder(recipe, DecodeLimits(timeout_s=0.2)) as decoder, pytest.raises(BadInput) as refused:
        decoder.inspect(LocalBytes(str(tmp_path / "a.svg")), name="a.svg")
    assert (refused.value.reason, refused.value.digest) == (
        "decode-timeout",
        hashlib.sha256(endless_svg).hexdigest(),
    )


def test_memory_is_bounded_and_the_decoder_lives_on(recipe: InspectRecipe) -> None:
    with Decoder(recipe, DecodeLimits(max_memory_bytes=48 << 20)) as decoder:
        answers = decoder.inspect_many([(good(0), "a"), (blank_png(8000, 8000), "b.png"), (good(1), "c")])
        assert [outcome(next(answers)) for _ in range(2)] == [8, "decode-memory"]
        pid = decoder.pid
        assert [outcome(answer) for answer in answers] == [9]
        assert decoder.pid == pid


def test_a_kill_from_outside_is_held_against_no_one(patient: Decoder) -> None:
    answers = patient.inspect_many((good(n), f"{n}.png") for n in range(30))
    found = []
    for number, answer in enumerate(answers):
        found.append(outcome(answer))
        if number in (4, 17) and patient.pid is not None:
            os.kill(patient.pid, signal.SIGKILL)
    assert found == [8 + n for n in range(30)]


@pytest.mark.parametrize(
    ("how", "reason"), [(signal.SIGSEGV, "decoder-crashed"), (signal.SIGKILL, "decode-memory")]
)
def test_a_file_that_always_kills_its_decoder_is_blamed_alone(
    how: signal.Signals, reason: str, patient: Decoder, endless_svg: bytes
) -> None:
    reached = threading.Event()
    done = threading.Event()

    def kill_every_decoder() -> None:
        reached.wait()
        while not done.wait(0.1):
            if patient.pid is not None:
                os.kill(patient.pid, how)
                return_after_two.append(patient.pid)
                if len(set(return_after_two)) == (2 if how == signal.SIGKILL else 1):
                    return

    return_after_two: list[int] = []
    killer = threading.Thread(target=kill_every_decoder)
    killer.start()

    def requests() -> Iterator[tuple[bytes, str]]:
        yield good(0), "a"
        yield endless_svg, "b.svg"
        yield good(1), "c"

    found = []
    for answer in patient.inspect_many(requests()):
        found.append(outcome(answer))
        reached.set()  # the drawing is being decoded from here on
    done.set()
    killer.join()
    assert found == [8, reason, 9]


def test_a_decoder_killed_while_idle_is_replaced(patient: Decoder) -> None:
    patient.inspect(good(0), name="a")
    pid = patient.pid
    assert pid is not None
    os.kill(pid, signal.SIGSEGV)
    assert wait_until_gone(pid)
    assert patient.inspect(good(1), name="b").width_px == 9


def test_an_abandoned_iteration_does_not_leave_its_answers_to_the_next(patient: Decoder) -> None:
    answers = patient.inspect_many((good(n), "a") for n in range(10))
    next(answers)
    with pytest.raises(XmodalError, match="amid another"):
        patient.inspect(good(20), name="b")
    answers.close()
    assert patient.inspect(good(20), name="b").width_px == 28


def test_oversized_bytes_are_never_sent(recipe: InspectRecipe) -> None:
    with Decoder(recipe, DecodeLimits(max_bytes=10)) as decoder:
        answers = list(decoder.inspect_many([(b"x" * 11, "a"), (b"x" * 12, "b")]))
        assert [outcome(answer) for answer in answers] == ["too-many-bytes"] * 2
        assert isinstance(answers[0], BadInput)
        assert answers[0].digest == hashlib.sha256(b"x" * 11).hexdigest()
        assert decoder.pid is None


def test_only_regular_files_are_read(tmp_path: Path, decoder: Decoder) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.png").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_bytes(good(3))
    expected = {
        str(tmp_path / "pipe"): "not-a-file",
        "/dev/zero": "not-a-file",
        str(tmp_path): "not-a-file",
        str(tmp_path / "none"): "missing-file",
        str(tmp_path / ("x" * 300)): "unreadable",
        str(tmp_path / "real" / "below"): "unreadable",
        str(tmp_path / "link.png"): 11,
    }
    answers = decoder.inspect_many((LocalBytes(path), "a.png") for path in expected)
    assert {path: outcome(answer) for path, answer in zip(expected, answers, strict=True)} == expected


def test_a_range_of_a_file_is_read_as_if_it_were_the_file(tmp_path: Path, decoder: Decoder) -> None:
    parts = [good(1), good(2), good(3)]
    (tmp_path / "a.tar").write_bytes(b"".join(parts))
    place = LocalBytes(str(tmp_path / "a.tar"), offset=len(parts[0]), size=len(parts[1]))
    assert decoder.inspect(place, name="2.png") == decoder.inspect(parts[1], name="2.png")
    with pytest.raises(BadInput) as refused:
        decoder.inspect(LocalBytes(str(tmp_path / "a.tar"), offset=5, size=1 << 20), name="a.png")
    assert refused.value.reason == "truncated"


def test_names_that_are_not_unicode_are_read(tmp_path: Path, decoder: Decoder) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Path(path).write_bytes(good(0))
    assert decoder.inspect(LocalBytes(path), name=path).width_px == 8
    with pytest.raises(BadInput, match="no file"):
        decoder.inspect(LocalBytes(path + "x"), name=path)


def test_the_child_has_one_thread_few_rights_and_no_proxies(
    monkeypatch: pytest.MonkeyPatch, patient: Decoder, limits: DecodeLimits
) -> None:
    monkeypatch.setenv("https_proxy", "http://192.0.2.1:1")
    patient.inspect(encoded(scene(), "AVIF"), name="a")
    place = Path(f"/proc/{patient.pid}")
    assert "Threads:\t1\n" in (place / "status").read_text()
    assert b"proxy" not in (place / "environ").read_bytes().lower()
    caps = {
        line[:25].strip(): line[26:].split()[1] for line in (place / "limits").read_text().splitlines()[1:]
    }
    assert caps["Max core file size"] == "0"
    assert int(caps["Max open files"]) <= 32
    assert limits.max_memory_bytes < int(caps["Max address space"]) < limits.max_memory_bytes + (1 << 30)


@pytest.mark.parametrize("state", ["idle", "hanging"])
def test_the_child_dies_with_a_killed_parent(state: str, tmp_path: Path, endless_svg: bytes) -> None:
    (tmp_path / "hang.svg").write_bytes(endless_svg)
    script = f"""
import sys, threading, time
from schemas.recipes import InspectRecipe
from schemas.settings import DecodeLimits
from tasks.media.decoder import Decoder, LocalBytes
decoder = Decoder(InspectRecipe(), DecodeLimits(timeout_s=600))
decoder.inspect(b"P6 1 1 255 abc", name="a.ppm")
print(decoder.pid, flush=True)
if {state == "hanging"}:
    decoder.inspect(LocalBytes({str(tmp_path / "hang.svg")!r}), name="a.svg")
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    assert is_running(pid)
    parent.kill()
    parent.communicate()
    assert wait_until_gone(pid)


def test_a_thread_that_ends_does_not_take_the_child_with_it(patient: Decoder) -> None:
    starter = threading.Thread(target=lambda: patient.inspect(good(0), name="a"))
    starter.start()
    starter.join()
    pid = patient.pid
    time.sleep(0.1)
    assert patient.inspect(good(1), name="b").width_px == 9
    assert patient.pid == pid
