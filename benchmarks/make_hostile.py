"""A corpus of hostile media, the same for the same seed: `python -m benchmarks.make_hostile --to DIR --files 2000`.

A third of it are ordinary files with damage: flipped bits, lost ends, pieces moved, doubled, taken from another file,
headers that lie. The rest are attacks that people have published, by kind; see `hostile_attacks.KINDS`. References
that a decoder might follow lead to a file and to a port of the caller's, so that following them is noticed.
"""

import argparse
import gzip
import io
import os
import random
import socket
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile_attacks import KINDS, Traps
from benchmarks.hostile_files import DAMAGE, cut, flipped, pictures


@dataclass(frozen=True)
class Planted:
    """What was written: its kind and its place below the corpus."""

    kind: str
    path: str


def plant(folder: Path, traps: Traps, *, files: int, seed: int) -> list[Planted]:
    """Write a corpus of at least `files` files below an empty folder; return what was written.

    Special files (pipes, sockets, devices, links) and odd names come once, attacks whole as often as a third of the
    corpus has room for them (of a small one, some), the endless drawing each third time; damage fills up the rest.
    """
    rng = random.Random(seed)
    planted = list(_special(folder / "special", traps, rng))
    planted += _named(folder / "names", rng)
    for name in KINDS:
        (folder / name.replace(" ", "-")).mkdir(parents=True)
    made: list[tuple[str, str, bytes]] = []
    for turn in range(100):
        for kind, make in KINDS.items():
            if kind != "endless drawing" or turn % 3 == 0:
                made += [(kind, f"{turn:02d}-{name}", data) for name, data in make(rng, traps)]
        if len(made) >= files // 3:
            break
    if len(made) > files // 2:  # a small corpus: some of each kind
        made = [next(one for one in made if one[0] == "endless drawing"), *rng.sample(made, files // 3)]
    for kind, name, data in dict.fromkeys(made):
        planted.append(_written(folder, kind, name, data))
    (folder / "damage").mkdir()
    number = 0
    while len(planted) < files:
        base = pictures(rng)
        for kind, damage in DAMAGE.items():
            name = rng.choice(list(base))
            other = base[
                rng.choice([one for one in base if one.rpartition(".")[2] == name.rpartition(".")[2]])
            ]
            data = damage(rng, base[name], other)
            planted.append(_written(folder, kind, f"{number:05d}.{name}", data, "damage"))
            number += 1
    return planted


def _written(folder: Path, kind: str, name: str, data: bytes, below: str = "") -> Planted:
    path = f"{below or kind.replace(' ', '-')}/{name}"
    (folder / path).write_bytes(data)
    return Planted(kind, path)


def _special(folder: Path, traps: Traps, rng: random.Random) -> Iterator[Planted]:
    """Whatever is no ordinary file, and sidecars that are none."""
    folder.mkdir(parents=True)
    (folder / "empty.png").touch()
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # the name of a socket has 108 bytes at most
        try:
            server.bind("socket.png")
        finally:
            os.chdir(here)
    links = {
        "loop-a.png": "loop-b.png", "loop-b.png": "loop-a.png", "gone.png": "nothing.png", "passwd.png": "/etc/passwd",
        "secret.png": str(traps.secret), "zero.png": "/dev/zero", "environ.png": "/proc/self/environ", "stdin.png": "/dev/stdin",
        "up.png": "../../..", "climbs.png": f"../../../{traps.secret.name}",
    }  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "inside").symlink_to("..")  # a folder that holds itself: no item, and no endless walk
    names = ["empty.png", "pipe.png", "socket.png", *links]
    try:
        os.mknod(
            folder / "device.png", stat.S_IFCHR | 0o666, os.makedev(1, 5)
        )  # /dev/zero under another name
        names.append("device.png")
    except PermissionError:
        pass  # only root can
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(20 << 30)  # 20 GiB of nothing, which take no room
    base = pictures(rng)["png"]
    sidecars: dict[str, bytes | None] = {
        "pipe-beside.txt": None,
        "deep.json": b"[" * 200_000,
        "long.txt": b"a" * (2 << 20),
        "latin.txt": b"\xe9\xff",
        "nul.txt": b"a\0b",
        "digits.json": b'{"text": ' + b"9" * 50_000 + b"}",
        "many.json": b'{"texts": [' + b'"a",' * 90_000 + b'"b"]}',
        "lone.json": b'{"text": "\\ud800"}',
        "type.json": b'{"texts": {"a": [1, {}]}, "language": 7}',
        "nan.json": b'{"text": "a", "x": NaN}',
    }
    for name, data in sidecars.items():
        if data is None:
            os.mkfifo(folder / name)
        else:
            (folder / name).write_bytes(data)
        stem = name.rpartition(".")[0]
        (folder / f"{stem}.png").write_bytes(base)
        names.append(f"{stem}.png")
    yield from (Planted("no ordinary file", f"special/{name}") for name in [*names, "sparse.png"])


def _named(folder: Path, rng: random.Random) -> list[Planted]:
    """Ordinary pictures whose names are not."""
    folder.mkdir(parents=True)
    names = [
        b"new\nline.png",
        b"\xff\xfe.png",
        b"a\x1b[2Jb.png",
        b"$(touch hurt).png",
        b"; rm -rf x.png",
        b"a..png.png",
        b"-rf.png",
        b"%2e%2e%2fup.png",
        b"a\\..\\..\\up.png",
        b"<b>hurt.png",
        b"a!b@0+9.png",
        b"{{7*7}}.png",
        "\u202egnp.exe.png".encode(),
        b"x" * 250 + b".png",
        b"' OR 1=1 --.png",
        b"file:..png",
        b"\xc3\xa9.png",
        "e\u0301.png".encode(),
        b"con.png",
        b"a.png.svg",
    ]
    for name in names:
        (Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))).write_bytes(pictures(rng)["png"])
    return [Planted("odd name", f"names/{os.fsdecode(name)}") for name in names]


