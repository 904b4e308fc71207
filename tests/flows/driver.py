"""A process that curates and can be told to die: tests kill it, or have it kill itself at a chosen write.

    python driver.py RECIPE LAKE            curate once
    python driver.py --serve                read a job per line, run each in a child of its own

A job is {"recipe": path, "lake": uri, "log": path} and, to die, "kill": n. Everything a run writes is an event,
numbered from 0, before and after it: staged files, versions of Lance tables, tags on them, rows of logs.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import lance
from lance.dataset import MergeInsertBuilder, Tags

from flows.curate import curate
from schemas.recipes import CurationRecipe, load_recipe
from storage.lake import Lake
from storage.places import Place
from storage.staging import Staging


class Events:
    """Numbers what a run writes, notes it, and ends the process at a chosen number."""

    def __init__(self, log: str, kill: int | None, victim: int | None = None) -> None:
        self.log = open(log, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - open until the process dies
        self.kill = kill
        self.victim = victim  # None: this process
        self.count = 0

    def note(self, what: str) -> None:
        self.log.write(what + "\n")
        if self.count == self.kill:
            os.kill(self.victim or os.getpid(), signal.SIGKILL)
        self.count += 1

    def around(self, owner: Any, name: str, say: Callable[..., str]) -> None:
        """Have every call of `owner.name` noted before and after."""
        original = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            what = say(*args, **kwargs)
            self.note(f"before {what}")
            result = original(*args, **kwargs)
            self.note(f"after {what}")
            return result

        setattr(owner, name, noted)


def watch(log: str, kill: int | None, victim: int | None = None) -> None:
    """Note every write of this process from now on; at a chosen one kill a process, this one by default."""
    events = Events(log, kill, victim)
    merge_insert = lance.LanceDataset.merge_insert

    def named(dataset: lance.LanceDataset, on: str) -> MergeInsertBuilder:
        builder = merge_insert(dataset, on)
        builder.table = _table(dataset.uri)
        return builder

    lance.LanceDataset.merge_insert = named
    events.around(Place, "publish", lambda place, local, path: f"stage {path.split('_staging/')[-1][17:]}")
    events.around(Staging, "clear", lambda staging: "clear staging")
    events.around(lance, "write_dataset", lambda data, uri, **how: f"{how['mode']} {_table(uri)}")
    events.around(lance.LanceDataset, "commit", lambda uri, *how, **said: f"delete {_table(uri)}")
    events.around(MergeInsertBuilder, "execute", lambda merge, data: f"merge {merge.table}")
    events.around(Tags, "create", lambda tags, tag, version: f"protect {_table(tags._ds.uri)}")
    events.around(Lake, "append_log", lambda lake, spec, *rows: f"log {spec.name}")


def _table(uri: str) -> str:
    return uri.rstrip("/").rsplit("/", 1)[-1].removesuffix(".lance")


def serve() -> None:
    """Answer each job with its child's wait status; imports are paid once, the child starts with none of our state."""
    importlib.import_module(
        "tasks.quality.expectations"
    )  # which only what checks a snapshot imports, and slowly
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            watch(job["log"], job.get("kill"))
            code = 1
            try:
                curate(_recipe(job["recipe"]), lake=job["lake"])
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _recipe(path: str) -> CurationRecipe:
    return load_recipe(path)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve()
    else:
        print(curate(_recipe(sys.argv[1]), lake=sys.argv[2]).digest)
