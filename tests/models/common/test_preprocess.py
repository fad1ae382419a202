from __future__ import annotations

import pytest
import torch

from groundstream.models.common.preprocess import PixelRule, normalize

CPU = torch.device("cpu")
RULE = PixelRule((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))


def picture(batch: int = 1, height: int = 4, width: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8)


def test_normalises_each_channel() -> None:
    pixels = picture()
    x = normalize(pixels, torch.tensor([[4, 6]]), RULE, CPU, torch.float32)
    expected = (pixels.float() - torch.tensor(RULE.mean)) / torch.tensor(RULE.std)
    torch.testing.assert_close(x, expected.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)


def test_equals_kornia() -> None:
    import kornia

    pixels = picture(2)
    x = normalize(pixels, torch.tensor([[4, 6]] * 2), RULE, CPU, torch.float32)
    planes = pixels.permute(0, 3, 1, 2).float()
    expected = kornia.enhance.normalize(planes, torch.tensor(RULE.mean), torch.tensor(RULE.std))
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)


def test_padding_is_zero_after_normalisation() -> None:
    x = normalize(picture(2), torch.tensor([[4, 6], [2, 3]]), RULE, CPU, torch.float32)
    assert x[0].ne(0).float().mean() > 0.9
    assert x[1, :, 2:].eq(0).all()
    assert x[1, :, :, 3:].eq(0).all()
    assert x[1, :, :2, :3].ne(0).float().mean() > 0.8


def test_padding_may_be_normalised_like_the_picture() -> None:
    rule = PixelRule(RULE.mean, RULE.std, zero_padding=False)
    x = normalize(torch.zeros_like(picture()), torch.tensor([[2, 3]]), rule, CPU, torch.float32)
    torch.testing.assert_close(x[0, :, 3, 5], -torch.tensor(RULE.mean) / torch.tensor(RULE.std))


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}, 127.5, 63.75),
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "rescale_factor": 0.01}, 50.0, 25.0),
        ({"image_mean": [123.0] * 3, "image_std": [58.0] * 3, "do_rescale": False}, 123.0, 58.0),
        ({"do_normalize": False, "image_mean": [0.5] * 3}, 0.0, 255.0),
    ],
)
def test_reads_a_processor(settings: dict[str, object], mean: float, std: float) -> None:
    rule = PixelRule.from_processor(settings)
    assert rule.mean == pytest.approx((mean,) * 3)
    assert rule.std == pytest.approx((std,) * 3)


@pytest.mark.parametrize(
    ("pixels", "content", "message"),
    [
        (torch.zeros(1, 3, 4, 6, dtype=torch.uint8), [[4, 6]], "expected pixels"),
        (torch.zeros(1, 4, 6, 3), [[4, 6]], "expected pixels .* but got .* float32"),
        (torch.zeros(2, 4, 6, 3, dtype=torch.uint8), [[4, 6]], r"expected content_px \(2, 2\)"),
        (torch.zeros(1, 4, 6, 3, dtype=torch.uint8), [[5, 6]], "within the canvas 4x6"),
        (torch.zeros(1, 4, 6, 3, dtype=torch.uint8), [[0, 6]], "within the canvas 4x6"),
    ],
)
def test_wrong_shapes_are_refused(pixels: torch.Tensor, content: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalize(pixels, torch.tensor(content), RULE, CPU, torch.float32)
