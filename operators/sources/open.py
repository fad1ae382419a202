"""Sources of frames: files, cameras, recordings, webcams and images behind one call."""

from __future__ import annotations

import difflib
import glob
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import av.device
from av.format import ContainerFormat

from groundstream.operators.errors import ConfigError, Reason, SourceError
from groundstream.operators.sources.base import OnStatus, Source
from groundstream.operators.sources.camera import CameraSource
from groundstream.operators.sources.connection import CEILING_S, START_S, CameraSpec
from groundstream.operators.sources.container import Address, check_hwaccel
from groundstream.operators.sources.failures import file_failure, live_failure, missing_file
from groundstream.operators.sources.file import FileSource, VideoReader
from groundstream.operators.sources.images import ImageReader, find_images, is_image
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.urls import has_scheme, mask
from groundstream.operators.video.tap import PacketTap

_SCHEMES = ("rtsp", "rtsps", "http", "https", "file")
#: Silence that is borne in HLS, whose frames come in segments of up to ten seconds and more.
_HLS_FLOOR_S = 30.0
#: libav's own limits end an abandoned read a little after the watchdog has given it up.
_GRACE_S = 1.0


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
    found = _find(uri, options)
    if isinstance(found, CameraSpec):
        if options.start_s is not None or options.end_s is not None:
            raise ConfigError(f"{mask(uri)}: start and end need a file; a camera has neither")
        newest = options.semantics != "file"
        return CameraSource(stream_id, found, "live" if newest else "file", options, on_status, tap=tap)
    if isinstance(found, ImageReader):
        options = replace(options, fps=None)  # it is the pace of the images, nothing is left out
        if tap is not None:
            tap.absent = "images have no compressed video to keep"
    newest = options.semantics == "live"
    return FileSource(stream_id, found, "live" if newest else "file", options, on_status, tap)


def _find(uri: str, options: SourceOptions) -> CameraSpec | VideoReader | ImageReader:
    """Tell what `uri` names, from its form; over HTTP also from what is there."""
    if not has_scheme(uri):
        if uri.isdecimal() or uri.startswith("/dev/video") or uri.startswith("webcam:"):
            return webcam(uri, uri.removeprefix("webcam:"), options)
        return _at_path(uri, options)
    scheme = uri.split("://", 1)[0].lower()
    if scheme == "file":
        return _at_path(unquote(urlsplit(uri).path), options)
    if scheme in ("rtsp", "rtsps"):
        return rtsp_camera(uri, options)
    if scheme in ("http", "https"):
        return _over_http(uri, options)
    close = difflib.get_close_matches(scheme, _SCHEMES, n=1)
    advice = f"did you mean {close[0]}://?" if close else f"expected one of {', '.join(_SCHEMES)}"
    raise SourceError(f"{mask(uri)}: {scheme}:// is not known; {advice}", Reason.INVALID)


def _at_path(place: str, options: SourceOptions) -> VideoReader | ImageReader:
    path = Path(place)
    is_pattern = glob.has_magic(place) and not path.exists()  # a file may have brackets in its name
    if not path.exists() and not is_pattern:
        raise missing_file(path)
    if path.is_dir() or is_pattern or is_image(path):
        return ImageReader(place, find_images(place), options)
    address = Address(str(path), hwaccel=options.hwaccel)
    return VideoReader(place, address, options, partial(file_failure, path))


def _over_http(uri: str, options: SourceOptions) -> CameraSpec | VideoReader:
    """Tell a recording from a live source: libav knows a duration (in HLS: the playlist is finished)."""
    address = Address(uri, timeout_s=_limits_s(options), hwaccel=options.hwaccel)
    in_range = options.start_s is not None or options.end_s is not None
    if options.semantics == "live" and not in_range:
        return http_camera(uri, options)  # not looked at: it may come up later
    explain = partial(live_failure, uri, examine=True)
    try:
        with av.open(address.url, mode="r", timeout=address.timeout_s) as container:
            has_end = container.duration is not None
    except av.FFmpegError as error:
        raise explain(error) from None
    return VideoReader(mask(uri), address, options, explain) if has_end else http_camera(uri, options)


