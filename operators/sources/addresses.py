"""How libav is asked for each kind of live source: RTSP, HTTP, webcams."""

from __future__ import annotations

import sys

import av.device
from av.format import ContainerFormat

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources.connection import Camera
from groundstream.operators.sources.decode import Address
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.sources.patience import CEILING_S, START_S

#: Silence that is borne in HLS, whose frames come in segments of up to ten seconds and more.
_HLS_FLOOR_S = 30.0
#: libav's own limits end an abandoned read a little after the watchdog has given it up.
_GRACE_S = 1.0


def _limits_s(options: SourceOptions) -> tuple[float, float]:
    """Return libav's limits in seconds for opening and for a single read."""
    if options.patience_s is not None:
        return options.patience_s + _GRACE_S, options.patience_s + _GRACE_S
    return START_S + _GRACE_S, CEILING_S + _GRACE_S


def rtsp_camera(uri: str, options: SourceOptions) -> Camera:
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
    return Camera(uri, address, patience_s=options.patience_s)


def http_address(uri: str, options: SourceOptions) -> Address:
    """Return how to read a recording over HTTP."""
    return Address(uri, timeout_s=_limits_s(options), hwaccel=options.hwaccel)


def http_camera(uri: str, options: SourceOptions) -> Camera:
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
    return Camera(
        uri,
        address,
        floor_s=_HLS_FLOOR_S,
        patience_s=options.patience_s,
        paced=options.semantics != "file",
        may_finish=True,
    )


def webcam(uri: str, device: str, options: SourceOptions, platform: str = sys.platform) -> Camera:
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
    return Camera(uri, address, patience_s=options.patience_s)


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
