"""Rows of images: a folder, a glob or a single picture, in natural order."""

from __future__ import annotations

import glob
import re
from pathlib import Path

import av

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources.base import SourceCounters, SourceInfo
from groundstream.operators.sources.decode import FramePath, TimedFrames
from groundstream.operators.sources.failures import file_failure, starts_beyond
from groundstream.operators.sources.options import SourceOptions
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


class ImageReader:
    """Reads images as frames, `fps` of them in a second (1 when not given).

    Sizes may change from image to image. Images that cannot be read are skipped and counted; they keep
    their place in time.

    Attributes:
        label: the folder's or the pattern's name for its user.
        trouble: always None; images that cannot be read are skipped.
    """

    def __init__(self, label: str, images: list[Path], options: SourceOptions) -> None:
        """Take the images in their order, and of `options` the pace and the start."""
        self.label = label
        self.trouble: str | None = None
        self._images, self._start_s, self._fps = images, options.start_s or 0.0, options.fps or _USUAL_FPS
        self._error: SourceError | None = None

    def frames(self, path: FramePath) -> TimedFrames:
        """Read the images from `start_s` on, with their times."""
        for number, image in enumerate(self._images):
            time_s = number / self._fps
            if time_s < self._start_s:
                continue  # not even opened
            frame = self._read(image)
            if frame is None:
                # Dropped and counted: one broken image costs its frame, not the row.
                path.source.queue.lose("unreadable_image")
                path.source.log.debug("%s: skipped, it cannot be read", image)
            else:
                yield frame, time_s

    def _read(self, image: Path) -> av.VideoFrame | None:
        try:
            with av.open(image, mode="r", metadata_errors="replace") as container:
                return next(container.decode(video=0), None)
        except (av.FFmpegError, IndexError) as error:  # IndexError: a file without any picture
            self._error = file_failure(image, error)
            return None

    def info(self, first: av.VideoFrame) -> SourceInfo:
        """Say what is known of the row, of which `first` is the first image in the range.

        Raises:
            SourceError: it cannot be turned upright.
        """
        try:
            picture = Upright()(first)
        except av.FFmpegError as error:
            raise file_failure(Path(self.label), error) from None
        return SourceInfo(
            width=picture.width,
            height=picture.height,
            fps=self._fps,
            duration_s=len(self._images) / self._fps,
            frame_count=len(self._images),
            codec="images",
            pixel_format=picture.format.name,
            time_base=None,
        )

    def nothing_in_range(self, counters: SourceCounters) -> SourceError:
        """Return the error for a row without a single image that can be read from `start_s` on."""
        last_s = (len(self._images) - 1) / self._fps
        if self._start_s > last_s:
            return starts_beyond(self.label, self._start_s, last_s)
        if self._error is not None and len(self._images) == 1:
            return self._error
        return SourceError(
            f"{self.label}: none of the {len(self._images)} images can be read; check them with a viewer",
            Reason.DECODE,
        )
