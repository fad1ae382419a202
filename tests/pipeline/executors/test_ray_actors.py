"""What the processes of a Ray cluster are made of, without Ray."""

import platform
import subprocess
import sys

import pytest

HOARD = """
import sys, numpy, psutil
from groundstream.pipeline.executors.ray_actors import return_freed_memory

if sys.argv[1] == "on":
    return_freed_memory()
del_later = numpy.ones(16_000_000, numpy.uint8)
del del_later  # the C library learns to serve blocks of up to this size from its own heap
before = psutil.Process().memory_info().rss
pictures, small = [], []
for _ in range(200):
    pictures.append(numpy.ones(500_000, numpy.uint8))
    small.append(bytearray(10_000))  # stays, and keeps the heap from shrinking
del pictures
print((psutil.Process().memory_info().rss - before) // 1_000_000)
"""


def kept_mb(switch: str) -> int:
    """Return the MB that a process keeps of 100 MB of pictures that it has freed."""
    done = subprocess.run([sys.executable, "-c", HOARD, switch], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is no glibc")
def test_pictures_that_are_gone_take_no_memory() -> None:
    assert kept_mb("on") < 20
    # The system may take idle pages away meanwhile, so the most of three counts.
    assert max(kept_mb("off") for _ in range(3)) > 60, "the C library does so by itself"


def test_a_streams_process_imports_no_model_library() -> None:
    code = (
        "import sys; from groundstream.pipeline.executors import ray_actors, ray_processes; "
        "print([name for name in ('torch', 'transformers', 'redis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
