"""`groundstream models`, `doctor` and `check`: what there is, and whether it is right."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from groundstream.operators.events.rules import TABLES
from groundstream.operators.urls import mask
from groundstream.pipeline.config.file import read_file
from groundstream.pipeline.config.run import RunConfig, distinct_ids, load_config, load_rules


def print_models() -> None:
    """Print a table of the models that `--model` takes by name."""
    from groundstream.models.registry import list_models

    table = Table("model", "family", "here", "licence", "what it is", box=None, pad_edge=False)
    for row in list_models():
        table.add_row(row.name, row.family, row.where or "no", row.licence, row.about)
    _console().print(table)


def print_conversion(source: Path, out: Path) -> None:
    """Convert a GLIP checkpoint and say what was written and what was left out.

    Raises:
        ModelError: the file is no checkpoint that is known.
    """
    from groundstream.models.glip.convert import convert_checkpoint

    report = convert_checkpoint(source, out)
    console = _console()
    console.print(
        f"{report.target}: {report.tensors} tensors, {report.parameters:,} parameters, "
        f"fingerprint {report.fingerprint[:12]}",
        highlight=False,
    )
    if report.dropped:
        console.print(f"left out, as inference does not use it: {', '.join(report.dropped)}", highlight=False)


def print_check(path: Path) -> None:
    """Say that a configuration, or a file of rules, is right, and what it would run.

    Raises:
        ConfigError: what is wrong, and in which line.
    """
    console = _console()
    written = read_file(path, RunConfig).values
    if "streams" not in written and any(table in written for table in TABLES):
        rules = load_rules(path)
        found = ", ".join(f"{len(getattr(rules, table))} {table}" for table in TABLES)
        console.print(f"{path}: good rules, a file for --rules; {found}", highlight=False)
        return
    config = load_config(path)
    console.print(
        f"{path}: good; model {config.model.name}, {len(config.streams)} stream(s)", highlight=False
    )
    for stream_id, stream in zip(distinct_ids(config.streams), config.streams, strict=True):
        phrases = ", ".join(config.prompt_for(stream).phrases)
        console.print(f"  {stream_id}: {mask(stream.source)} <- {phrases}", highlight=False, soft_wrap=True)


def print_doctor(redis_url: str | None) -> None:
    """Print what this machine has of what groundstream can use."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _findings(redis_url):
        table.add_row(name, value)
    _console().print(table)


def _console() -> Console:
    return Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160)


def _findings(redis_url: str | None) -> Iterator[tuple[str, str]]:
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield (
        "processor",
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
    )
    yield from _torch()
    yield from _av()
    yield "redis", _redis(redis_url)
    yield "servers for the tests", _test_servers()
    yield from _weights()


def _torch() -> Iterator[tuple[str, str]]:
    import torch

    from groundstream.models.common.device import choose_device, choose_dtype

    device = choose_device("auto")
    yield "torch", f"{torch.__version__}, {torch.get_num_threads()} threads"
    yield (
        "device",
        f"{device} ({torch.cuda.get_device_name(device) if device.type == 'cuda' else 'no GPU used'})",
    )
    yield "dtype", f"{str(choose_dtype('auto', device)).removeprefix('torch.')} for --dtype auto"


def _av() -> Iterator[tuple[str, str]]:
    import av
    from av.codec.hwaccel import hwdevices_available

    version = ".".join(str(part) for part in av.library_versions["libavcodec"])
    yield "av", f"{av.__version__} (libavcodec {version})"
    decoders = [name for name in ("h264", "hevc", "av1", "vp9", "mjpeg") if name in av.codecs_available]
    yield "decoders", ", ".join(decoders)
    yield (
        "hardware decoding",
        f"{', '.join(hwdevices_available()) or 'none'} (built in; the device must be there too)",
    )
    yield "H.264 encoder", "libx264" if "libx264" in av.codecs_available else "missing: no annotated video"


def _redis(url: str | None) -> str:
    import redis

    address = url or "redis://localhost:6379/0"
    try:
        with redis.Redis.from_url(address, socket_connect_timeout=1, socket_timeout=1) as client:
            version = client.info("server").get("redis_version", "unknown")
    except (redis.RedisError, OSError, ValueError) as error:
        return f"{mask(address)}: not reachable ({mask(str(error))})"
    return f"{mask(address)}: version {version}"


def _test_servers() -> str:
    """Say which of the servers that `make test` talks to are installed."""
    found = {"redis-server": shutil.which("redis-server") is not None, "gst-rtsp-server": _has_gst()}
    return ", ".join(f"{name} {'is here' if here else 'is missing'}" for name, here in found.items())


def _has_gst() -> bool:
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    try:
        done = subprocess.run(["/usr/bin/python3", "-c", check], capture_output=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _weights() -> Iterator[tuple[str, str]]:
    from groundstream.models.registry import list_models

    here = [row.name for row in list_models() if row.where]
    yield "models here", ", ".join(here) or "none; see `groundstream models`"
