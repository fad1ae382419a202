"""How fast GLIP-T is at 480x640 with one phrase, against the same weights used plainly.

Plainly: float32, the text padded to its limit of 256 tokens, as the original runs it. Both sides do one
frame in turn, in one process; weights are random, times do not depend on them. A second table holds
the deformable convolution against one written as a loop over its nine taps.

    python benchmarks/glip_speed.py [--rounds 9] [--model glip-t|glip-l] [--busy]

`--busy` takes one thread and counts processor time, so that ratios hold while others use the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from groundstream.models.common.device import fast_dtype
from groundstream.models.glip.config import PUBLISHED, TOKEN_LIMIT, GlipConfig
from groundstream.models.glip.deform import TAPS, Offsets, deform_conv3x3
from groundstream.models.glip.grounder import GlipGrounder
from groundstream.models.glip.modelfile import ModelFile
from groundstream.models.glip.network import GlipNetwork
from groundstream.models.types import Prompt, TextFeatures

CPU = torch.device("cpu")
HEIGHT, WIDTH = 480, 640


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", choices=PUBLISHED, default="glip-t")
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.busy:
        torch.set_num_threads(1)
    clock = time.process_time if options.busy else time.perf_counter
    auto = fast_dtype(CPU)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, dtype auto = {auto}")
    show(
        f"{options.model}, {HEIGHT}x{WIDTH}, one phrase",
        grounders(options.model, auto),
        options.rounds,
        clock,
    )
    for dtype in dict.fromkeys((torch.float32, auto)):
        show(f"deformable convolution 60x80x256, {dtype}", convolutions(dtype), options.rounds, clock)


def show(
    title: str, contenders: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> None:
    """Run the contenders in turn and print their medians; the last one is the measure."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with torch.inference_mode():
        for contender in contenders.values():
            contender()
        for _ in range(rounds):
            for name, contender in contenders.items():
                start = clock()
                contender()
                times[name].append(clock() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    plain = list(medians.values())[-1]
    print(f"\n{title}: median of {rounds}, in turn")
    for name, median in medians.items():
        print(f"  {name:32s} {median * 1e3:9.1f} ms   {plain / median:5.2f} x")


def random_glip(model: str, *dtypes: torch.dtype) -> list[GlipGrounder]:
    """Return a published GLIP with random weights, the same in each of `dtypes`."""
    config = PUBLISHED[model].config
    vocabulary = pad(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "person"), config)
    network = GlipNetwork(config)
    for block in network.head.blocks:
        torch.nn.init.normal_(block.image.offset.bias)  # untrained offsets would all be zero
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return [
        GlipGrounder(
            ModelFile(config, vocabulary, weights), name=model, revision="0" * 64, device=CPU, dtype=dtype
        )
        for dtype in dtypes
    ]


def grounders(model: str, auto: torch.dtype) -> dict[str, Callable[[], object]]:
    """One frame from uint8 pixels to boxes: ours, ours in float32, and the plain way."""
    fast, exact = random_glip(model, auto, torch.float32)
    pixels = torch.randint(0, 256, (1, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    content = torch.tensor([[HEIGHT, WIDTH]])
    texts = {id(g): g.encode_text([Prompt.of(["person"])]) for g in (fast, exact)}

    def ours(grounder: GlipGrounder) -> object:
        return grounder.ground(grounder.encode_image(pixels, content), texts[id(grounder)], 0.2)

    return {
        f"ours, {str(auto)[6:]}": lambda: ours(fast),
        "ours, float32": lambda: ours(exact),
        "plain, float32, 256 tokens": lambda: plain(exact, pixels, content, texts[id(exact)][0]),
    }


def plain(grounder: GlipGrounder, pixels: Tensor, content: Tensor, text: TextFeatures) -> object:
    """One frame with the text padded to the limit; padding is a real row that no span names."""
    rows = F.pad(text.tokens, (0, 0, 0, TOKEN_LIMIT - len(text.tokens)))
    features = grounder.encode_image(pixels, content)
    return grounder.ground(features, [TextFeatures(text.phrases, rows, text.spans)], 0.2)


def pad(vocabulary: tuple[str, ...], config: GlipConfig) -> tuple[str, ...]:
    """Fill a vocabulary up to the size that the network has."""
    return vocabulary + tuple(f"[unused{number}]" for number in range(config.vocabulary - len(vocabulary)))


def convolutions(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The deformable convolution of level P3 at 480x640."""
    x = torch.randn(1, 256, 60, 80).to(dtype).contiguous(memory_format=torch.channels_last)
    offsets = Offsets(torch.randn(1, 18, 60, 80), torch.rand(1, 9, 60, 80))
    weight = torch.randn(256, 256, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    bias = torch.randn(256).to(dtype)
    return {
        "ours": lambda: deform_conv3x3(x, offsets, weight, bias),
        "one grid_sample per tap": lambda: tap_by_tap(x, offsets, weight, bias),
    }


def tap_by_tap(x: Tensor, offsets: Offsets, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the same convolution with a loop over the taps, as one writes it first."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    out = bias.view(1, -1, 1, 1)
    for tap in range(TAPS):
        y = rows - 1 + tap // 3 + offsets.shift[:, 2 * tap]
        x_ = columns - 1 + tap % 3 + offsets.shift[:, 2 * tap + 1]
        grid = torch.stack(((2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1), -1).to(x.dtype)
        seen = F.grid_sample(x, grid, align_corners=False) * offsets.mask[:, tap, None].to(x.dtype)
        out = out + F.conv2d(seen, weight[:, :, tap // 3, tap % 3, None, None])
    return out


if __name__ == "__main__":
    main()
