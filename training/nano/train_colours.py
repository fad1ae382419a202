"""Fit the colour namer of glip-nano: `python -m training.nano.train_colours`.

Chromatic colours come from the XKCD colour survey (CC0; a table in matplotlib, which supervision brings):
each named colour counts for the basic term that its name ends in. The survey has few blacks, whites and
greys, so these are drawn: colours of little chroma, named by their lightness.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.colors import XKCD_COLORS, to_rgb
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.common.tensor_file import read_tensors, write_tensors
from groundstream.models.nano.attributes import ColourNamer, to_lab
from groundstream.models.nano.config import SHIPPED
from groundstream.models.nano.parse import COLOURS

#: words that a colour's name may end in -> the basic term they count for.
OTHER_TERMS = {
    "violet": "purple", "lavender": "purple", "lilac": "purple", "mauve": "purple", "plum": "purple",
    "aqua": "blue", "cyan": "blue", "navy": "blue", "indigo": "blue", "sky": "blue",
    "rose": "pink", "salmon": "pink", "magenta": "pink", "fuchsia": "pink", "coral": "pink",
    "beige": "brown", "tan": "brown", "sand": "brown", "rust": "brown", "chocolate": "brown",
    "ochre": "brown",
    "olive": "green", "lime": "green", "mint": "green", "moss": "green", "forest": "green", "grass": "green",
    "maroon": "red", "crimson": "red", "scarlet": "red", "brick": "red",
    "mustard": "yellow", "gold": "yellow",
}  # fmt: skip
DARK, LIGHT = 28.0, 75.0  # lightness below which a colour without chroma is black, above which it is white
MOST_CHROMA = 13.0


def survey() -> tuple[Tensor, Tensor]:
    """Return (N, 3) RGB in 0..1 and (N,) numbers of basic terms."""
    colours, terms = [], []
    for name, code in XKCD_COLORS.items():
        last = name.removeprefix("xkcd:").replace("grey", "gray").split()[-1].split("/")[-1]
        term = OTHER_TERMS.get(last, last)
        if term in COLOURS:
            colours.append(to_rgb(code))
            terms.append(COLOURS.index(term))
    return torch.tensor(colours), torch.tensor(terms)


def greys(count: int) -> tuple[Tensor, Tensor]:
    """Return `count` colours of little chroma, (N, 3) RGB, and the numbers of black, white or gray."""
    rgb = (torch.rand(20 * count, 1) + 0.12 * torch.randn(20 * count, 3) * torch.rand(20 * count, 1)).clamp(
        0, 1
    )
    lab = to_lab(rgb)
    rgb, lightness = (x[lab[:, 1:].norm(dim=1) < MOST_CHROMA][:count] for x in (rgb, lab[:, 0]))
    terms = torch.full((len(rgb),), COLOURS.index("gray"))
    terms[lightness < DARK] = COLOURS.index("black")
    terms[lightness > LIGHT] = COLOURS.index("white")
    return rgb, terms


def train(steps: int) -> tuple[ColourNamer, float]:
    """Return the namer and the part of the survey's colours that it names right."""
    torch.manual_seed(0)
    (rgb, terms), (grey_rgb, grey_terms) = survey(), greys(600)
    all_rgb, all_terms = torch.cat((rgb, grey_rgb)), torch.cat((terms, grey_terms))
    namer = ColourNamer()
    weights = (1 / torch.bincount(all_terms, minlength=len(COLOURS)).float()).sqrt()
    optimizer = torch.optim.AdamW(namer.parameters(), lr=5e-3, weight_decay=1e-3)
    for _ in range(steps):
        loss = F.nll_loss(namer(all_rgb).clamp(min=1e-6).log(), all_terms, weights)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.inference_mode():
        right = (namer(rgb).argmax(1) == terms).float().mean().item()
    return namer.eval(), right


def main() -> None:
    """Fit the namer and write it into the weight file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    namer, right = train(options.steps)
    print(f"colours of the survey named right: {right:.3f}")
    kept = read_tensors(options.weights) if options.weights.exists() else {}
    write_tensors(options.weights, kept | {f"colours.{k}": v.half() for k, v in namer.state_dict().items()})


if __name__ == "__main__":
    main()
