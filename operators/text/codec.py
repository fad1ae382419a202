"""Text features as bytes for a shared store: a checked header and raw tensors, never pickle.

    magic (4 bytes) | version | header length | crc32 of all that follows | header (JSON) | tokens | pooled

Numbers and tensors are little-endian. The header names the model, so that a value is only ever used by
the model that made it.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import torch

from groundstream.models.types import TextFeatures

_MAGIC = b"GSTF"
_VERSION = 1
_PREFIX = struct.Struct("<4sHII")
_DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class DamagedValueError(ValueError):
    """Bytes that are not whole features of the model and phrases that they were asked for."""


def encode_features(features: TextFeatures, fingerprint: str) -> bytes:
    """Return `features` of the model with `fingerprint` as bytes.

    Raises:
        ValueError: a tensor is neither bfloat16, float16 nor float32.
    """
    tensors = [features.tokens] if features.pooled is None else [features.tokens, features.pooled]
    header = json.dumps(
        {
            "fingerprint": fingerprint,
            "phrases": features.phrases,
            "spans": features.spans,
            "tensors": [{"dtype": _dtype_name(tensor), "shape": list(tensor.shape)} for tensor in tensors],
        }
    ).encode()
    body = header + b"".join(_raw(tensor) for tensor in tensors)
    return _PREFIX.pack(_MAGIC, _VERSION, len(header), zlib.crc32(body)) + body


def decode_features(value: bytes, fingerprint: str, phrases: tuple[str, ...]) -> TextFeatures:
    """Return the features in `value`, on the CPU.

    Args:
        value: what `encode_features` made, or anything else that lay in the store.
        fingerprint: the model that the features must come from.
        phrases: the phrases that they must belong to.

    Raises:
        DamagedValueError: `value` is cut, changed, of another version, another model or other phrases.
    """
    header, start = _checked_header(value)
    try:
        made_by, made_for = header["fingerprint"], tuple(header["phrases"])
        tensors = _tensors(value, start, header["tensors"])
        spans = tuple((int(first), int(end)) for first, end in header["spans"])
        features = TextFeatures(made_for, tensors[0], spans, tensors[1] if len(tensors) > 1 else None)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedValueError(f"the header does not fit its tensors: {error}") from error
    if made_by != fingerprint:
        raise DamagedValueError(f"expected features of model {fingerprint}, but got those of {made_by}")
    if made_for != phrases:
        raise DamagedValueError(f"expected features of {len(phrases)} phrases, but got those of others")
    return features


def _dtype_name(tensor: torch.Tensor) -> str:
    if tensor.dtype not in _NAMES:
        raise ValueError(f"expected text features in one of {sorted(_DTYPES)}, but got {tensor.dtype}")
    return _NAMES[tensor.dtype]


def _raw(tensor: torch.Tensor) -> bytes:
    # numpy has no bfloat16: look at the same memory as bytes.
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _checked_header(value: bytes) -> tuple[dict[str, Any], int]:
    """Return the header and where the tensors start; the checksum covers both."""
    if len(value) < _PREFIX.size:
        raise DamagedValueError(f"expected at least {_PREFIX.size} bytes, but got {len(value)}")
    magic, version, header_bytes, crc = _PREFIX.unpack_from(value)
    if (magic, version) != (_MAGIC, _VERSION):
        raise DamagedValueError(f"expected text features of version {_VERSION}, but got something else")
    if zlib.crc32(memoryview(value)[_PREFIX.size :]) != crc:
        raise DamagedValueError("the checksum does not fit: the value is damaged")
    start = _PREFIX.size + header_bytes
    try:
        header: dict[str, Any] = json.loads(value[_PREFIX.size : start])
    except ValueError as error:
        raise DamagedValueError("expected a header in JSON, but got something else") from error
    return header, start


def _tensors(value: bytes, start: int, layouts: list[dict[str, Any]]) -> list[torch.Tensor]:
    tensors = []
    for layout in layouts:
        dtype, shape = _DTYPES[layout["dtype"]], tuple(layout["shape"])
        end = start + dtype.itemsize * torch.Size(shape).numel()
        # A bytearray is memory of our own that may be written to, which torch warns about otherwise.
        raw = torch.frombuffer(bytearray(value[start:end]), dtype=dtype) if end > start else torch.empty(0)
        tensors.append(raw.to(dtype).reshape(shape))
        start = end
    if start != len(value):
        raise ValueError(f"expected {start} bytes, but got {len(value)}")
    return tensors
