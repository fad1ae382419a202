"""Tiny random checkpoints of the five families, with tokenizers that need no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    OmDetTurboConfig,
    OmDetTurboForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    OwlViTConfig,
    OwlViTForObjectDetection,
)

# in networks this small, threads wait for each other far longer than they work
torch.set_num_threads(1)

FAMILIES = ("grounding-dino", "mm-grounding-dino", "owlvit", "owlv2", "omdet-turbo")
WORDS = [
    "a",
    "red",
    "blue",
    "white",
    "car",
    "van",
    "dog",
    "cat",
    "person",
    "with",
    "hat",
    "and",
    "the",
    "mr",
    "smith",
    "what",
    "is",
    "it",
    "small",
    "##s",
    "##ing",
]
CLIP_VOCABULARY = 514
#: a letter is a token here, so that phrases need more than the 16 of the real model.
OWL_TOKENS = 24


def bert_tokenizer() -> BertTokenizer:
    """Return a tokenizer whose [CLS], [SEP], '.' and '?' have the ids that Grounding DINO knows."""
    known = {
        "[PAD]": 0,
        "[UNK]": 100,
        "[CLS]": 101,
        "[SEP]": 102,
        "[MASK]": 103,
        ",": 1010,
        ".": 1012,
        "?": 1029,
    }
    known |= {word: 1040 + number for number, word in enumerate(WORDS)}
    named = {number: token for token, number in known.items()}
    return BertTokenizer(vocab={named.get(number, f"[unused{number}]"): number for number in range(1100)})


def clip_tokenizer(max_length: int) -> CLIPTokenizer:
    """Return a byte-level tokenizer of single letters, CLIP's end token having the highest id."""
    letters = ["!", *sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"!"})]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], pad_token="!", model_max_length=max_length)


def _swin() -> dict[str, Any]:
    return {
        "model_type": "swin",
        "embed_dim": 16,
        "depths": [1, 1, 2, 1],
        "num_heads": [1, 2, 2, 4],
        "window_size": 4,
        "image_size": 64,
        "out_indices": [2, 3, 4],
        "drop_path_rate": 0.0,
    }


def _dino(config_class: Any, model_class: Any) -> Any:
    text = {"model_type": "bert", "vocab_size": 1100, "hidden_size": 32, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "intermediate_size": 64}
    sizes = {"d_model": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64}
    sizes |= {"decoder_ffn_dim": 64, "encoder_layers": 2, "decoder_layers": 3, "num_queries": 40}
    return model_class(config_class(backbone_config=_swin(), text_config=text, **sizes))


def _owl(config_class: Any, model_class: Any) -> Any:
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = shared | {"vocab_size": CLIP_VOCABULARY, "max_position_embeddings": OWL_TOKENS}
    vision = shared | {"image_size": 96, "patch_size": 16}
    return model_class(config_class(text_config=text, vision_config=vision, projection_dim=32))


def _omdet() -> Any:
    text = {
        "model_type": "clip_text_model",
        "vocab_size": CLIP_VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 64,
    }
    text |= {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "eos_token_id": 513,
        "max_position_embeddings": 77,
    }
    sizes = {"d_model": 32, "encoder_hidden_dim": 32, "decoder_hidden_dim": 32, "class_embed_dim": 48}
    sizes |= {"text_projection_in_dim": 48, "text_projection_out_dim": 48, "task_encoder_hidden_dim": 48}
    sizes |= {
        "encoder_in_channels": (32, 64, 128),
        "vision_features_channels": (32, 32, 32),
        "num_queries": 40,
    }
    sizes |= {"encoder_dim_feedforward": 64, "decoder_dim_feedforward": 64, "decoder_num_layers": 2}
    sizes |= {"encoder_attention_heads": 4, "decoder_num_heads": 4}
    config = OmDetTurboConfig(
        backbone_config=_swin(), text_config=text, apply_layernorm_after_vision_backbone=False, **sizes
    )
    return OmDetTurboForObjectDetection(config)


_BUILD: dict[str, Callable[[], Any]] = {
    "grounding-dino": lambda: _dino(GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": lambda: _dino(MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
    "owlvit": lambda: _owl(OwlViTConfig, OwlViTForObjectDetection),
    "owlv2": lambda: _owl(Owlv2Config, Owlv2ForObjectDetection),
    "omdet-turbo": _omdet,
}
_SIZE: dict[str, dict[str, int]] = {
    "grounding-dino": {"shortest_edge": 96, "longest_edge": 160},
    "mm-grounding-dino": {"shortest_edge": 96, "longest_edge": 160},
    "owlvit": {"height": 96, "width": 96},
    "owlv2": {"height": 96, "width": 96},
    "omdet-turbo": {"height": 128, "width": 128},
}


def spread_weights(model: Any, seed: int) -> None:
    """Give every parameter a size at which it matters: transformers starts many at zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = noise / parameter[0].numel() ** 0.5
        elif name.endswith(("norm.weight", "_param")) or ("norm" in name and name.endswith("weight")):
            parameter.data = 1 + 0.1 * noise
        else:
            parameter.data = 0.1 * noise


def build_model(family: str, seed: int = 0) -> Any:
    """Return a tiny random model of `family` in evaluation mode."""
    model = _BUILD[family]()
    spread_weights(model, seed)
    return model.eval()


def save_checkpoint(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny random checkpoint of `family` with tokenizer and processor settings; return `folder`."""
    build_model(family, seed).save_pretrained(folder)
    tokenizer = (
        bert_tokenizer() if family.endswith("dino") else clip_tokenizer(OWL_TOKENS if "owl" in family else 77)
    )
    tokenizer.save_pretrained(folder)
    processor: dict[str, Any] = {"size": _SIZE[family], "do_rescale": True, "rescale_factor": 1 / 255}
    processor |= {"image_mean": [0.48, 0.45, 0.40], "image_std": [0.22, 0.23, 0.24]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
