"""How cameras and objects move: functions of the time in seconds, so that any frame rate shows the same
motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Speed = Literal["static", "slow", "fast"]
#: Range of speeds in picture widths per second.
SPEEDS: dict[Speed, tuple[float, float]] = {"static": (0.0, 0.0), "slow": (0.02, 0.12), "fast": (0.25, 0.8)}


@dataclass(frozen=True)
class Path:
    """The way of one object, in world pixels.

    Attributes:
        kind: "linear", "arc" (the direction turns evenly) or "stop-and-go" (it moves half of the time).
        speed: the class of its speed; a static object stands still and does not grow or spin.
        start_px: where it is at time 0.
        velocity_px: pixels per second at time 0.
        turn_rad: turn of the direction per second (arc).
        beat_s: length of one stop and one go together, and its shift in time (stop-and-go).
        growth: relative change of size per second, as by coming closer.
        spin_deg: turn of the object itself per second.
    """

    kind: Literal["linear", "arc", "stop-and-go"]
    speed: Speed
    start_px: tuple[float, float]
    velocity_px: tuple[float, float] = (0.0, 0.0)
    turn_rad: float = 0.0
    beat_s: tuple[float, float] = (1.0, 0.0)
    growth: float = 0.0
    spin_deg: float = 0.0

    def at(self, time_s: float) -> tuple[float, float]:
        """Return x and y at a time."""
        velocity = np.array(self.velocity_px)
        if self.kind == "arc" and self.turn_rad:
            angle = self.turn_rad * time_s
            # The integral of a velocity that turns with constant speed.
            along, aside = np.sin(angle) / self.turn_rad, (1 - np.cos(angle)) / self.turn_rad
            offset = velocity * along + np.array([-velocity[1], velocity[0]]) * aside
        else:
            moved_s = time_s if self.kind == "linear" else self._moving_time(time_s)
            offset = velocity * moved_s
        return self.start_px[0] + float(offset[0]), self.start_px[1] + float(offset[1])

    def _moving_time(self, time_s: float) -> float:
        beat, shift = self.beat_s
        return self._moved(time_s + shift, beat) - self._moved(shift, beat)

    @staticmethod
    def _moved(time_s: float, beat: float) -> float:
        whole, part = divmod(time_s, beat)
        return float(whole * beat / 2 + min(part, beat / 2))

    def scale_at(self, time_s: float) -> float:
        """Return the size at a time, relative to time 0."""
        return float(np.exp(self.growth * time_s))


def draw_path(rng: Rng, speed: Speed, world_px: NDArray[np.float64], duration_s: float) -> Path:
    """Choose a path that crosses the middle of a `world_px` (width, height) world during the clip."""
    meet = world_px * rng.uniform(0.25, 0.75, 2)
    if speed == "static":
        return Path("linear", speed, (float(meet[0]), float(meet[1])))
    low, high = SPEEDS[speed]
    direction = rng.uniform(0, 2 * np.pi)
    # Most things in the world move sideways rather than up and down.
    heading = np.array([np.cos(direction), 0.35 * np.sin(direction)])
    velocity = heading * rng.uniform(low, high) * world_px[0] / 1.6
    start = meet - velocity * rng.uniform(0, duration_s)
    kinds: tuple[Literal["linear", "arc", "stop-and-go"], ...] = ("linear", "arc", "stop-and-go")
    return Path(
        kinds[int(rng.integers(3))],
        speed,
        (float(start[0]), float(start[1])),
        (float(velocity[0]), float(velocity[1])),
        turn_rad=float(rng.normal(0, 0.6)),
        beat_s=(float(rng.uniform(0.6, 2.5)), float(rng.uniform(0, 2))),
        growth=float(rng.normal(0, 0.08)),
        spin_deg=float(rng.normal(0, 12)) if rng.random() < 0.3 else 0.0,
    )


@dataclass(frozen=True, eq=False)
class Camera:
    """The way of the camera over the world.

    Attributes:
        center_px: what it looks at, at time 0.
        pan_px: world pixels per second.
        zoom: relative change of scale per second.
        shake_px: size of the shake, in picture pixels.
        waves: (3, 4) frequency (Hz) and phase of the shake across, and of the shake up and down.
    """

    center_px: tuple[float, float]
    pan_px: tuple[float, float]
    zoom: float
    shake_px: float
    waves: NDArray[np.float64]

    def view(self, time_s: float, size_px: tuple[int, int]) -> NDArray[np.float64]:
        """Return the (2, 3) matrix from world pixels to pixels of a picture of `size_px` (width, height)."""
        scale = float(np.exp(self.zoom * time_s))
        looking = np.array(self.center_px) + np.array(self.pan_px) * time_s
        swing = np.sin(2 * np.pi * self.waves[:, [0, 2]] * time_s + self.waves[:, [1, 3]]).sum(axis=0)
        offset = np.array(size_px) / 2 - scale * looking + self.shake_px * swing / 3
        return np.column_stack([np.eye(2) * scale, offset])


def draw_camera(rng: Rng, world_px: NDArray[np.float64], size_px: tuple[int, int]) -> Camera:
    """Choose a camera: a third stand still, the others pan, zoom or shake, or do several at once."""
    pan, zoom, shake = np.zeros(2), 0.0, 0.0
    if rng.random() < 2 / 3:
        does = rng.random(3) < 0.5
        pan = does[0] * rng.normal(0, 0.05, 2) * size_px
        zoom = float(does[1] * rng.normal(0, 0.06))
        shake = float(does[2] * rng.uniform(0.002, 0.012) * size_px[0])
    waves = np.column_stack(
        [value for _ in range(2) for value in (rng.uniform(0.7, 7, 3), rng.uniform(0, 6.3, 3))]
    )
    middle = world_px / 2
    return Camera((float(middle[0]), float(middle[1])), (float(pan[0]), float(pan[1])), zoom, shake, waves)