def plant_archives(folder: Path, traps: Traps, *, seed: int) -> list[Planted]:
    """Write hostile tars into an empty folder; each must be answered for, by its members or as a whole."""
    rng = random.Random(seed)
    picture = pictures(rng)["png"]

    def member(
        name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = ""
    ) -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.linkname = len(data), kind, to
        return info, data

    tars = {
        "climbs": [
            member("../../../climbed.png", picture),
            member("/tmp/xmodal-climbed.png", picture),
            member("a/../../b.png", picture),
        ],
        "links": [
            member("a.png", kind=tarfile.SYMTYPE, to=str(traps.secret)),
            member("b.png", kind=tarfile.LNKTYPE, to="/etc/passwd"),
            member("d", kind=tarfile.SYMTYPE, to="/tmp"),
            member("d/hurt.png", picture),
            member("l.png", kind=tarfile.SYMTYPE, to="l.png"),
        ],
        "devices": [
            member("zero.png", kind=tarfile.CHRTYPE),
            member("disk.png", kind=tarfile.BLKTYPE),
            member("pipe.png", kind=tarfile.FIFOTYPE),
        ],
        "names": [
            member("\x1b[2J.png", picture),
            member("a" * 4000 + ".png", picture),
            member("n\nl.png", picture),
            member("e.png", b""),
        ],
        "many": [member(f"{n:05d}.png", picture[: rng.randrange(60)]) for n in range(120)],
        "texts": [
            member("a.png", picture),
            member("a.txt", b"\xff\xfe\0"),
            member("b.png", picture),
            member("b.json", b"[" * 90_000),
        ],
        "same": [member("a.png", picture)] * 30,
    }
    folder.mkdir(parents=True)
    whole = {}
    for name, members in tars.items():
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for info, data in members:
                tar.addfile(info, io.BytesIO(data))
        whole[f"{name}.tar"] = out.getvalue()
    many = whole["many.tar"]
    whole |= {f"flipped{n}.tar": flipped(rng, many, many) for n in range(12)}
    whole |= {f"cut{n}.tar": cut(rng, many, many) for n in range(6)}
    huge = bytearray(whole["same.tar"])
    huge[124:136] = b"77777777777\0"  # a member of 8 GiB
    huge[148:156] = b"%06o\0 " % (sum(huge[:148]) + 256 + sum(huge[156:512]))
    whole |= {
        "size.tar": bytes(huge),
        "bomb.tar.gz": gzip.compress(bytes(200 << 20), 9, mtime=0),
        "gzip.tar.gz": gzip.compress(many, mtime=0)[:-9],
        "words.tar": b"only words" * 200,
        "empty.tar": b"",
        "zeros.tar": bytes(10_240),
        "picture.tar": picture,
        "bz2.tar.bz2": b"BZh9" + rng.randbytes(300),
        "xz.tar.xz": b"\xfd7zXZ\0" + rng.randbytes(300),
    }
    for name, data in whole.items():
        (folder / name).write_bytes(data)
    return [Planted("archive", name) for name in whole]


def main() -> None:
    """Write a corpus to look at; its traps lead nowhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    traps = Traps(Path("/nowhere/secret"), "http://127.0.0.1:1")
    planted = plant(asked.to / "media", traps, files=asked.files, seed=asked.seed)
    planted += plant_archives(asked.to / "tars", traps, seed=asked.seed)
    print(f"{len(planted)} files below {asked.to}")


if __name__ == "__main__":
    main()
