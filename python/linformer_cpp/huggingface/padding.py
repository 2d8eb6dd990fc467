"""Checks of labels and attention masks, and texts with padding on the left as texts with padding on the right.

Shape letters: B texts, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_labels", "check_padding", "check_shape", "padding_on_the_left", "rolled"]


def check_labels(labels: Tensor, ids: Tensor) -> Tensor:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels is of type {type(labels).__name__}, expected a torch.Tensor")
    if labels.shape != ids.shape or labels.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"labels is {labels.dtype} of shape {tuple(labels.shape)}, expected torch.int64 of shape {tuple(ids.shape)}, as input_ids")
    return labels.long()


def check_shape(mask: Tensor, ids: Tensor) -> None:
    if not isinstance(mask, Tensor):
        raise TypeError(f"attention_mask is of type {type(mask).__name__}, expected a torch.Tensor")
    if mask.shape != ids.shape:
        raise ValueError(f"attention_mask has shape {tuple(mask.shape)}, expected {tuple(ids.shape)}, as input_ids")


def check_padding(mask: Tensor) -> None:
    """Each row is padding, a text, padding."""
    starts = (mask[:, 1:] != 0) & (mask[:, :-1] == 0)
    count = starts.sum(1) + (mask[:, 0] != 0)
    wrong = (count != 1).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(f"attention_mask has {int(count[wrong[0]])} texts in row {wrong[0]}, expected one: padding stands before a text or after it")


def padding_on_the_left(mask: Tensor | None, ids: Tensor) -> Tensor | None:
    """(B) tokens before each text; None where there are none. Padding on the right needs nothing: no token sees a later one."""
    if mask is None:
        return None
    check_shape(mask, ids)
    if bool((mask != 0).all()):
        return None
    check_padding(mask)
    left = (mask != 0).long().argmax(1)
    return left if bool(left.any()) else None


def rolled(rows: Tensor, left: Tensor) -> Tensor:
    """(B,N,…) with row b turned left by left[b] places."""
    count = rows.shape[1]
    index = (torch.arange(count, device=rows.device) + left[:, None]) % count
    return rows[torch.arange(len(rows), device=rows.device)[:, None], index]
