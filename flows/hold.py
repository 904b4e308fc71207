"""The lake's one writer: refused to a person, or waited for as long as they set; waited for by a run of a deployment.

A run that was overtaken begins anew.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment

from flows.ephemeral import guard
from schemas.errors import LakeBusy, Overtaken
from schemas.settings import Settings
from storage.lake import Lake, Writer

PAUSES_S = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 160.0)  # eight minutes in all; then the run fails

POLL_S = 1.0
# Pauses before a run that lost the lake begins anew, from what the other one has committed.
ANEW_S = (1.0, 5.0, 20.0)

P = ParamSpec("P")
R = TypeVar("R")


def rebased(work: Callable[P, R]) -> Callable[P, R]:
    """Do a flow's work again, from the newest snapshot, when another writer has overtaken it.

    On a local disk that cannot happen. On an object store it happens to a run that was silent for longer than the
    patience of others, as on a machine that slept.

    Raises:
        Overtaken: It happened each time.
    """

    @wraps(work)
    def until_first(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in ANEW_S:
            try:
                return work(*args, **kwargs)
            except Overtaken:
                time.sleep(pause * random.uniform(0.5, 1.5))
        return work(*args, **kwargs)

    return until_first


def is_busy(task: object, run: object, state: Any) -> bool:
    """Whether another run held the lake, which passes; nothing else is tried again."""
    return isinstance(state.result(raise_on_failure=False), LakeBusy)


@task(
    cache_policy=NO_CACHE,
    retries=len(PAUSES_S),
    retry_delay_seconds=list(PAUSES_S),
    retry_jitter_factor=0.2,
    retry_condition_fn=is_busy,
)
def hold(lake: Lake, until: ExitStack) -> Writer:
    """Take the lake's writer, as soon as it is free, until the stack is closed."""
    return until.enter_context(lake.writer())


@contextmanager
def writer(lake: Lake) -> Iterator[Writer]:
    """Hold the lake for one run.

    Raises:
        LakeBusy: Another run is writing; from a run of a deployment, or with `XMODAL_WAIT_S`, after waiting in vain.
    """
    guard()
    with ExitStack() as until:
        yield hold(lake, until) if deployment.id else _waited(lake, until, Settings().wait_s)


def _waited(lake: Lake, until: ExitStack, wait_s: float) -> Writer:
    end = time.monotonic() + wait_s
    while True:
        try:
            return until.enter_context(lake.writer())
        except LakeBusy:
            if (left := end - time.monotonic()) <= 0:
                raise
            time.sleep(min(POLL_S, left))
