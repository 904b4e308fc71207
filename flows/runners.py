"""Where work runs: this process, a local Dask cluster, or someone's scheduler. The only place that counts GPUs."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from flows.ephemeral import guard
from schemas.errors import ServiceError
from schemas.settings import Settings

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

# Told (label, done, total) while shards finish; the CLI draws bars with it.
Report = Callable[[str, int, int], None]
report_progress: ContextVar[Report] = ContextVar("report_progress", default=lambda label, done, total: None)

FEW = 2  # shards that are not worth starting a cluster for
AHEAD = 4  # shards a thread of the cluster's, of which the scheduler knows before they are done
LEAST_AHEAD = 64
RETRIES = 2  # of a shard whose worker died; bad input never raises out of a shard

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Dask's default returns every freed buffer to the kernel at once, which makes torch on CPUs two to three times slower.
# So does an arena of the thread's own, which is what glibc gives all but the main thread: what is larger than 64 MB
# does not fit into one and is mapped, filled with zeros and unmapped at every use.
_WORKER_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    **_ONE_THREAD,
}


class DaskWorkers:
    """Maps shards over a Dask cluster that is only started, or connected to, when there is something to do."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._client: Client | None = None
        self._begun: list[Future[Any]] = []
        self.start_s = 0.0

    def map(
        self,
        function: Callable[[T], R],
        shards: Sequence[T],
        *,
        label: str,
        gpu: bool = False,
        more: int = 0,
    ) -> Iterator[R]:
        """Yield a result per shard, as they finish. Nothing is started when there are no shards.

        Args:
            function: Importable on the workers; takes a shard's address, returns a small report.
            shards: Addresses.
            label: Shown with the progress.
            gpu: Needs a GPU slot, where the cluster has any.
            more: Shards that a later step will have: where those need workers, these have them too.
        """
        if not shards:
            return
        report = report_progress.get()
        report(label, 0, len(shards))
        here = self._settings.dask is None and (
            self._settings.workers == 0
            or (max(len(shards), more) <= FEW and self._client is None and not self._settings.gpus)
        )
        results = map(function, shards) if here else self._spread(function, shards, gpu)
        with _one_thread() if here else nullcontext():
            for done, result in enumerate(results, 1):
                report(label, done, len(shards))
                yield result

    def begin(self, function: Callable[[], R], *, gpu: bool = False) -> None:
        """Have each worker that is up call a function while the driver goes on: what takes long to open is open when needed.

        Nothing happens where no worker is up. `begun` gives what the calls returned.

        Args:
            function: Importable on the workers.
            gpu: Only on workers with a GPU slot, where the cluster has any.
        """
        if self._client is None:
            return
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        slots = {
            address: worker for address, worker in workers.items() if gpu and "GPU" in worker["resources"]
        }
        self._begun += [
            self._client.submit(
                function, pure=False, workers=[address], resources={"GPU": 1} if slots else None, retries=0
            )
            for address in slots or workers
        ]

    def begun(self) -> list[Any]:
        """Return what the calls of `begin` returned, each once; calls that have not ended, or failed, say nothing."""
        pending, found = [], []
        for future in self._begun:
            status = future.status  # looked at once: it may change while another's result is fetched
            if status == "pending":
                pending.append(future)
            elif status == "finished":
                found.append(future.result())
        self._begun = pending
        return found

    def _spread(self, function: Callable[[T], R], shards: Sequence[T], gpu: bool) -> Iterator[R]:
        """Yield results. The scheduler, which is often in this process, is told of a few shards a thread at a time."""
        from distributed import CancelledError, as_completed
        from distributed.client import ClosedClientError
        from distributed.comm.core import CommClosedError

        client = self._connected()
        done = as_completed(loop=client.loop)
        told = under_way = most = 0
        while True:
            try:
                if told < len(shards) and under_way <= most // 2:
                    workers = client.scheduler_info(n_workers=-1)["workers"].values()  # more may have come
                    most = max(LEAST_AHEAD, AHEAD * sum(worker["nthreads"] for worker in workers))
                    has_gpu = any("GPU" in worker["resources"] for worker in workers)
                    part = shards[told : told + max(1, most - under_way)]
                    resources = {"GPU": 1} if gpu and has_gpu else None
                    done.update(client.map(function, part, pure=False, retries=RETRIES, resources=resources))
                    told, under_way = told + len(part), under_way + len(part)
                future = next(done)
                under_way -= 1
                result = future.result()
            except StopIteration:
                return
            except (CancelledError, CommClosedError, ClosedClientError) as error:
                raise ServiceError(
                    "the Dask scheduler is gone, and with it what was under way; what was done is kept: start the "
                    "cluster anew, or unset XMODAL_DASK, and run again"
                ) from error
            yield result
            future.release()

    def _connected(self) -> "Client":
        if self._client is None:
            from distributed import Client

            for part in ("distributed", "distributed.scheduler", "distributed.nanny", "distributed.core"):
                logging.getLogger(part).setLevel(logging.ERROR)  # Prefect turns their INFO lines on
            address = self._settings.dask or _local_cluster(self._settings, self._stack)
            self._client = self._stack.enter_context(Client(address, set_as_default=False))
        return self._client


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have what is imported meanwhile use one thread, as on a worker: two thread pools at once stall each other."""
    unset = [name for name in _ONE_THREAD if name not in os.environ]
    os.environ.update({name: _ONE_THREAD[name] for name in unset})
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


@contextmanager
def workers(settings: Settings) -> Iterator[DaskWorkers]:
    """Offer workers for the length of a run; what was started is stopped at its end."""
    guard()
    with ExitStack() as stack:
        yield DaskWorkers(settings, stack)


def _local_cluster(settings: Settings, stack: ExitStack) -> str:
    """Start a cluster sized to the machine and return its address."""
    import dask
    from distributed import LocalCluster

    count = settings.workers or len(os.sched_getaffinity(0))
    config = {
        "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
        "distributed.worker.profile.enabled": False,  # samples stacks a hundred times a second, for nobody
        # Each of these wakes a thread that takes the interpreter from a model; together they cost it five per cent.
        "distributed.admin.tick.interval": "500ms",
        "distributed.admin.tick.cycle": "10s",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.worker.memory.monitor-interval": "500ms",
    }
    stack.enter_context(dask.config.set(config))
    try:
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                memory_limit=settings.worker_memory,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                resources={"GPU": settings.gpus} if settings.gpus else None,
                silence_logs=40,  # ERROR: a worker that is replaced is not news to the user
            )
        )
    except RuntimeError as error:
        raise ServiceError(
            f"{count} worker processes could not be started ({error}): in a script, put the call of the flow under "
            '`if __name__ == "__main__":`, since workers import the script; or set XMODAL_WORKERS=0 to do without'
        ) from error
    if settings.adaptive:
        cluster.adapt(minimum=count, maximum=max(count, settings.adaptive))
    return str(cluster.scheduler_address)
