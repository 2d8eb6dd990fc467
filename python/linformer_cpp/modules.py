"""`LinformerSelfAttention` and `Linformer`: in the place of those of PyPI's `linformer` 0.2.3.

The same arguments in the same order, the same names of parameters (its `state_dict` loads), the same outputs and gradients; what is new follows `*`.
What differs: wrong values are ValueErrors in place of assertions, and `forward` refuses keywords that it does not know, which `linformer` ignores.
Shape letters: B batch, N tokens, M tokens of the context, d `dim`, H heads, D `dim_head`, K slots (`k`), P `seq_len`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import functional
from .reversible import ReversibleSequence

__all__ = ["Linformer", "LinformerSelfAttention"]


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, expected an int")
    if value < least:
        raise ValueError(f"{name} is {value}, expected {least} or more")


class LinformerSelfAttention(nn.Module):
    """Self-attention or cross-attention to K slots (Wang et al. 2020, arXiv 2006.04768), with linear cost in N.

    Args:
        dim: d, width of input and output.
        seq_len: P, the longest text of keys and values; queries of a context may be more.
        k: K, slots.
        heads: H. Divides `dim`, unless `dim_head` is given.
        dim_head: D; None is `dim // heads`.
        one_kv_head: keys and values have one head, which all queries share.
        share_kv: values are the keys, and so are their projections.
        dropout: share of attention weights set to zero in training; of causal forms, of the output in place of the weights.
        causal: position t sees positions 0 to t alone. The slots are sums up to there, not masked: a mask on slots would leak (docs/maths.md 2).
        window: with `causal`: W ≥ 1, exact attention to the last W to 2W − 1 positions, and slots of the blocks before; 0: slots alone.

    Raises:
        ValueError: an argument that is out of range, or a window without `causal`.
    """

    def __init__(
        self,
        dim: int,
        seq_len: int,
        k: int = 256,
        heads: int = 8,
        dim_head: int | None = None,
        one_kv_head: bool = False,
        share_kv: bool = False,
        dropout: float = 0.0,
        *,
        causal: bool = False,
        window: int = 0,
    ) -> None:
        super().__init__()
        for name, value in ("dim", dim), ("seq_len", seq_len), ("k", k), ("heads", heads):
            _check_count(name, value, 1)
        _check_count("window", window, 0)
        if dim_head is None:
            if dim % heads:
                raise ValueError(f"dim is {dim} and heads {heads}, expected heads to divide dim; or give dim_head")
            dim_head = dim // heads
        _check_count("dim_head", dim_head, 1)
        if window and not causal:
            raise ValueError(f"window is {window} without causal; a window is for the causal form: set causal=True, or window=0")
        self.seq_len, self.k, self.heads, self.dim_head = seq_len, k, heads, dim_head
        self.share_kv, self.causal, self.window = share_kv, causal, window
        kv_dim = dim_head if one_kv_head else dim_head * heads
        self.to_q = nn.Linear(dim, dim_head * heads, bias=False)
        self.to_k = nn.Linear(dim, kv_dim, bias=False)
        self.proj_k = nn.Parameter(self._first_projection())
        if not share_kv:
            self.to_v = nn.Linear(dim, kv_dim, bias=False)
            self.proj_v = nn.Parameter(self._first_projection())
        self.dropout = nn.Dropout(dropout)
        self.to_out = nn.Linear(dim_head * heads, dim)

    def _first_projection(self) -> Tensor:
        """(P,K). Of causal forms N(0, 1/P), so that a slot that sums P keys begins with the size of one."""
        if self.causal:
            return torch.randn(self.seq_len, self.k) / math.sqrt(self.seq_len)
        bound = 1 / math.sqrt(self.k)
        return torch.empty(self.seq_len, self.k).uniform_(-bound, bound)

    def extra_repr(self) -> str:
        return f"seq_len={self.seq_len}, k={self.k}, heads={self.heads}, dim_head={self.dim_head}, share_kv={self.share_kv}, causal={self.causal}, window={self.window}"

    def forward(self, x: Tensor, context: Tensor | None = None, *, key_padding_mask: Tensor | None = None) -> Tensor:
        """x (B,N,d), context (B,M,d) or None for x itself → (B,N,d).

        Args:
            key_padding_mask: (B,M) bool, true = padding, which no slot takes in; not for causal forms, where padding at the end is unseen.

        Raises:
            ValueError: M > P, shapes that don't fit, or a context or mask for a causal form.
        """
        self._check(x, context, key_padding_mask)
        query = self._split(self.to_q(x))
        if self.causal:
            key = self.to_k(x)
            value = key if self.share_kv else self.to_v(x)
            out = functional.attention(query, self._split(key), self._split(value), *self._projections(key.dtype), causal=True, window=self.window)
            return self.dropout(self._merged(out))
        source = x if context is None else context
        if key_padding_mask is not None:
            source = source.masked_fill(key_padding_mask.unsqueeze(-1), 0)
        slot_key, slot_value = self._slots(source)
        return self._merged(self._mix(query, slot_key, slot_value))

    def _projections(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """E and F, (K,P)."""
        key = self.proj_k.t().to(dtype)
        return key, key if self.share_kv else self.proj_v.t().to(dtype)

    def _slots(self, source_BMd: Tensor) -> tuple[Tensor, Tensor]:
        """(B,G,K,D) of keys and of values. E(XW) = (EX)W: the shorter way round (docs/maths.md 1, reassociation)."""
        length = source_BMd.shape[1]

        def slots(projection_PK: Tensor, linear: nn.Module) -> Tensor:
            shorten = projection_PK[:length].t().expand(source_BMd.shape[0], -1, -1)
            if length > self.k:
                return self._split(linear(torch.bmm(shorten, source_BMd)))
            rows = linear(source_BMd)
            return self._split(torch.bmm(shorten.to(rows.dtype), rows))

        key = slots(self.proj_k, self.to_k)
        return key, key if self.share_kv else slots(self.proj_v, self.to_v)

    def _mix(self, query: Tensor, slot_key: Tensor, slot_value: Tensor) -> Tensor:
        if not (self.training and self.dropout.p > 0):
            return functional.softmax_attention(query, slot_key, slot_value)
        heads = query.shape[1]  # the operator has no dropout of weights
        logits = query @ slot_key.expand(-1, heads, -1, -1).transpose(-1, -2) * self.dim_head**-0.5
        return self.dropout(logits.softmax(-1)) @ slot_value.expand(-1, heads, -1, -1)

    def _split(self, rows: Tensor) -> Tensor:
        """(B,M,G·D) → (B,G,M,D)."""
        return rows.view(*rows.shape[:2], -1, self.dim_head).transpose(1, 2)

    def _merged(self, heads_BHND: Tensor) -> Tensor:
        return self.to_out(heads_BHND.transpose(1, 2).flatten(2))

    def _check(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> None:
        width = self.to_q.in_features
        for name, text in ("x", x), ("context", context):
            if text is not None and (text.dim() != 3 or text.shape[-1] != width):
                raise ValueError(f"{name} has shape {tuple(text.shape)}, expected (batch, tokens, dim) with dim {width}")
        if self.causal:
            for name, given in ("context", context), ("key_padding_mask", mask):
                if given is not None:
                    raise ValueError(f"{name} is given, but causal attention reads its own text alone; leave it out, or use causal=False")
        source, name = (x, "x") if context is None else (context, "context")
        if source.shape[1] > self.seq_len:
            raise ValueError(f"{name} has {source.shape[1]} tokens, expected at most seq_len {self.seq_len}")
        if source.shape[0] != x.shape[0]:
            raise ValueError(f"context has {source.shape[0]} texts, expected as many as x, {x.shape[0]}")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != source.shape[:2]):
            raise ValueError(f"key_padding_mask is {mask.dtype} of shape {tuple(mask.shape)}, expected torch.bool of shape {tuple(source.shape[:2])}, true = padding")


class PreNorm(nn.Module):
    """fn(norm(x))."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, **keywords: Any) -> Tensor:
        return self.fn(self.norm(x), **keywords)


