"""A Ray cluster of several nodes on this machine, in a process of its own, whose nodes can be killed."""

from __future__ import annotations

import os
import subprocess
import sys


class RayNodes:
    """A head and worker nodes; `address` is where it is joined.

    With a token, only those who send it are let in.
    """

    def __init__(self, token: str = "") -> None:
        access = (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        )
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | access,
        )
        self.address = self._answer()

    def add_node(self) -> None:
        """Start another worker node and wait until it belongs to the cluster."""
        self._ask("add")

    def kill_node(self) -> None:
        """Kill (SIGKILL) the worker node that was added last, with all that runs on it."""
        self._ask("kill")

    def close(self) -> None:
        """End the cluster."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(120)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, command: str) -> None:
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise AssertionError("the cluster has ended")


def serve() -> None:
    """Run the cluster: one command per line, until the lines end."""
    from ray.cluster_utils import Cluster

    room = {"num_cpus": 8, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**room, "include_dashboard": False})
    nodes = []
    print(">", cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(**room))
        else:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("> done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    serve()
