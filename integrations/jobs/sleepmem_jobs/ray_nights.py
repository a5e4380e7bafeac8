"""Nights on Ray: as many at once as there are workers, and a worker that dies takes none with it.

Ray starts a worker anew that died, and gives it its night again; that goes on at the step it had
reached. Of two that are given one night, the lock of the folder lets one run it.

Workers run on the machine of whoever calls: a memory folder is of one machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sleepmem import ConfigError, MissingExtra, SleepmemError
from sleepmem.config import read_config
from sleepmem.records import Namespace, as_path
from sleepmem_jobs.worker import Done, Worker, due

# Times that a night is begun or gone on with; then it is given up, as one that kills its worker.
_TRIES = 3


def nights(
    folders: Iterable[str | Path],
    *,
    workers: int = 1,
    gpus: float = 0.0,
    config: str | Path | None = None,
    least: int | None = None,
    address: str | None = None,
) -> Iterator[Done]:
    """Run the nights that are due in all folders, each told as it ends.

    Args:
        folders: memory folders on this machine.
        workers: nights at once, each on a loaded base of its own.
        gpus: of a worker; a share of one when below 1.
        config: TOML file of settings.
        least: how much makes a night due; `tired_at` of the settings by default.
        address: of a Ray cluster that this machine belongs to, such as "auto"; by default one of
            its own, which ends with the nights.

    Raises:
        ConfigError, OSError: the settings cannot be read.
        ConfigError: this machine has not the GPUs or cores for so many workers.
        MissingExtra: Ray is not installed.
    """
    settings = None if config is None else str(Path(config).resolve())
    if settings is not None:
        # A fault in it is no folder's.
        read_config(Path(settings))
    waiting: list[tuple[str, Namespace]] = []
    for folder in dict.fromkeys(str(Path(one).resolve()) for one in folders):
        try:
            for owner in due(folder, config=settings, least=least):
                waiting.append((folder, owner))
        except (SleepmemError, OSError) as error:
            yield Done(folder, error=str(error))
    if waiting:
        with _cluster(address, min(workers, len(waiting))):
            crew = _crew(min(workers, len(waiting)), gpus, settings=settings, least=least)
            yield from _run(crew, waiting)


@contextmanager
def _cluster(address: str | None, workers: int) -> Iterator[None]:
    """Ray, connected; it tells nobody that it is used, and has no page that it serves."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(
            "nights on Ray need ray, which is not installed; install it with "
            '`pip install "sleepmem-jobs[ray]"`.'
        ) from error
    own: dict[str, Any] = {}
    if address is None:
        # Else it would count this machine's cores, of which there may be fewer than workers.
        own = {"num_cpus": workers, "include_dashboard": False}
    ray.init(address or "local", log_to_driver=False, configure_logging=False, **own)
    try:
        yield
    finally:
        ray.shutdown()


def _crew(number: int, gpus: float, *, settings: str | None, least: int | None) -> list[Any]:
    """Workers on this machine, which come back with their night when they are killed."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        fit = _fitting(node["Resources"], gpus) if node["NodeID"] == here else number
        if fit < number:
            # Ray would let them wait for each other, and tell nobody.
            raise ConfigError(
                f"{number} workers with {gpus:g} GPUs each are asked for, and Ray has room for "
                f"{fit} on this machine; pass fewer workers, or a smaller share of a GPU."
            )
    remote = ray.remote(Worker).options(
        num_cpus=1,
        num_gpus=gpus,
        max_restarts=-1,
        max_task_retries=_TRIES - 1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    )
    return [remote.remote(settings, least) for _ in range(number)]


def _fitting(resources: Mapping[str, float], gpus: float) -> int:
    """How many workers a machine has room for: a share of a GPU lies on one."""
    cores, cards = int(resources.get("CPU", 0)), resources.get("GPU", 0.0)
    if not gpus:
        return cores
    return min(cores, int(cards // gpus) if gpus >= 1 else int(cards) * int(1 / gpus))


def _run(crew: Sequence[Any], waiting: Sequence[tuple[str, Namespace]]) -> Iterator[Done]:
    """Give every worker a night, and the next when it is done."""
    import ray

    idle, left = list(crew), list(waiting)
    running: dict[Any, tuple[Any, tuple[str, Namespace]]] = {}
    while left or running:
        while idle and left:
            worker, night = idle.pop(), left.pop(0)
            running[worker.night.remote(*night)] = (worker, night)
        for ended in ray.wait(list(running))[0]:
            worker, (folder, owner) = running.pop(ended)
            idle.append(worker)
            try:
                yield ray.get(ended)
            except ray.exceptions.RayTaskError as error:
                # The worker lives: it is the night that failed.
                reason = " ".join(f"{type(error.cause).__name__}: {error.cause}".split())
                yield Done(folder, owner, error=_sentence(owner, folder, f"failed ({reason})"))
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[0]
                what = f"ended {_TRIES} workers ({reason}), which may want more memory"
                yield Done(folder, owner, error=_sentence(owner, folder, what))


def _sentence(owner: Namespace, folder: str, what: str) -> str:
    return (
        f"the night of {as_path(owner)} in {folder} {what}; run it alone with `sleepmem nights`, "
        "and it goes on where it was."
    )