class FeedForward(nn.Module):
    """w2(dropout(gelu(w1(x)))), four times as wide inside."""

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, 4 * dim)
        self.dropout = nn.Dropout(dropout)
        self.w2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(self.dropout(F.gelu(self.w1(x))))


class SequentialSequence(nn.Module):
    """x + attention(x), then x + feed_forward(x), layer after layer."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def _pairs(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            yield layer[0], layer[1]

    def forward(self, x: Tensor, **of_attention: Any) -> Tensor:
        for attention, feed_forward in self._pairs():
            x = x + attention(x, **of_attention)
            x = x + feed_forward(x)
        return x


class Linformer(nn.Module):
    """`depth` blocks of attention and feed-forward, each behind a layer norm; there is no norm at the end.

    Args:
        dim, seq_len, k, heads, dim_head, one_kv_head, share_kv, dropout, causal, window: as in `LinformerSelfAttention`.
        depth: blocks.
        reversible: activations are computed again in the backward pass, from the last block to the first, and not kept (Gomez et al. 2017, arXiv 1707.04585).

    Raises:
        ValueError: as `LinformerSelfAttention`, and for `depth` below 1.
    """

    def __init__(
        self,
        dim: int,
        seq_len: int,
        depth: int,
        k: int = 256,
        heads: int = 8,
        dim_head: int | None = None,
        one_kv_head: bool = False,
        share_kv: bool = False,
        reversible: bool = False,
        dropout: float = 0.0,
        *,
        causal: bool = False,
        window: int = 0,
    ) -> None:
        super().__init__()
        _check_count("depth", depth, 1)
        layers = nn.ModuleList()
        for _ in range(depth):
            attention = LinformerSelfAttention(dim, seq_len, k, heads, dim_head, one_kv_head, share_kv, dropout, causal=causal, window=window)
            layers.append(nn.ModuleList([PreNorm(dim, attention), PreNorm(dim, FeedForward(dim, dropout))]))
        self.net: nn.Module = ReversibleSequence(layers) if reversible else SequentialSequence(layers)

    def forward(self, x: Tensor, *, key_padding_mask: Tensor | None = None) -> Tensor:
        """x (B,N,d) with N ≤ P → (B,N,d). `key_padding_mask` and errors: as in `LinformerSelfAttention.forward`."""
        return self.net(x) if key_padding_mask is None else self.net(x, key_padding_mask=key_padding_mask)
