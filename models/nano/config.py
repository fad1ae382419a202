"""The numbers of glip-nano, all in one place, and where its weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: the weights that ship with the package.
SHIPPED = Path(__file__).parent.parent / "weights" / "glip-nano.safetensors"


@dataclass(frozen=True)
class NanoConfig:
    """Sizes of the network.

    Attributes:
        picture_px: side of the square canvas that the weights were trained for.
        stem_channels: channels after the first convolution.
        stages: per CSP stage its channels and its number of inner blocks; each stage but the first halves
            the picture and puts out twice its channels.
        neck_channels: channels of the three pyramid levels.
        strides_px: pixels of the canvas per cell, per level, finest first.
        distance_bins: a side's distance to the cell's centre is an expectation over 0..bins-1 strides.
        mean_rgb, std_rgb: what pixels (0..255) are normalised with.
    """

    picture_px: int = 416
    stem_channels: int = 32
    stages: tuple[tuple[int, int], ...] = ((32, 1), (64, 2), (128, 2), (256, 3))
    neck_channels: int = 128
    strides_px: tuple[int, ...] = (8, 16, 32)
    distance_bins: int = 11
    mean_rgb: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std_rgb: tuple[float, float, float] = (58.395, 57.12, 57.375)


_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
    "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,"
    "handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,"
    "surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,"
    "broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,"
    "mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,"
    "teddy bear,hair drier,toothbrush"
)
#: The 80 categories of COCO, in the order of the classifier that the backbone was trained with.
COCO_NAMES: tuple[str, ...] = tuple(_NAMES.split(","))
