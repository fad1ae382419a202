"""glip-nano behind the grounder interface."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.common.device import choose_device, choose_dtype
from groundstream.models.common.postprocess import best_rows, to_raw
from groundstream.models.common.preprocess import PixelRule, normalize
from groundstream.models.common.tensor_file import checksum, read_tensors
from groundstream.models.errors import ModelError
from groundstream.models.nano.attributes import ColourNamer, attribute_factors, shrink_picture
from groundstream.models.nano.config import SHIPPED, NanoConfig
from groundstream.models.nano.network import NanoNetwork, join_levels, split_levels
from groundstream.models.nano.open_branch import OpenBranch
from groundstream.models.nano.open_candidates import Scene, join_candidates, look_again
from groundstream.models.nano.packed import pack
from groundstream.models.nano.postprocess import find_candidates
from groundstream.models.nano.rows import join_rows, meanings_of
from groundstream.models.nano.text import (
    LOWEST_GATE,
    ROW_WIDTH,
    TextEncoder,
    phrase_attributes,
    split_rows,
)
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

#: the picture is kept for colours at a quarter of its size.
PICTURE_STRIDE = 4
#: a score of zero is no candidate, whatever floor is asked for.
LOWEST_FLOOR = 1e-4
#: changes when the rules of the text encoder change in code, so that cached text of older rules is not used.
TEXT_RULES = "2"


class NanoGrounder(Grounder):
    """The small grounder that ships with the package.

    `ImageFeatures` has five levels. In the first three (strides 8, 16, 32) the 128 channels of the neck come
    first, then those of the open branch's reduced map of the same stride, so that one memory serves both. The
    last two are the branch's reduced map at stride 4 and the picture itself (3 channels of RGB in 0..1,
    stride 4), which colour phrases are judged on.
    """

    def __init__(
        self,
        network: NanoNetwork,
        text: TextEncoder,
        namer: ColourNamer,
        branch: OpenBranch,
        revision: str,
        config: NanoConfig,
        device: torch.device,
        dtype: torch.dtype,
        size_px: int,
    ) -> None:
        self.device, self.dtype = device, dtype
        made_by = checksum(network.backbone.state_dict()), checksum(branch.head.reduce.state_dict())
        self.features = FeatureInfo.of("nano", *made_by, levels=len(config.strides_px))
        text_hash = hashlib.sha256(f"nano {revision} {TEXT_RULES}".encode()).hexdigest()[:16]
        self.info = ModelInfo("glip-nano", "nano", revision, text_hash, "phrase")
        self.preset = Preset(score=0.4, floor=0.2, cpu_batch=4)
        # As `fit`, but padded only to whole cells of the coarsest level: a 16:9 frame costs 3/5 of a square.
        self.size_rule = SizeRule("short_side", size_px, size_px, multiple_px=config.strides_px[-1])
        self._pixels = PixelRule(config.mean_rgb, config.std_rgb)
        self._network = network.to(device)
        network.backbone.to(dtype)
        network.head.regions.to(dtype)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        pack(self._network)
        self._open = branch.to(device, dtype)
        self._text, self._namer = text, namer.eval().requires_grad_(False).to(device)

    @classmethod
    def from_name(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", size_px: int | None = None
    ) -> NanoGrounder:
        """Load the weights that ship with the package.

        Args:
            name: `glip-nano`.
            device: `auto` or what torch calls it (cpu, cuda, cuda:1, ...).
            dtype: `auto`, float32, bfloat16 or float16, for the convolutions; the rest stays in float32.
            size_px: longer side of the picture, 416 when None; larger finds smaller things, more slowly.

        Raises:
            ModelError: the weights are missing or damaged, the device is not there, or `size_px` is below 64.
        """
        config = NanoConfig()
        if size_px is not None and size_px < 64:
            raise ModelError(f"expected a picture size of at least 64 px for glip-nano, but got {size_px}")
        tensors = read_tensors(SHIPPED)
        network = NanoNetwork.from_tensors(tensors, config)
        namer = ColourNamer()
        namer.load_state_dict({key: tensors[f"colours.{key}"].float() for key in namer.state_dict()})
        text, revision = TextEncoder.from_tensors(tensors), checksum(tensors)[:12]
        branch = OpenBranch.from_tensors(tensors, config)
        where = choose_device(device)
        numbers = choose_dtype(dtype, where)
        side = size_px or config.picture_px
        return cls(network, text, namer, branch, revision, config, where, numbers, side)

    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """Return the prompt as it is: there is no text limit."""
        return (prompt,)

    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        """Encode each phrase as the rows of what it may mean; a word of nothing here has none."""
        phrases = list(dict.fromkeys(phrase for prompt in prompts for phrase in prompt.phrases))
        head = self._network.head
        frozen = self._text.rows(phrases, head.names.cpu(), head.names_bias.cpu())
        classes, own_words = self._text.gates(phrases) >= LOWEST_GATE, self._text.own_words(phrases)
        parts = {}
        for phrase, rows, opened, length in zip(phrases, frozen, classes, own_words, strict=True):
            tokens = join_rows(rows, self._open.gates(phrase, opened, length), phrase)
            parts[phrase] = TextFeatures((phrase,), tokens, ((0, len(tokens)),))
        return [self.join_text([parts[phrase] for phrase in prompt.phrases]) for prompt in prompts]

    def join_text(self, parts: Sequence[TextFeatures]) -> TextFeatures:
        """Put the rows of single phrases below each other."""
        phrases = tuple(phrase for part in parts for phrase in part.phrases)
        spans, start = [], 0
        for part in parts:
            spans += [(start + low, start + high) for low, high in part.spans]
            start += len(part.tokens)
        width = ROW_WIDTH + self._open.words.concepts
        tokens = torch.cat([part.tokens for part in parts]) if parts else torch.zeros(0, width)
        return TextFeatures(phrases, tokens, tuple(spans))

    def unknown_phrases(self, prompt: Prompt) -> tuple[str, ...]:
        """Return the phrases that this model knows no word of; it never finds them."""
        (text,) = self.encode_text([prompt])
        return tuple(p for p, (start, end) in zip(text.phrases, text.spans, strict=True) if start == end)

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Run the frozen backbone and neck; sides of the canvas are multiples of 32 pixels.

        Raises:
            ValueError: the canvas is not (B, H, W, 3) uint8 with sides that are multiples of 32.
        """
        canvas = (int(pixels.shape[1]), int(pixels.shape[2]))
        if any(side % self.size_rule.multiple_px for side in canvas):
            raise ValueError(
                f"expected a canvas with sides that are multiples of 32 px, but got {canvas[0]}x{canvas[1]}"
            )
        x = normalize(pixels, content_px, self._pixels, self.device, self.dtype)
        small = shrink_picture(pixels.to(self.device).contiguous(), PICTURE_STRIDE)
        stages = self._network.backbone.stage_maps(x)
        fine, *reduced = self._open.head.reduce_maps(stages)
        levels = join_levels(self._network.backbone.neck(stages), reduced)
        return ImageFeatures((*levels, fine, small), content_px, canvas)

    @torch.inference_mode()
    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Match the region features of each picture with its own classifier rows."""
        *levels, fine, pictures = features.levels
        necks, reduced = split_levels(levels)
        maps = (fine, *reduced)
        if len(texts) != len(pictures):
            raise ValueError(f"expected {len(pictures)} texts, one per picture, but got {len(texts)}")
        if not any(len(text.tokens) for text in texts):
            return [RawDetections.empty(len(text.phrases)) for text in texts]
        canvas = features.canvas_px
        regions = self._network.head.region_features(tuple(neck.to(self.dtype) for neck in necks))
        return [
            self._ground_one(
                Scene(
                    [region[row] for region in regions],
                    [part[row : row + 1] for part in maps],
                    content,
                    canvas,
                ),
                pictures[row],
                text,
                max(floor, LOWEST_FLOOR),
            )
            for row, (content, text) in enumerate(zip(features.content_px.tolist(), texts, strict=True))
        ]

    def _ground_one(self, scene: Scene, picture: Tensor, text: TextFeatures, floor: float) -> RawDetections:
        head, tokens = self._network.head, text.tokens.to(self.device)
        rows, attributes = split_rows(tokens[:, :ROW_WIDTH])
        found = find_candidates(head, scene.regions, scene.widths(head.strides_px), rows, text.spans, floor)
        meanings = meanings_of(tokens, text.spans)
        if bool(meanings.gates.any()):
            found = join_candidates(*look_again(self._open, head, scene, found, meanings), floor)
        boxes = found.boxes.clamp(min=0).minimum(found.boxes.new_tensor(scene.content_px[::-1]).repeat(2))
        asked = phrase_attributes(attributes, text.spans)
        scores = self._judge(boxes, found.scores, asked, picture, scene.content_px)
        keep = best_rows(scores, floor)
        return to_raw(boxes[keep], scores[keep])

    def _judge(
        self, boxes: Tensor, scores: Tensor, asked: Tensor, picture: Tensor, content_px: tuple[int, int]
    ) -> Tensor:
        """Return (N, P) scores times how well each box has what its phrases say beside their nouns."""
        (rows,) = torch.nonzero((scores[:, asked.any(1)] > 0).any(1), as_tuple=True)
        if not len(rows):
            return scores
        height, width = (max(1, side // PICTURE_STRIDE) for side in content_px)
        inside = picture[:, :height, :width]
        factors = attribute_factors(self._namer, boxes[rows], asked, inside, content_px)
        return scores.index_copy(0, rows, scores[rows] * factors)
