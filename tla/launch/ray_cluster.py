"""The Ray cluster that `--launch` names, and its nodes as workers that make pictures."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tla
from tla.errors import UserError
from tla.sound.build import Sent, Shard
from tla.sound.workers import cores


def connect(launch: str) -> Any:
    """The module `ray`, connected as `--launch` asks: to a cluster, or to a Ray that is started on this machine."""
    ray = load()
    if ray.is_initialized():
        return ray
    address = launch.partition(":")[2] or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address == "local":
        ray.init(address="local", num_cpus=cores(), include_dashboard=False, **quiet)
        return ray
    if address.startswith("ray://"):
        raise UserError(f"--launch ray:{address}: give the command on a machine of the cluster, with --launch ray:auto")
    if address != "auto":
        _knock(address)
    try:
        ray.init(address=address, runtime_env={"py_modules": [str(Path(tla.__file__).parent)]}, **quiet)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:  # RuntimeError: another version of Ray or Python
        why = " ".join(str(error).split())[:300]
        raise UserError(f"--launch {launch}: no Ray cluster can be reached at {address} ({why})") from None
    return ray


def _knock(address: str) -> None:
    """`UserError` where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--launch ray:{address}: an address is HOST:PORT (6379, if Ray was given no other port), or auto")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"--launch ray:{address}: no Ray cluster listens there ({error.strerror or error})") from None


def load() -> Any:
    """The module `ray`; `UserError` names the extra that brings it."""
    try:
        import ray
    except ImportError:
        raise UserError("--launch ray needs Ray, which is not installed: pip install 'tla[ray]'") from None
    return ray


def this_node(ray: Any) -> str:
    """The node on which this runs."""
    return ray.get_runtime_context().get_node_id()


def on_node(node: str) -> dict[str, Any]:
    """Options of a task or actor that takes no processor of its own and has to be on that node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


class PictureMakers:
    """The nodes of a cluster as workers that make pictures."""

    def __init__(self, launch: str) -> None:
        self.ray = connect(launch)
        self.task = self.ray.remote(_make).options(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")

    @property
    def workers(self) -> int:
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def submit(self, work: Callable[[Any], Any], shard: Any, /) -> "_Making":
        return _Making(self.ray, self.task.remote(work, shard, this_node(self.ray)))


class _Making:
    """A shard under way."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self.ray, self.reference = ray, reference

    def result(self) -> Any:
        try:
            return self.ray.get(self.reference)
        except self.ray.exceptions.RayTaskError:
            raise
        except self.ray.exceptions.RayError as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(f"the cluster lost some pictures ({why}); the same command goes on with the rest") from None

    def cancel(self) -> None:
        self.ray.cancel(self.reference)


def _make(work: Callable[[Shard], Sent | None], shard: Shard, home: str) -> Sent | None:
    """Do a piece of work on one thread; a node that does not see the sounds is sent them by the one that does."""
    import ray
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        made = work(shard)
        if made is None:
            made = work(ray.get(ray.remote(Shard.with_sounds).options(**on_node(home)).remote(shard)))
        return made