def _limits_s(options: SourceOptions) -> tuple[float, float]:
    """Return libav's limits in seconds for opening and for a single read."""
    if options.patience_s is not None:
        return options.patience_s + _GRACE_S, options.patience_s + _GRACE_S
    return START_S + _GRACE_S, CEILING_S + _GRACE_S


def rtsp_camera(uri: str, options: SourceOptions) -> CameraSpec:
    """Return how to reach an `rtsp://` or `rtsps://` camera with little delay."""
    libav_options = {
        "rtsp_transport": options.transport,
        # The description of the stream names codec and size: nothing has to be probed. Without these two the
        # open takes 2-5 s. `fflags=nobuffer` must not be added: it throws away the key frame that was read
        # while opening, and then the first picture comes a whole group of pictures later.
        "probesize": "32",
        "analyzeduration": "0",
        "allowed_media_types": "video",
    }
    address = Address(
        uri,
        options=libav_options,
        timeout_s=_limits_s(options),
        threading="SLICE",  # frame threads hold back one picture each
        hwaccel=options.hwaccel,
    )
    return CameraSpec(uri, address, patience_s=options.patience_s)


def http_camera(uri: str, options: SourceOptions) -> CameraSpec:
    """Return how to follow a live HTTP source: HLS, MJPEG, MPEG-TS.

    HLS arrives in bursts (a segment at once); unless all frames are wanted, it is played in real time.
    """
    address = Address(
        uri,
        # Not the third segment from the end, as libav has it: of a playlist of three that is the first, which
        # is about to vanish.
        options={"live_start_index": "-2"},
        timeout_s=_limits_s(options),
        threading="SLICE",
        hwaccel=options.hwaccel,
    )
    return CameraSpec(
        uri,
        address,
        floor_s=_HLS_FLOOR_S,
        patience_s=options.patience_s,
        paced=options.semantics != "file",
        may_finish=True,
    )


def webcam(uri: str, device: str, options: SourceOptions, platform: str = sys.platform) -> CameraSpec:
    """Return how to reach a webcam by its number or its name.

    Raises:
        SourceError: this machine has no way to open it.
    """
    name, form, libav_options = _device(device, platform)
    if not _is_available(form):
        raise SourceError(
            f"{uri}: this build of PyAV cannot open webcams ({form} is missing); "
            "serve the camera over RTSP instead",
            Reason.NOT_FOUND,
        )
    address = Address(
        name, form, libav_options, timeout_s=_limits_s(options), threading="SLICE", hwaccel=options.hwaccel
    )
    return CameraSpec(uri, address, patience_s=options.patience_s)


def _device(device: str, platform: str) -> tuple[str, str, dict[str, str]]:
    """Return name, libav input and options of a webcam on `platform`."""
    if platform == "darwin":
        # avfoundation's own default of 29.97 is refused by most cameras.
        return device, "avfoundation", {"framerate": "30"}
    if platform == "win32":
        return f"video={_windows_name(device)}", "dshow", {}
    return f"/dev/video{device}" if device.isdecimal() else device, "v4l2", {}


def _is_available(form: str) -> bool:
    """Tell whether this build of libav has the input; `av.formats_available` does not list devices."""
    try:
        ContainerFormat(form, "r")
    except ValueError:
        return False
    return True


def _windows_name(device: str) -> str:
    """Return the name of the `device`-th camera, as dshow knows no numbers; names stay as they are."""
    if not device.isdecimal() or not _is_available("dshow"):
        return device
    devices = av.device.enumerate_input_devices("dshow")
    names = [found.name for found in devices if "video" in found.media_types]
    return names[int(device)] if int(device) < len(names) else device
