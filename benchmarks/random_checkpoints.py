"""Full-size checkpoints with random weights, for benchmarks: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    OwlViTProcessor,
)

WORDS = ["a", "the", "red", "white", "person", "van", "car", "dog"]


def write_owlvit_base_patch32(folder: Path) -> Path:
    """Write an OWL-ViT B/32 that sees 768 x 768 pixels; return `folder`."""
    torch.manual_seed(0)
    config = OwlViTConfig(vision_config={"image_size": 768, "patch_size": 32})
    OwlViTForObjectDetection(config).save_pretrained(folder)
    OwlViTProcessor(OwlViTImageProcessorPil(), clip_tokenizer(16)).save_pretrained(folder)
    return folder


def write_grounding_dino_tiny(folder: Path, short_px: int = 480, long_px: int = 800) -> Path:
    """Write a Grounding DINO with Swin-T whose pictures have a short side of `short_px`; return `folder`."""
    torch.manual_seed(0)
    swin = {"model_type": "swin", "window_size": 7, "image_size": 224, "out_indices": [2, 3, 4]}
    GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=swin)).save_pretrained(folder)
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": short_px, "longest_edge": long_px})
    GroundingDinoProcessor(images, bert_tokenizer()).save_pretrained(folder)
    return folder


def write_small(family: str, folder: Path) -> Any:
    """Write a small network of `family` at the family's usual picture size; return its image processor."""
    torch.manual_seed(0)
    swin = {"model_type": "swin", "embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 3, 4]}
    swin |= {"window_size": 7, "image_size": 224, "out_indices": [2, 3, 4]}
    net = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    images, tokenizer = _PROCESSORS[family](), clip_tokenizer(16)
    if family == "grounding-dino":
        sizes = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 128}
        config = GroundingDinoConfig(
            backbone_config=swin, text_config=net | {"model_type": "bert"}, decoder_ffn_dim=128, **sizes
        )
        model, tokenizer = GroundingDinoForObjectDetection(config), bert_tokenizer()
    elif family == "owlvit":
        vision = net | {"image_size": 768, "patch_size": 32}
        model = OwlViTForObjectDetection(
            OwlViTConfig(text_config=net, vision_config=vision, projection_dim=64)
        )
    else:
        vision = net | {"image_size": 960, "patch_size": 32}
        model = Owlv2ForObjectDetection(Owlv2Config(text_config=net, vision_config=vision, projection_dim=64))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:  # transformers starts many so small that a picture would change nothing
            parameter.data = torch.randn_like(parameter) / parameter[0].numel() ** 0.5
        elif name.endswith("_param"):
            parameter.data.fill_(1)
    for part in (model, tokenizer, images):
        part.save_pretrained(folder)
    return images


_PROCESSORS: dict[str, Any] = {
    "grounding-dino": GroundingDinoImageProcessorPil,
    "owlvit": OwlViTImageProcessorPil,
    "owlv2": Owlv2ImageProcessorPil,
}


def bert_tokenizer() -> BertTokenizer:
    """Return a tokenizer of `WORDS` with BERT's special ids and size."""
    known = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    known |= {word: 2000 + number for number, word in enumerate(WORDS)}
    named = {number: token for token, number in known.items()}
    return BertTokenizer(vocab={named.get(number, f"[unused{number}]"): number for number in range(30522)})


def clip_tokenizer(max_length: int) -> CLIPTokenizer:
    """Return a tokenizer of `WORDS` and single letters with CLIP's special ids and size."""
    letters = ["!", *sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"!"})]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            parts = [parts[0] + parts[1], *parts[2:]]
            left = parts[0].removesuffix("</w>")[:-1] if len(parts) == 1 else parts[0][:-1]
            merges.append((left, parts[0][len(left) :]))
            pieces.append(parts[0])
    vocab: dict[str, Any] = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    vocab |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token="!", model_max_length=max_length)
