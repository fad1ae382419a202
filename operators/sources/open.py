"""Sources of frames: files, cameras, recordings, webcams and images behind one call."""

from __future__ import annotations

import difflib
import glob
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av

from groundstream.operators.errors import ConfigError, Reason, SourceError
from groundstream.operators.sources.addresses import http_address, http_camera, rtsp_camera, webcam
from groundstream.operators.sources.base import OnStatus, Source
from groundstream.operators.sources.camera import CameraSource
from groundstream.operators.sources.connection import Camera
from groundstream.operators.sources.decode import Address, check_hwaccel
from groundstream.operators.sources.failures import file_failure, live_failure, missing_file
from groundstream.operators.sources.file import FileSource
from groundstream.operators.sources.images import ImagesSource, find_images, is_image
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.sources.values import Semantics, SourceCounters, SourceInfo, SourceStatus
from groundstream.operators.urls import has_scheme, mask
from groundstream.operators.video.tap import PacketTap

__all__ = [
    "OnStatus",
    "Semantics",
    "Source",
    "SourceCounters",
    "SourceInfo",
    "SourceOptions",
    "SourceStatus",
    "open_source",
]

_SCHEMES = ("rtsp", "rtsps", "http", "https", "file")


def open_source(
    uri: str,
    stream_id: str,
    options: SourceOptions,
    *,
    on_status: OnStatus | None = None,
    tap: PacketTap | None = None,
) -> Source:
    """Open what `uri` names.

    - a path or `file://`: a video file, an image, a folder or a glob of images;
    - `rtsp://`, `rtsps://`: a camera;
    - `http://`, `https://`: a recording where it has an end (MP4, finished HLS), else a camera (live HLS,
      MJPEG). With `auto` semantics it is opened now to find out, and has to be there; with `live` it may
      come up later;
    - `webcam:0`, `webcam:NAME`, a bare number or `/dev/video0`: a webcam.

    Files are opened here and now; cameras are connected to once the source is iterated, and may be down.

    Args:
        uri: what to open; credentials in it appear nowhere.
        stream_id: name of the stream in frames and logs.
        options: what is asked of the source.
        on_status: called from the source's threads at each change of state; should return at once.
        tap: gets the compressed video in segments; images have none, and the tap says so.

    Raises:
        SourceError: the file, recording or image cannot be read; `reason` and message say why.
        ConfigError: an option does not fit this kind of source.
    """
    check_hwaccel(options.hwaccel)
    if has_scheme(uri):
        return _open_address(uri, stream_id, options, on_status, tap)
    device = _webcam_device(uri)
    if device is not None:
        return _camera(stream_id, webcam(uri, device, options), options, on_status, tap)
    return _open_path(uri, stream_id, options, on_status, tap)


def _open_address(
    uri: str, stream_id: str, options: SourceOptions, on_status: OnStatus | None, tap: PacketTap | None
) -> Source:
    scheme = uri.split("://", 1)[0].lower()
    if scheme == "file":
        return _open_path(unquote(urlsplit(uri).path), stream_id, options, on_status, tap)
    if scheme in ("rtsp", "rtsps"):
        return _camera(stream_id, rtsp_camera(uri, options), options, on_status, tap)
    if scheme in ("http", "https"):
        return _open_http(uri, stream_id, options, on_status, tap)
    close = difflib.get_close_matches(scheme, _SCHEMES, n=1)
    advice = f"did you mean {close[0]}://?" if close else f"expected one of {', '.join(_SCHEMES)}"
    raise SourceError(f"{mask(uri)}: {scheme}:// is not known; {advice}", Reason.INVALID)


def _open_http(
    uri: str, stream_id: str, options: SourceOptions, on_status: OnStatus | None, tap: PacketTap | None
) -> Source:
    address = http_address(uri, options)
    in_range = options.start_s is not None or options.end_s is not None
    if (options.semantics == "live" and not in_range) or not _has_end(uri, address):
        return _camera(stream_id, http_camera(uri, options), options, on_status, tap)

    def explain(error: BaseException) -> SourceError:
        return live_failure(uri, error, examine=True)

    semantics: Semantics = "live" if options.semantics == "live" else "file"
    return FileSource(stream_id, mask(uri), address, semantics, options, explain, on_status, tap)


def _has_end(uri: str, address: Address) -> bool:
    """Tell a recording from a live source: libav knows a duration (in HLS: the playlist is finished)."""
    try:
        with av.open(address.url, mode="r", timeout=address.timeout_s) as container:
            return container.duration is not None
    except av.FFmpegError as error:
        raise live_failure(uri, error, examine=True) from None


def _camera(
    stream_id: str,
    camera: Camera,
    options: SourceOptions,
    on_status: OnStatus | None,
    tap: PacketTap | None,
) -> CameraSource:
    if options.start_s is not None or options.end_s is not None:
        raise ConfigError(f"{mask(camera.uri)}: start and end need a file; a camera has neither")
    semantics: Semantics = "file" if options.semantics == "file" else "live"
    return CameraSource(stream_id, camera, semantics, options, on_status, tap=tap)


def _webcam_device(uri: str) -> str | None:
    """Return number or name of the webcam that `uri` means; None where it means something else."""
    if uri.isdecimal() or uri.startswith("/dev/video"):
        return uri
    return uri.removeprefix("webcam:") if uri.startswith("webcam:") else None


def _open_path(
    place: str, stream_id: str, options: SourceOptions, on_status: OnStatus | None, tap: PacketTap | None
) -> Source:
    path = Path(place)
    semantics: Semantics = "live" if options.semantics == "live" else "file"
    if path.is_dir() or (glob.has_magic(place) and not path.exists()) or is_image(path):
        if not path.exists() and not glob.has_magic(place):
            raise missing_file(path)
        if tap is not None:
            tap.absent = "images have no compressed video to keep"
        return ImagesSource(stream_id, place, find_images(place), semantics, options, on_status)
    if not path.exists():
        raise missing_file(path)
    address = Address(str(path), hwaccel=options.hwaccel)

    def explain(error: BaseException) -> SourceError:
        return file_failure(path, error)

    return FileSource(stream_id, place, address, semantics, options, explain, on_status, tap)
