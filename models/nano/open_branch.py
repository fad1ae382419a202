"""The open branch as it is stored: network, dictionary, which concepts are of which class, and the scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from groundstream.models.errors import ModelError
from groundstream.models.nano.config import NanoConfig
from groundstream.models.nano.open_head import OpenConfig, OpenHead
from groundstream.models.nano.open_words import OpenWords
from groundstream.models.nano.packed import pack
from groundstream.models.nano.rows import FINE, MEANT

PREFIX = "open."
_PARTS = ("words", "alike", "scale", "bias")


class Scale(NamedTuple):
    """From the log odds of a meaning to those of the score: odds + the concepts' bias + a shift.

    Phrases that the frozen names know have a shift of their own, and lose `per_concept` times the logarithm
    of how many concepts they mean ("animal": 105): there the branch only adds what it is surer of. `shift` is
    fitted together with the biases (`grounder_calibrate`), the others were chosen; see `docs/glip-nano.md`.
    """

    shift: float
    known_shift: float
    per_concept: float


@dataclass(frozen=True, eq=False)
class OpenBranch:
    """The open branch.

    Attributes:
        head: what was trained on the frozen features.
        words: what phrases mean.
        alike: (C, 80) float32, 1 where a concept may be of a class of the frozen network.
        scale: from odds to scores.
        bias: (C,) float32, what is added to the odds of each concept: low for those that see themselves
            everywhere. That of a phrase is the mean of its concepts', each as much as it says.
    """

    head: OpenHead
    words: OpenWords
    alike: Tensor
    scale: Scale
    bias: Tensor

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: NanoConfig) -> OpenBranch:
        """Build the branch from the `open.*` tensors of a weight file."""
        mine = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
        concepts = len(mine["alike"])
        head = OpenHead(OpenConfig(), config, concepts)
        head.load_state_dict({key: value.float() for key, value in mine.items() if key not in _PARTS})
        words = OpenWords.from_tensor(mine["words"], concepts)
        if mine["bias"].shape != (concepts,):
            raise ModelError(
                f"expected a bias for each of {concepts} concepts, but got {tuple(mine['bias'].shape)}; "
                "install groundstream again"
            )
        scale = Scale(*mine["scale"].tolist())
        return cls(head, words, mine["alike"].float(), scale, mine["bias"].float())

    def gates(self, phrase: str, classes: Tensor, own_words: int = 1) -> Tensor:
        """Return (C,) gates: `MEANT` for what `phrase` means, `FINE` for what else its classes may look like.

        Args:
            phrase: what is looked for.
            classes: (80,) bool, the frozen classes that it opens; "pedestrian" opens person, and any kind of
                person is fine.
            own_words: see `OpenWords.lookup`.
        """
        fine = self.alike.cpu()[:, classes].any(1) * FINE
        return torch.maximum(self.words.lookup(phrase, own_words) * MEANT, fine)

    def to(self, device: torch.device, dtype: torch.dtype) -> OpenBranch:
        """Return the branch for use on `device`, frozen; most of the arithmetic is done in `dtype`."""
        head = self.head.eval().requires_grad_(False).to(device)
        head.reduce.to(dtype)
        head.embed.to(dtype)
        head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        pack(head)
        return OpenBranch(head, self.words, self.alike.to(device), self.scale, self.bias.to(device))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return what `from_tensors` reads; weights as float16."""
        state = {key: value.half() for key, value in self.head.state_dict().items()}
        state |= {"words": self.words.to_tensor(), "alike": self.alike.to(torch.uint8)}
        state |= {"bias": self.bias.half()}
        return {
            PREFIX + key: value for key, value in (state | {"scale": torch.tensor(list(self.scale))}).items()
        }
