"""Rows of images: a folder, a glob or a single picture, in natural order."""

from __future__ import annotations

import glob
import re
from dataclasses import replace
from pathlib import Path

import av

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources.base import OnStatus
from groundstream.operators.sources.failures import file_failure
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.sources.played import Pictures, PlayedSource
from groundstream.operators.sources.values import Semantics, SourceInfo
from groundstream.operators.video.upright import Upright

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_USUAL_FPS = 1.0


def is_image(path: Path) -> bool:
    """Tell by its name whether `path` is an image (a GIF counts as a video)."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Return a sort key by which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def find_images(place: str) -> list[Path]:
    """Return the images of a folder, a glob pattern or a single file, in natural order.

    Raises:
        SourceError: there is no image.
    """
    folder = Path(place)
    if folder.is_dir():
        found = list(folder.iterdir())
    elif folder.exists():
        return [folder]
    else:
        found = [Path(name) for name in glob.glob(place, recursive=True)]  # noqa: PTH207 -- absolute patterns
    images = sorted((path for path in found if is_image(path) and path.is_file()), key=natural_key)
    if not images:
        others = f"{len(found)} other files" if found else "nothing"
        raise SourceError(
            f"{place}: there are no images ({others} found); name a video file, or a folder with "
            f"{', '.join(sorted(IMAGE_SUFFIXES))} files",
            Reason.NOT_FOUND,
        )
    return images


class ImagesSource(PlayedSource):
    """Images as frames, `fps` of them in a second (1 when not given).

    Sizes may change from image to image. Images that cannot be read are skipped and counted; they keep
    their place in time.

    Raises:
        SourceError: none of the images can be read, or none lies in the asked range.
    """

    def __init__(
        self,
        stream_id: str,
        label: str,
        images: list[Path],
        semantics: Semantics,
        options: SourceOptions,
        on_status: OnStatus | None,
    ) -> None:
        self._images, self._fps = images, options.fps or _USUAL_FPS
        self._error: SourceError | None = None
        # `fps` is the pace of the images here, nothing is left out.
        super().__init__(stream_id, label, semantics, replace(options, fps=None), on_status)
        self._begin()

    def _pictures(self) -> Pictures:
        upright = Upright()
        for number, path in enumerate(self._images):
            time_s = number / self._fps
            if self._options.start_s is not None and time_s < self._options.start_s:
                continue
            picture = self._read(path)
            if picture is not None:
                yield upright(picture), time_s

    def _read(self, path: Path) -> av.VideoFrame | None:
        try:
            with av.open(path, mode="r", metadata_errors="replace") as container:
                picture = next(container.decode(video=0), None)
        except (av.FFmpegError, IndexError) as error:  # IndexError: a file without any picture
            self._error = file_failure(path, error)
            picture = None
        if picture is None:
            self._line.lose("unreadable_image")
            self._log.debug("%s: skipped, it cannot be read", path)
        return picture

    def _describe(self, first: av.VideoFrame) -> SourceInfo:
        return SourceInfo(
            width=first.width,
            height=first.height,
            fps=self._fps,
            duration_s=len(self._images) / self._fps,
            frame_count=len(self._images),
            codec="images",
            pixel_format=first.format.name,
            time_base=None,
        )

    def _nothing_in_range(self) -> SourceError:
        last_s = (len(self._images) - 1) / self._fps
        if self._options.start_s is not None and self._options.start_s > last_s:
            return self._starts_beyond(last_s)
        if self._error is not None and len(self._images) == 1:
            return self._error
        return SourceError(
            f"{self._label}: none of the {len(self._images)} images can be read; check them with a viewer",
            Reason.DECODE,
        )
