"""Spans of rows worked on side by side: products within one are too small to be spread, and the rest of the work never is."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

from threadpoolctl import threadpool_info, threadpool_limits

MOST = 8  # threads: each holds blocks of some megabytes
_WIDE: ContextVar[int | None] = ContextVar("_WIDE", default=None)


@contextmanager
def plain_products() -> Iterator[int]:
    """Give each product of matrices within one thread, and yield how many it might have had.

    Several cost more CPU and no less time where a side has some dozen numbers, and what comes out differs in last digits.
    """
    if (wide := _WIDE.get()) is not None:
        yield wide
        return
    wide = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    within = _WIDE.set(wide)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield wide
    finally:
        _WIDE.reset(within)


def side_by_side(work: Callable[[slice], None], count: int, size: int) -> None:
    """Call `work` with every span of so many rows, in as many threads as a product of matrices might have had.

    So what bounds those (OMP_NUM_THREADS, OPENBLAS_NUM_THREADS) bounds these. Spans do not depend on the threads, nor does what
    is computed.

    Args:
        work: Works on a span; releases the interpreter's lock for most of its time.
        count: Rows.
        size: Rows of a span.
    """
    spans = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    with plain_products() as wide:
        wide = min(wide, len(spans), MOST)
        if wide <= 1:
            for span in spans:
                work(span)
            return
        with ThreadPoolExecutor(wide, thread_name_prefix="rows") as pool:
            try:
                for _ in pool.map(work, spans):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
