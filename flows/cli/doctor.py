"""`xmodal doctor`: what this machine has, and what to do about what it lacks."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import JsonOption, LakeOption, lake_uri, print_json, say, show

if TYPE_CHECKING:
    from storage.places import Place


@dataclass(frozen=True)
class Finding:
    """One check: ok, note or problem, what was found, and what to do."""

    check: str
    state: str
    found: str
    advice: str = ""


def doctor(
    lake: LakeOption = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every row of the lake and compare it with its digest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check versions, torch, decoders, disk, the lake's file system, its tables, Prefect and Dask."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _versions, _torch, _decoders, _confinement, lambda: _disk(lake_uri(lake)), lambda: _lake(lake_uri(lake)),
        lambda: _tables(lake_uri(lake), deep), _prefect, _dask, _debian,
    )  # fmt: skip
    findings = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # a check that fails is itself a finding
            findings.append(
                Finding(
                    getattr(check, "__name__", "check").strip("_"),
                    "problem",
                    f"{type(error).__name__}: {error}",
                )
            )
    if as_json:
        print_json(findings)
    else:
        show(
            "",
            ("check", "", "found", "what to do"),
            [(f.check, f.state, f.found, f.advice) for f in findings],
        )
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
    if not as_json:
        say("no problem found")


# Ranges that were tried; outside them something is known to break.
_TRIED: dict[str, tuple[str, str]] = {
    "prefect": ("3.8.8", "3.9"),
    "fastapi": ("0.139", "0.151"),
    "sqlalchemy": ("2.0.40", "2.1"),
    "lancedb": ("0.40", "0.50"),
    "pylance": ("14", "15"),
    "pyarrow": ("26", "27"),
    "duckdb": ("2.0", "3"),
    "distributed": ("2026.8", "2027"),
}


def _versions() -> list[Finding]:
    from packaging.version import Version

    ours = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding(
            "python",
            "ok" if sys.version_info >= (3, 11) else "problem",
            ours,
            "" if sys.version_info >= (3, 11) else "use 3.11 or newer",
        )
    ]
    for package, (low, high) in _TRIED.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            findings.append(
                Finding(
                    package, "problem", "not installed", "install with the constraints file: make install"
                )
            )
            continue
        fits = Version(low) <= Version(found) < Version(high)
        advice = (
            "" if fits else f"tried with {low} up to {high}; install with the constraints file: make install"
        )
        findings.append(Finding(package, "ok" if fits else "problem", found, advice))
    return findings


def _torch() -> list[Finding]:
    import torch

    try:
        version("torchvision")
        vision = Finding(
            "torchvision",
            "note",
            version("torchvision"),
            "not needed; beside a CPU torch it can break transformers: uninstall it",
        )
    except PackageNotFoundError:
        vision = Finding("torchvision", "ok", "absent, as it should be")
    devices = (
        f"{torch.cuda.device_count()} CUDA devices"
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return [Finding("torch", "ok", f"{torch.__version__}, {devices}"), vision]


def _decoders() -> list[Finding]:
    from PIL import __version__ as pillow
    from PIL import features

    codecs = [name for name in ("jpg", "zlib", "webp", "avif", "libtiff") if features.check(name)]
    missing = {"jpg", "zlib", "webp"} - set(codecs)
    state, advice = (
        ("problem", f"Pillow lacks {', '.join(sorted(missing))}: reinstall its wheel")
        if missing
        else ("ok", "")
    )
    return [
        Finding("pillow", state, f"{pillow} with {', '.join(codecs)}", advice),
        Finding("svg", "ok", f"resvg_py {version('resvg_py')}"),
    ]


def _confinement() -> list[Finding]:
    """Start a decoder and see whether the kernel keeps it from the network."""
    from schemas.recipes import InspectRecipe
    from schemas.settings import DecodeLimits
    from tasks.media.decoder import Decoder

    with Decoder(InspectRecipe(), DecodeLimits()) as decoder:
        decoder.inspect(b"P6 1 1 255 abc", name="dot.ppm")
        confined = decoder.is_confined
    if confined:
        return [
            Finding("decoder", "ok", "without network, writing and other processes: the kernel refuses them")
        ]
    return [
        Finding(
            "decoder",
            "note",
            "bounded in memory and time, but the kernel has no seccomp filters",
            "decode strangers' media in a container without network",
        )
    ]


def _disk(lake: str) -> list[Finding]:
    if "://" in lake:
        return []
    folder = Path(lake).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    low = free < 2
    return [
        Finding(
            "disk",
            "problem" if low else "ok",
            f"{free:.1f} GB free at {folder}",
            "free some space: a lake of 8,000 pictures takes 0.2 GB" if low else "",
        )
    ]


def _lake(lake: str) -> list[Finding]:
    """Check that the place can do what commits need: rename over a file, lock a file; on object stores, a conditional PUT."""
    from storage.places import Place

    place = Place(lake)
    if not place.is_local:
        return [_object_store(place)]
    folder = Path(place.root)
    parent = folder if folder.exists() else next(p for p in folder.parents if p.exists())
    if not os.access(parent, os.W_OK):
        return [
            Finding(
                "lake",
                "problem",
                f"{parent} is not writable",
                "choose another folder with --lake or XMODAL_LAKE",
            )
        ]
    with tempfile.TemporaryDirectory(dir=parent, prefix=".xmodal-doctor-") as probe:
        from filelock import FileLock

        one, two = Path(probe, "one"), Path(probe, "two")
        one.write_text("1")
        two.write_text("2")
        os.replace(two, one)
        with FileLock(Path(probe, "lock"), timeout=5):
            pass
    return [Finding("lake", "ok", f"{lake}: rename and locks work")]


def _object_store(place: "Place") -> Finding:
    """Write one small object twice: the second time the store has to refuse."""
    from storage.lease import honours_conditions

    try:
        honours = honours_conditions(place)
    except Exception as error:  # whatever a store that cannot be reached, or says no, raises
        return Finding(
            "lake",
            "problem",
            f"{place.uri}: {type(error).__name__}: {error}",
            "check AWS_ENDPOINT_URL, credentials and the bucket's name",
        )
    if not honours:
        return Finding(
            "lake",
            "problem",
            f"{place.uri}: the store ignores conditional PUT (If-None-Match)",
            "use another store: two writers would overwrite each other",
        )
    return Finding("lake", "ok", f"{place.uri}: conditional PUT works")


def _tables(uri: str, deep: bool) -> list[Finding]:
    """Check that what the newest and the tagged versions name is there, and is what was written."""
    from storage import lake as lakes
    from storage import soundness

    lake = lakes.open(uri)
    if damage := soundness.check_logs(lake):
        advice = "bring these tables back from a copy of the lake"
        return [Finding(f"lake: {each.table}", "problem", each.what, advice) for each in damage]
    snapshots = {snapshot.snapshot_id: snapshot for snapshot in lake.snapshots()}
    looked_at = [each for each in snapshots if each in {*lake.tags().values(), max(snapshots)}]
    findings = []
    for name in looked_at:
        damage = soundness.check(lake, snapshots[name], deep=deep)
        sound = soundness.newest_sound(lake, but=snapshots[name], deep=deep) if damage else None
        advice = (
            f"`xmodal versions restore {sound.snapshot_id}`, then `xmodal versions tag latest {sound.snapshot_id}`"
            if sound
            else "no version is sound: bring the lake back from a copy, or curate into a new one"
        )
        findings += [Finding(f"lake: {name}", "problem", f"{d.table}: {d.what}", advice) for d in damage]
    how = "every row is what was written" if deep else "files, counts and digests are those on record"
    return findings or [Finding("lake: tables", "ok", f"{len(looked_at)} versions looked at: {how}")]


def _prefect() -> list[Finding]:
    import prefect
    from prefect.settings import get_current_settings

    api = get_current_settings().api.url
    if api is None:
        return [
            Finding(
                "prefect server", "ok", f"{prefect.__version__}; none configured: each run starts its own", ""
            )
        ]
    import httpx

    try:
        httpx.get(f"{api}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        return [
            Finding(
                "prefect server",
                "problem",
                f"{api}: {error}",
                "start it (`prefect server start`) or unset PREFECT_API_URL",
            )
        ]
    return [Finding("prefect server", "ok", api)]


def _dask() -> list[Finding]:
    from schemas.settings import Settings

    settings = Settings()
    if settings.dask is None:
        cores = len(os.sched_getaffinity(0))
        count = cores if settings.workers is None else settings.workers
        found = (
            f"local cluster of {count} workers on {cores} cores"
            if count
            else "none: work is done in this process"
        )
        return [Finding("dask", "ok", found)]
    from distributed import Client

    try:
        with Client(settings.dask, timeout=5, set_as_default=False) as client:
            n = len(client.scheduler_info(n_workers=-1)["workers"])
    except OSError as error:
        return [
            Finding(
                "dask", "problem", f"{settings.dask}: {error}", "start the scheduler or unset XMODAL_DASK"
            )
        ]
    return [
        Finding(
            "dask",
            "ok" if n else "problem",
            f"{settings.dask}: {n} workers",
            "" if n else "start workers: dask worker ADDRESS",
        )
    ]


def _debian() -> list[Finding]:
    has = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool)]
    if len(has) == 2:
        return [
            Finding("debian", "ok", "apt-get and dpkg-deb: the clipart and stamps corpora can be fetched")
        ]
    return [
        Finding(
            "debian", "note", "no apt-get or dpkg-deb", "only needed for `xmodal corpora get clipart|stamps`"
        )
    ]
