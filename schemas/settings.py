"""Where to run: read from the environment at the edges, never inside a method."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Per deployment; every field is `XMODAL_<NAME>` in the environment or `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="XMODAL_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    lake: str = Field("lake", description="Folder or object-store URL of the lake.")
    cache: Path = Field(
        Path.home() / ".cache" / "xmodal",
        description="Fetched corpora, thumbnails of results, and what searches need on local disk: vectors, words, "
        "selections. May be deleted.",
    )
    state: Path = Field(
        Path.home() / ".local" / "state" / "xmodal",
        description="What `xmodal up` started: pid files, logs, Prefect's database.",
    )
    media: Literal["reference", "store"] = Field(
        "reference", description="Leave media where they are, or copy their bytes by digest into the lake."
    )
    dask: str | None = Field(
        None, description="Address of an existing Dask scheduler; none: a local cluster."
    )
    workers: int | None = Field(
        None, ge=0, description="Local Dask workers; 0: in this process; none: one per core."
    )
    adaptive: int = Field(
        0, ge=0, description="Let the cluster grow from `workers` to this many; 0: fixed size."
    )
    gpus: int = Field(0, ge=0, description="GPU slots per worker of the local cluster.")
    worker_memory: str = Field("auto", description="Memory limit of a local worker, e.g. '4GiB'.")
    join_memory: str = Field(
        "auto",
        description="What joins of a flow may hold, e.g. '1GB', before they spill to disk; auto: 32 MB for a "
        "curation, and as much again for a check, of up to 1,300,000 media, more with the power 2/3 of their number, and "
        "for a statement that needs more; 256 MB elsewhere.",
    )
    wait_s: float = Field(
        0.0, ge=0, description="How long a run waits for a lake that another run holds, before exit code 3."
    )
    allow_private_addresses: bool = Field(
        False, description="Let URL sources reach private and loopback hosts."
    )
    token: str | None = Field(
        None,
        description="Secret that `xmodal dashboard` and `xmodal serve` ask for; needed to listen beyond this machine.",
    )


class DecodeLimits(BaseSettings):
    """What one file may cost; `XMODAL_DECODE_<NAME>`. The limits in force are kept with each run."""

    model_config = SettingsConfigDict(
        env_prefix="XMODAL_DECODE_", env_file=".env", extra="ignore", frozen=True
    )

    max_bytes: int = Field(256 << 20, gt=0, description="Largest file that is read.")
    max_pixels: int = Field(89_478_485, gt=0, description="Largest width x height, from the header.")
    max_memory_bytes: int = Field(
        4 << 30, gt=0, description="Address space a decoder may take beyond its own."
    )
    timeout_s: float = Field(30.0, gt=0, description="Longest a file may take to decode.")


class FetchLimits(BaseSettings):
    """How URLs are fetched; `XMODAL_FETCH_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="XMODAL_FETCH_", env_file=".env", extra="ignore", frozen=True
    )

    pool: int = Field(16, gt=0, description="Downloads at once.")
    per_host: int = Field(4, gt=0, description="Downloads at once from one host.")
    retries: int = Field(3, ge=0, description="Further tries after a failure that may pass.")
    backoff_s: float = Field(0.5, ge=0, description="First pause between tries; doubles each time.")
    timeout_s: float = Field(30.0, gt=0, description="Longest wait for a connection or for the next bytes.")
    max_redirects: int = Field(5, ge=0, description="Redirects followed, each checked as the first.")
