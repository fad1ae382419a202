"""Where a new process goes on a Ray cluster: not to a machine that has just died."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Mapping
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from groundstream.pipeline.detectors.messages import ProcessLost

BEGIN_S = 120.0  # patience with a process that starts: the machine may be busy
LOOK_S = 1.0
_CONNECT_S = 1.0


def start_process(kind: Any, *arguments: object, **options: Any) -> ActorHandle[Any]:
    """Start an actor of the class `kind` and wait until its process is there.

    Processes are spread over the machines. Ray notices only after 10 s or more that a machine has died, and
    sends processes to it until then, which wait; so those that refuse connections are passed over.

    Raises:
        ProcessLost: there was no place for it.
    """
    deadline = time.monotonic() + BEGIN_S
    while True:
        node = _place_for(options)
        where = "SPREAD" if node is None else NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
        actor: Any = ray.remote(kind).options(**options, scheduling_strategy=where).remote(*arguments)
        if _is_there(actor, node, deadline):
            return cast("ActorHandle[Any]", actor)
        ray.kill(actor)
        if time.monotonic() > deadline:
            raise ProcessLost(f"the cluster had no place for it within {BEGIN_S:.0f} s")


def _is_there(actor: Any, node: Mapping[str, Any] | None, deadline: float) -> bool:
    """Wait for a process; False when it is late, or may have been sent to a machine that has died since."""
    ready = actor.__ray_ready__.remote()
    while time.monotonic() < deadline:
        if ray.wait([ready], timeout=LOOK_S)[0]:
            return True
        if not all(_answers(each) for each in ([node] if node is not None else _alive())):
            return False
    return False


def _place_for(options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the node for a process while Ray takes a dead machine for alive; None: as Ray sees fit."""
    alive = _alive()
    there = [node for node in alive if _answers(node)]
    able = [node for node in there if _has_room(node, options)]
    if len(there) == len(alive) or not able:
        return None
    return random.choice(able)  # noqa: S311 -- no secret


def _alive() -> list[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _answers(node: Mapping[str, Any]) -> bool:
    with contextlib.suppress(OSError):
        address = (node["NodeManagerAddress"], node["NodeManagerPort"])
        socket.create_connection(address, _CONNECT_S).close()
        return True
    return False


def _has_room(node: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    needed = {"CPU": options.get("num_cpus", 0.0), "GPU": options.get("num_gpus", 0.0)}
    return all(float(node["Resources"].get(name, 0.0)) >= amount for name, amount in needed.items())
