"""The architectures of GLIP: four published ones, and whatever else has the same shape."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from groundstream.models.errors import ModelError

#: Pixels of one step on the pyramid levels P3..P7.
STRIDES = (8, 16, 32, 64, 128)
#: BERT's text limit in tokens, [CLS] and [SEP] included.
TOKEN_LIMIT = 256


@dataclass(frozen=True)
class GlipConfig:
    """Everything that fixes the shapes of a GLIP network.

    Attributes:
        swin_dim: channels of the first Swin stage; doubles at each of the three that follow.
        swin_depths: blocks per stage.
        swin_heads: attention heads per stage.
        swin_window: side of an attention window, in patches.
        channels: channels of the pyramid levels and of the head.
        blocks: blocks of the head tower.
        fusion: whether each block attends between image and text first; GLIP-T (A) does not.
        fusion_dim: width of that attention.
        fusion_heads: its heads.
        text_dim: width of BERT, in the text encoder and in the head.
        text_layers: layers of the text encoder.
        text_heads: attention heads of BERT.
        text_hidden: width of BERT's feed-forward layers.
        vocabulary: number of word pieces.
    """

    swin_dim: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window: int = 7
    channels: int = 256
    blocks: int = 6
    fusion: bool = True
    fusion_dim: int = 2048
    fusion_heads: int = 8
    text_dim: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_hidden: int = 3072
    vocabulary: int = 30522

    def to_json(self) -> str:
        """Return the configuration as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> GlipConfig:
        """Read what `to_json` wrote.

        Raises:
            ModelError: the text is no JSON object with these fields.
        """
        try:
            content = json.loads(text)
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            names = ", ".join(field.name for field in fields(cls))
            raise ModelError(
                f"no GLIP configuration ({error}); expected a JSON object with {names}"
            ) from error


GLIP_T_A = GlipConfig(fusion=False)
GLIP_T = GlipConfig()
GLIP_L = GlipConfig(
    swin_dim=192, swin_depths=(2, 2, 18, 2), swin_heads=(6, 12, 24, 48), swin_window=12, blocks=8
)


@dataclass(frozen=True)
class Published:
    """A checkpoint that the authors released.

    Attributes:
        file_name: name of the .pth file in the hub repository.
        config: its architecture.
        about: what it was trained on, and its published zero-shot AP on COCO 2017 val.
    """

    file_name: str
    config: GlipConfig
    about: str


HUB_REPOSITORY = "GLIPModel/GLIP"

#: name that a user gives -> checkpoint.
PUBLISHED = {
    "glip-t-a": Published("glip_a_tiny_o365.pth", GLIP_T_A, "Objects365; AP 42.9"),
    "glip-t-b": Published("glip_tiny_model_o365.pth", GLIP_T, "Objects365; AP 44.9"),
    "glip-t-c": Published("glip_tiny_model_o365_goldg.pth", GLIP_T, "Objects365, GoldG; AP 46.7"),
    "glip-t": Published(
        "glip_tiny_model_o365_goldg_cc_sbu.pth", GLIP_T, "Objects365, GoldG, CC3M, SBU; AP 46.6"
    ),
    "glip-l": Published("glip_large_model.pth", GLIP_L, "FourODs, GoldG, 24M captions; AP 51.4"),
}
