import av
import numpy as np

from groundstream.models.types import SizeRule
from groundstream.operators.detector.letterbox import Letterbox


def frame(height: int, width: int, format: str = "yuv420p") -> av.VideoFrame:
    columns = np.linspace(20, 235, width, dtype=np.uint8)
    grey = np.broadcast_to(columns[None, :, None], (height, width, 3))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), "rgb24").reformat(format=format)


def test_content_lies_top_left_and_the_rest_is_padding() -> None:
    picture = Letterbox(SizeRule("fit", 64, 64, pad_rgb=(7, 8, 9)))(frame(60, 120))
    assert picture.pixels.shape == (64, 64, 3)
    assert picture.pixels.dtype == np.uint8
    assert (picture.pixels[32:] == (7, 8, 9)).all()
    assert picture.pixels[:32, 0].mean() < 40
    assert picture.pixels[:32, 63].mean() > 215


def test_a_new_frame_size_makes_a_new_plan() -> None:
    letterbox = Letterbox(SizeRule("fit", 64, 64))
    assert letterbox(frame(60, 120)).plan.frame_px == (60, 120)
    assert letterbox(frame(90, 30)).plan.content_px == (64, 21)
    assert letterbox(frame(60, 120)).plan.content_px == (32, 64)


def test_every_pixel_format_gives_the_same_picture() -> None:
    letterbox = Letterbox(SizeRule("stretch", 32, 32))
    pictures = [letterbox(frame(64, 64, kind)).pixels.astype(int) for kind in ("yuv420p", "rgb24", "nv12")]
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).max() <= 3


def test_going_there_and_back_gives_the_box() -> None:
    picture = Letterbox(SizeRule("fit", 416, 416))(frame(576, 768))
    box = np.array([[100, 50, 300, 200]], np.float32) * (416 / 768)
    np.testing.assert_allclose(picture.plan.to_frame(box), [[100, 50, 300, 200]], atol=0.5)
