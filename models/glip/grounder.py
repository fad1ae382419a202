"""GLIP behind the interface of all grounders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.common.device import choose_device, choose_dtype
from groundstream.models.common.preprocess import PixelRule, normalize
from groundstream.models.errors import ModelError
from groundstream.models.glip.config import TOKEN_LIMIT
from groundstream.models.glip.hub import find_model
from groundstream.models.glip.modelfile import ModelFile, read_model_file
from groundstream.models.glip.network import build_network, prepare
from groundstream.models.glip.postprocess import find_boxes, to_raw
from groundstream.models.glip.text import PhraseTokenizer, caption_of, split_prompt
from groundstream.models.types import (
    FeatureInfo,
    ImageFeatures,
    ModelInfo,
    Preset,
    Prompt,
    RawDetections,
    SizeRule,
    TextFeatures,
)

SHORT_SIDE_PX, LONG_SIDE_PX = 800, 1333
#: Half of the coarsest level's stride: below, a picture has no structure that P7 could hold.
SMALLEST_PX = 64
#: Blue, green, red, of pixels 0..255: the order that the published weights expect.
BGR = PixelRule(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
#: Names the text path in fingerprints; has to change when captions or their encoding do.
TEXT_VERSION = "glip-caption-1"


class GlipGrounder(Grounder):
    """A GLIP network with its tokenizer: `levels` are P3..P7, text features BERT's last hidden states."""

    def __init__(
        self,
        model: ModelFile,
        *,
        name: str,
        revision: str,
        device: torch.device,
        dtype: torch.dtype,
        size_px: int | None = None,
    ) -> None:
        self.device, self.dtype = device, dtype
        self.network = prepare(build_network(model.config, model.weights), device, dtype)
        self.tokenizer = PhraseTokenizer(model.vocabulary)
        identity = "\x1f".join((TEXT_VERSION, revision, str(dtype)))
        fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.info = ModelInfo(name, "glip", revision[:12], fingerprint, "prompt")
        self.features = FeatureInfo.of("glip", revision)
        self.preset = Preset(score=0.5, floor=0.2, overlap_iou=0.6)
        self.size_rule = size_rule(size_px or SHORT_SIDE_PX)

    @classmethod
    def from_name(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", size_px: int | None = None
    ) -> GlipGrounder:
        """Load `glip-t`, `glip-l` (and `glip-t-a`, `-b`, `-c`), a folder, a file of ours, or a .pth file.

        Args:
            name: what the user asked for; a .pth checkpoint is converted once and kept in the user's cache.
            device: `auto` or what torch calls it (cpu, cuda, cuda:1, ...).
            dtype: `auto`, float32, bfloat16 or float16.
            size_px: short side of its pictures, at least 64; 800 when None, as in all published figures.

        Raises:
            ModelError: there is no such model, it cannot be had, or it is damaged.
        """
        if size_px is not None and size_px < SMALLEST_PX:
            raise ModelError(f"expected a picture size of at least {SMALLEST_PX} px, but got {size_px}")
        on = choose_device(device)
        form = choose_dtype(dtype, on)
        model, revision = read_model_file(find_model(name))
        return cls(model, name=Path(name).name, revision=revision, device=on, dtype=form, size_px=size_px)

    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """Cut `prompt` into prompts of at most 256 tokens."""
        return split_prompt(prompt, self.tokenizer)

    def unknown_phrases(self, prompt: Prompt) -> tuple[str, ...]:
        """Return the phrases of which BERT's vocabulary holds no piece."""
        return tuple(phrase for phrase in prompt.phrases if self.tokenizer.is_unknown(phrase))

    @torch.inference_mode()
    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        """Encode each prompt as (T, D) last hidden states of BERT, [CLS] and [SEP] included."""
        captions = [self.tokenizer.encode(caption_of(prompt)) for prompt in prompts]
        longest = max((len(tokens.ids) for tokens in captions), default=0)
        if longest > TOKEN_LIMIT:
            raise ValueError(
                f"a prompt has {longest} tokens, GLIP reads {TOKEN_LIMIT}; call split_prompt first"
            )
        if not captions:
            return []
        ids = torch.zeros(len(captions), longest, dtype=torch.int64)
        for row, tokens in enumerate(captions):
            ids[row, : len(tokens.ids)] = torch.tensor(tokens.ids)
        mask = token_mask([len(tokens.ids) for tokens in captions], longest)
        hidden = self.network.encode_tokens(ids.to(self.device), mask.to(self.device)).cpu()
        return [
            TextFeatures(prompt.phrases, hidden[row, : len(tokens.ids)].clone(), tokens.spans)
            for row, (prompt, tokens) in enumerate(zip(prompts, captions, strict=True))
        ]

    def join_text(self, parts: Sequence[TextFeatures]) -> TextFeatures:
        """Not for GLIP: a phrase's features depend on its neighbours."""
        raise ValueError("GLIP encodes whole prompts (text_scope 'prompt'); encode the prompt itself")

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Run Swin and the feature pyramid on (B, H, W, 3) uint8 RGB pictures."""
        images = normalize(pixels.flip(-1), content_px, BGR, self.device, self.dtype)
        levels = self.network.vision(images)
        return ImageFeatures(levels, content_px, (pixels.shape[1], pixels.shape[2]))

    @torch.inference_mode()
    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Find each picture's own text in it; shorter texts are padded and masked."""
        if len(texts) != len(features.content_px):
            raise ValueError(
                f"expected {len(features.content_px)} texts, one per picture, but got {len(texts)}"
            )
        if not texts:
            return []
        tokens = torch.nn.utils.rnn.pad_sequence([text.tokens for text in texts], batch_first=True)
        mask = token_mask([len(text.tokens) for text in texts], tokens.shape[1])
        levels = tuple(level.to(self.device, self.dtype) for level in features.levels)
        out = self.network.head(levels, tokens.to(self.device, self.dtype), mask.to(self.device))
        answers = []
        for row, (text, content) in enumerate(zip(texts, features.content_px.tolist(), strict=True)):
            found = find_boxes(out, row, text.spans, (content[0], content[1]), floor)
            answers.append(to_raw(found, len(text.phrases)))
        return answers


def size_rule(short_px: int) -> SizeRule:
    """Return GLIP's rule for a short side of `short_px`; the long side is limited as 1333 is to 800."""
    longest = round(LONG_SIDE_PX * short_px / SHORT_SIDE_PX)
    return SizeRule("short_side", short_px, longest, multiple_px=32, whole_short_side=True)


def token_mask(lengths: Sequence[int], width: int) -> Tensor:
    """Return (B, width) bool, True on the first `lengths` tokens of each row."""
    return torch.arange(width) < torch.tensor(lengths)[:, None]
