"""The operators as functions with types.

Each calls the operator of the same name in `torch.ops.linformer`, so it works in `torch.compile`, `torch.export`, `torch.func` and autocast as that does.
Shape letters: B batch, N query length, M key length, H query heads, G heads of keys and values (a divisor of H), D head width, K slots, P projection length,
W window, V vocabulary. Sources: Linformer (Wang et al. 2020, arXiv 2006.04768) and docs/maths.md.

Every function raises TypeError for an argument that is no tensor, and ValueError for shapes, dtypes or values that don't fit; the message names the
argument, what it is and what was expected.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ._load import native

Path = Literal["auto", "reference", "composed", "kernel"]
Summary = Literal["running", "block"]

_ops = torch.ops.linformer

__all__ = ["attend", "attention", "last_path", "linear_cross_entropy", "prefix_attention", "softmax_attention"]


def _check_tensors(**arguments: object) -> None:
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is of type {type(value).__name__}, expected a torch.Tensor")


def _check_optional(**arguments: object) -> None:
    _check_tensors(**{name: value for name, value in arguments.items() if value is not None})


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    projection_key: Tensor,
    projection_value: Tensor,
    *,
    causal: bool = False,
    window: int = 0,
    summary: Summary = "running",
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    path: Path = "auto",
) -> Tensor:
    """Linformer attention in one call: makes slots by linear projections, then attends (docs/maths.md 1, 3, 4).

    Args:
        query: (B,H,N,D).
        key, value: (B,G,M,D); causal forms need M = N.
        projection_key, projection_value: E and F, (K,P) or (G,K,P) with P ≥ M; with `summary="block"` (r,W) or (G,r,W).
        causal: a position sees itself and earlier ones alone. No mask on the slots does that: it would leak (docs/maths.md 2).
        window: W ≥ 1: exact attention to the last W to 2W − 1 positions, in one softmax with the slots of earlier ones. 0: slots alone.
        summary: of a causal window: K running slots, or r slots for each block of W positions.
        key_padding_mask: (B,M) bool, true = padding; only where not causal.
        scale: of the logits; None is 1/√D.
        path: which implementation runs (docs/architecture.md); "auto" is the fastest that can.

    Returns:
        (B,H,N,D), in the dtype of the query.
    """
    _check_tensors(query=query, key=key, value=value, projection_key=projection_key, projection_value=projection_value)
    _check_optional(key_padding_mask=key_padding_mask)
    return _ops.attention(
        query, key, value, projection_key, projection_value, causal=causal, window=window, summary=summary, key_padding_mask=key_padding_mask, scale=scale, path=path
    )


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    slot_key: Tensor,
    slot_value: Tensor,
    *,
    causal: bool = False,
    window: int = 0,
    slot_bias: Tensor | None = None,
    scale: float | None = None,
    path: Path = "auto",
    first: int = 0,
    slot_query: Tensor | None = None,
    sink_key: Tensor | None = None,
    sink_value: Tensor | None = None,
    slot_offset: Tensor | None = None,
) -> Tensor:
    """One softmax over a window and slots that are there already (docs/maths.md 4a).

    Args:
        query: (B,H,N,D).
        key, value: (B,G,N,D), with `first` > 0 (B,G,N + W,D). Without a window they are not read, and `slot_key` and `slot_value` may be given again.
        slot_key, slot_value: (B,G,K,D) without a window; of a window (B,G,r·ceil(N/W),D) block or (B,G,ceil(N/W),K,D) running slots.
        causal, window: both or none.
        slot_bias: (H), added to the logits of slots.
        first: where in its text the first query stands, a multiple of W.
        slot_query: (B,H,N,D), by which slots are read; None is `query`.
        sink_key, sink_value: (B,G,s,D), seen by every query from block 2 on (Xiao et al. 2023, arXiv 2309.17453).
        slot_offset: (B,G,ceil(N/W),K), added to the logits of running slots; −∞ hides one.
        scale, path: as in `attention`.

    Returns:
        (B,H,N,D), in the dtype of the query.
    """
    _check_tensors(query=query, key=key, value=value, slot_key=slot_key, slot_value=slot_value)
    _check_optional(slot_bias=slot_bias, slot_query=slot_query, sink_key=sink_key, sink_value=sink_value, slot_offset=slot_offset)
    return _ops.attend(
        query,
        key,
        value,
        slot_key,
        slot_value,
        causal=causal,
        window=window,
        slot_bias=slot_bias,
        scale=scale,
        path=path,
        first=first,
        slot_query=slot_query,
        sink_key=sink_key,
        sink_value=sink_value,
        slot_offset=slot_offset,
    )


def prefix_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    projection_key: Tensor,
    projection_value: Tensor,
    *,
    before_key: Tensor | None = None,
    before_value: Tensor | None = None,
    chunk: int = 0,
    scale: float | None = None,
    path: Path = "auto",
) -> Tensor:
    """Causal attention to slots of the text so far: row t is what the bidirectional form gives for positions 0 to t (docs/maths.md 3).

    Args:
        query: (B,H,N,D). key, value: (B,G,N,D).
        projection_key, projection_value: (K,P) or (G,K,P), P ≥ N.
        before_key, before_value: (B,G,K,D), the sums over the text before; both or none. The projections go on after it.
        chunk: positions that are computed at once; 0: chosen. The result does not depend on it but for rounding.
        scale, path: as in `attention`.

    Returns:
        (B,H,N,D), in the dtype of the query.
    """
    _check_tensors(query=query, key=key, value=value, projection_key=projection_key, projection_value=projection_value)
    _check_optional(before_key=before_key, before_value=before_value)
    return _ops.prefix_attention(
        query, key, value, projection_key, projection_value, before_key=before_key, before_value=before_value, chunk=chunk, scale=scale, path=path
    )


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False, key_padding_mask: Tensor | None = None, scale: float | None = None, path: str = "auto"
) -> Tensor:
    """Standard attention, softmax(QKᵀ·scale)V (docs/maths.md 5), by the fastest way that this library knows.

    Args:
        query: (B,H,N,D). key, value: (B,G,M,D).
        causal: needs N ≤ M; the queries are those of the last N keys.
        key_padding_mask: (B,M) bool, true = padding. A row that sees nothing is zero.
        scale: as in `attention`. path: there is "fused" too, PyTorch's own.

    Returns:
        (B,H,N,D), in the dtype of the query.
    """
    _check_tensors(query=query, key=key, value=value)
    _check_optional(key_padding_mask=key_padding_mask)
    return _ops.softmax_attention(query, key, value, causal=causal, key_padding_mask=key_padding_mask, scale=scale, path=path)


def linear_cross_entropy(hidden: Tensor, weight: Tensor, target: Tensor, *, ignore_index: int = -100, chunk: int = 0) -> Tensor:
    """The mean of −log softmax(hidden·weightᵀ)[target], in nats, without all logits in memory (docs/maths.md 6).

    It takes the place of `F.cross_entropy(F.linear(hidden, weight).flatten(0, -2), target.flatten())`.

    Args:
        hidden: (…,d). weight: (V,d). target: (…) int64, each in 0…V−1 or `ignore_index`.
        chunk: rows whose logits are in memory at once; 0: chosen.

    Returns:
        () in float32, or in float64 for float64 inputs; NaN where no target counts, as in PyTorch.
    """
    _check_tensors(hidden=hidden, weight=weight, target=target)
    return _ops.linear_cross_entropy(hidden, weight, target, ignore_index=ignore_index, chunk=chunk)


def last_path() -> str:
    """The path that this thread's last call of an operator took: "kernel", "fused", "composed" or "reference"."""
    return native.last_path()
