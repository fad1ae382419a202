"""What glip-nano takes for a picture: `encode_image` and `ground`, per picture size and by what is asked.

The picture is a real street with three people and a white van. Run:
`python benchmarks/nano_speed.py [float32|bfloat16] [plain] [--busy]`. `plain` puts the layers as eager torch
runs them beside the packed ones; `--busy` takes one thread and counts processor time instead of wall time, so
that ratios hold while others use the machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.types import Prompt

STREET = Path(__file__).parent.parent / "tests" / "data" / "nano" / "street.png"
SIZES = ((416, 416), (320, 416), (256, 416))
#: what is asked: frozen names only, a colour as well, words of the open branch, a word of nothing.
ASKED = {
    "names": ("person", "car"),
    "colour": ("person", "white van"),
    "open": ("guitar", "wrench"),
    "nothing": ("zzxq",),
}
ROUNDS = 40


def street(size: tuple[int, int]) -> Tensor:
    """Return (H, W, 3) uint8 of the street, stretched."""
    return torch.from_numpy(np.array(Image.open(STREET).convert("RGB").resize(size[::-1])))


def plain(dtype: str) -> NanoGrounder:
    """Return a grounder whose layers run as eager torch runs them."""
    grounder = NanoGrounder.from_name("glip-nano", device="cpu", dtype=dtype)
    grounder._network.to("cpu")  # layers that move forget their packed copies
    grounder._open.head.to("cpu")
    return grounder


def measure(sides: dict[str, NanoGrounder], size: tuple[int, int], batch: int) -> dict[str, list[float]]:
    """Return each side's median milliseconds per picture: `encode_image`, then `ground` per `ASKED`."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    pixels, content = street(size).expand(batch, -1, -1, -1).contiguous(), torch.tensor([size] * batch)
    texts = {
        side: [grounder.encode_text([Prompt.of(phrases)]) * batch for phrases in ASKED.values()]
        for side, grounder in sides.items()
    }
    taken: dict[str, list[list[float]]] = {side: [] for side in sides}
    for number in range(ROUNDS + 3):
        for side, grounder in sides.items():
            stamps = [clock()]
            features = grounder.encode_image(pixels, content)
            stamps.append(clock())
            for text in texts[side]:
                grounder.ground(features, text, grounder.preset.floor)
                stamps.append(clock())
            if number > 2:  # the first rounds warm up
                taken[side].append(np.diff(stamps).tolist())
    return {
        side: [1e3 / batch * statistics.median(column) for column in zip(*rows, strict=True)]
        for side, rows in taken.items()
    }


def main(asked: list[str]) -> None:
    """Run the asked measurements, or all."""
    torch.set_num_threads(1 if "--busy" in asked else 2)
    for dtype in ("bfloat16", "float32"):
        if dtype not in asked and {"bfloat16", "float32"} & set(asked):
            continue
        sides = {"packed": NanoGrounder.from_name("glip-nano", device="cpu", dtype=dtype)}
        sides |= {"plain": plain(dtype)} if "plain" in asked else {}
        for size in SIZES:
            for batch in (1, 4):
                for side, figures in measure(sides, size, batch).items():
                    columns = "".join(
                        f"  {name} {figure:5.1f}"
                        for name, figure in zip(("encode_image", *ASKED), figures, strict=True)
                    )
                    print(f"{dtype:9s}{size[0]}x{size[1]} x{batch} {side}{columns}  ms a picture", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
