"""For every test: one thread for torch, which tests are slow, and how long a slow one may take."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small networks are several times faster so than on two that wait for each other

HERE = Path(__file__).parent
#: Where tests start whole programs, make whole videos, or train: each of them is `slow`.
SLOW = {HERE / "operators" / "clips", HERE / "pipeline" / "runs", HERE / "training"}

SLOW_TIMEOUT_S = 600  # on a busy machine a cluster's start alone may take a minute


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW & {*item.path.parents}:
            item.add_marker("slow")
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))
