"""Generated video: objects that move, hide each other, enter and leave before a moving camera, with exact
tracks.

Clip number `index` of a split is the same for ever, as with still scenes. Motion is a function of the time,
and every frame has its own time in seconds; intervals may be even or irregular. Truth is exact in every
frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from training.scenes.backgrounds import make_background
from training.scenes.bank import Bank, Split
from training.scenes.captions import Questioner, Thing
from training.scenes.generator import CLEAR, scene_rng
from training.scenes.light import Mood
from training.scenes.paste import Canvas, Placement, Seen, make_patch
from training.scenes.paths import Camera, Path, Speed, draw_camera, draw_path
from training.scenes.vocabulary import Vocabulary
from training.scenes.wardrobe import Cutout, SceneObject, Wardrobe

Rng = np.random.Generator
#: The world is this many times as wide and high as the picture.
_WORLD = 1.6


@dataclass(frozen=True)
class VideoConfig:
    """What clips look like.

    Attributes:
        frames: how many frames a clip has.
        height_px: height of the picture.
        width_px: width of the picture.
        interval_s: mean time between frames.
        irregular: 0 for even intervals; at 1 they spread over a factor of about 7 around the mean.
        most_objects: clips have two to this many objects.
        sides: range of the objects' longer side, relative to the shorter side of the picture.
        speed: the class of speed that moving objects have; None mixes all three.
        phrases: how many phrases are asked per clip.
        present: of these, how many at most fit an object.
        restyle: share of objects whose style is changed.
        seed: together with the split and the index it decides everything.
    """

    frames: int = 16
    height_px: int = 416
    width_px: int = 416
    interval_s: float = 0.1
    irregular: float = 0.0
    most_objects: int = 6
    sides: tuple[float, float] = (0.1, 0.45)
    speed: Speed | None = None
    phrases: int = 12
    present: int = 6
    restyle: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.interval_s <= 0 or self.most_objects < 2:
            raise ValueError(
                f"expected at least one frame, a positive interval and two objects, but got "
                f"{self.frames} frames, {self.interval_s} s and {self.most_objects} objects"
            )


@dataclass(frozen=True)
class VideoEvent:
    """Something that happens to a track: it enters or leaves the picture, is hidden, or is back in sight."""

    kind: Literal["enter", "leave", "hidden", "back"]
    track: int
    frame: int
    time_s: float


@dataclass(frozen=True, eq=False)
class VideoSample:
    """A clip with its truth; T frames, N tracks (the track's id is its row), P phrases.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        times_s: (T,) float64, seconds from the first frame, strictly growing.
        objects: what the N tracks are.
        speeds: the class of speed of each track.
        boxes: (T, N, 4) float32 xyxy around the visible pixels; zeros where nothing is visible.
        boxes_amodal: (T, N, 4) float32 xyxy around all pixels, hidden and outside ones too.
        visibility: (T, N) float32, visible pixels over all pixels.
        events: in the order of time.
        phrases: the P phrases asked, some of which fit nothing in the whole clip.
        truth: (P, N) bool, which phrase fits which track.
    """

    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    objects: tuple[SceneObject, ...]
    speeds: tuple[Speed, ...]
    boxes: NDArray[np.float32]
    boxes_amodal: NDArray[np.float32]
    visibility: NDArray[np.float32]
    events: tuple[VideoEvent, ...]
    phrases: tuple[str, ...]
    truth: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Actor:
    cutout: Cutout
    path: Path
    scale: float
    flip: bool
    gain: float


class VideoGenerator:
    """Makes the clips of one split.

    Args:
        bank: all pictures; the split's part is taken.
        vocabulary: what the names in the bank mean.
        split: which pictures, names and photographs may be used.
        config: what clips look like.
    """

    def __init__(self, bank: Bank, vocabulary: Vocabulary, split: Split, config: VideoConfig) -> None:
        self.config, self.split = config, split
        part = bank.select(split)
        self._photographs = part.photographs
        self._wardrobe = Wardrobe(part, vocabulary)
        self._questioner = Questioner(vocabulary, self._wardrobe.names)

    def sample(self, index: int) -> VideoSample:
        """Make clip number `index` (0 or more)."""
        rng, config = scene_rng(self.config.seed, self.split, index), self.config
        # Times have chance of their own, so that the number of frames does not change what is shown.
        times_s = draw_times(rng.spawn(1)[0], config)
        size_px = (config.width_px, config.height_px)
        world_px = np.array(size_px) * _WORLD
        world, contains = make_background(self._photographs, rng, int(world_px[1]), int(world_px[0]))
        camera, mood = draw_camera(rng, world_px, size_px), Mood.draw(rng)
        actors = self._cast(rng, world_px, float(times_s[-1]))
        frames, views = [], []
        for time_s in times_s:
            picture, seen = _render(world, camera, mood, actors, float(time_s), size_px)
            frames.append(picture)
            views.append(seen)
        return self._with_questions(np.stack(frames), times_s, actors, views, contains, rng)

    def _cast(self, rng: Rng, world_px: NDArray[np.float64], duration_s: float) -> list[_Actor]:
        count = int(rng.integers(2, self.config.most_objects + 1))
        actors = []
        for name in self._wardrobe.choose_names(count, rng):
            cutout = self._wardrobe.cut_out(name, self.config.restyle, rng)
            speed = self.config.speed or ("static", "slow", "fast")[int(rng.integers(3))]
            path = draw_path(rng, speed, world_px, duration_s)
            side = np.exp(rng.uniform(*np.log(self.config.sides))) * min(world_px) / _WORLD
            scale = float(side / max(cutout.rgba.shape[:2]))
            actors.append(
                _Actor(cutout, path, scale, bool(rng.random() < 0.5), float(np.exp(rng.normal(0, 0.1))))
            )
        return actors

    def _with_questions(
        self,
        frames: NDArray[np.uint8],
        times_s: NDArray[np.float64],
        actors: Sequence[_Actor],
        views: Sequence[Sequence[Seen]],
        contains: tuple[str, ...],
        rng: Rng,
    ) -> VideoSample:
        visibility = np.array([[seen.visibility for seen in row] for row in views], np.float32)
        boxes = np.array([[seen.box for seen in row] for row in views], np.float32)
        amodal = np.array([[seen.box_amodal for seen in row] for row in views], np.float32)
        things = [
            Thing(actor.cutout.sprite.concept, actor.cutout.shares, None, bool(clear))
            for actor, clear in zip(actors, visibility.max(axis=0) >= CLEAR, strict=True)
        ]
        present = int(rng.integers(self.config.present // 2, self.config.present + 1))
        phrases, truth = self._questioner.ask(things, contains, self.config.phrases, present, rng)
        return VideoSample(
            frames,
            times_s,
            tuple(actor.cutout.describe(colored=True) for actor in actors),
            tuple(actor.path.speed for actor in actors),
            boxes,
            amodal,
            visibility,
            find_events(visibility, amodal, times_s, frames.shape[1:3]),
            tuple(phrases),
            truth,
        )


def draw_times(rng: Rng, config: VideoConfig) -> NDArray[np.float64]:
    """Return the (T,) times of a clip's frames, from 0."""
    gaps = config.interval_s * np.exp(config.irregular * rng.uniform(-1, 1, config.frames - 1))
    return np.concatenate([[0.0], np.cumsum(gaps)])


def _render(
    world: NDArray[np.uint8],
    camera: Camera,
    mood: Mood,
    actors: Sequence[_Actor],
    time_s: float,
    size_px: tuple[int, int],
) -> tuple[NDArray[np.uint8], list[Seen]]:
    view = camera.view(time_s, size_px)
    ground = cv2.warpAffine(world, view, size_px, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    canvas = Canvas(np.asarray(ground, np.uint8))
    for actor in actors:
        center = view[:, :2] @ actor.path.at(time_s) + view[:, 2]
        scale = actor.scale * actor.path.scale_at(time_s) * float(view[0, 0])
        place = (float(center[0]), float(center[1]))
        placement = Placement(place, scale, actor.path.spin_deg * time_s, actor.flip)
        patch = make_patch(actor.cutout.rgba, placement)
        canvas.add_object(mood.show(patch, actor.gain, canvas.picture))
    return canvas.picture, canvas.seen()


def find_events(
    visibility: NDArray[np.float32],
    amodal: NDArray[np.float32],
    times_s: NDArray[np.float64],
    size_px: tuple[int, ...],
) -> tuple[VideoEvent, ...]:
    """Return what happens to the tracks after the first frame.

    A track enters when its whole box comes to overlap the picture, and leaves when it no longer does; while
    it overlaps, it is hidden when less than a tenth of it is visible, and back when it is visible again.
    """
    height, width = size_px[0], size_px[1]
    inside = (
        (amodal[..., 2] > 0) & (amodal[..., 3] > 0) & (amodal[..., 0] < width) & (amodal[..., 1] < height)
    )
    shown = inside & (visibility >= 0.1)
    events = []
    for frame in range(1, len(times_s)):
        for track in range(visibility.shape[1]):
            kind = _happening(inside[frame - 1 : frame + 1, track], shown[frame - 1 : frame + 1, track])
            if kind is not None:
                events.append(VideoEvent(kind, track, frame, float(times_s[frame])))
    return tuple(events)


def _happening(
    inside: NDArray[np.bool_], shown: NDArray[np.bool_]
) -> Literal["enter", "leave", "hidden", "back"] | None:
    if inside[0] != inside[1]:
        return "enter" if inside[1] else "leave"
    if inside[1] and shown[0] != shown[1]:
        return "back" if shown[1] else "hidden"
    return None
