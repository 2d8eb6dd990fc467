"""What `generate` of Hugging Face remembers of its texts: the state of the C++ decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from .._load import native

if TYPE_CHECKING:
    from .modelling import LinformerForCausalLM

__all__ = ["LinformerCache"]


class LinformerCache(Cache):
    """The texts that a model has read so far: the window and the slots of each layer, and the keys and values of layers with softmax attention.

    Where all layers have running slots, it takes the same memory and the same time a token however long the texts are. `model.generate` makes one itself; give
    one of your own (`cache=LinformerCache(model)`) to go on with texts later, or to choose the format of the weights. `copy.deepcopy` gives a second cache
    that goes on from here, so that a long beginning of many texts is read once. The weights are a copy, of the time when it was made.

    Args:
        model: whose texts these are.
        weights: format while tokens are made; "auto": float32 for small models, by the processor for large ones, as in the program.
        prompt_dtype: of products that read more than one token; "auto": by `weights` and the processor.

    Raises:
        ValueError: a model that is not causal, or a format that can't be used with it.
    """

    def __init__(
        self,
        model: LinformerForCausalLM,
        *,
        weights: Literal["auto", "float32", "bfloat16", "int8"] = "auto",
        prompt_dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    ) -> None:
        super().__init__(layers=[])
        self.model = model
        self._options = weights, prompt_dtype
        self._columns = 0
        self._reader = self._new_reader()

    def _new_reader(self) -> native.Reader:
        return native.Reader(self.model.linformer._native(), *self._options)

    def read(self, ids: Tensor, mask: Tensor | None, keep_all: bool) -> Tensor:
        """The next ids (B,N) → logits (B,N,V), or (B,1,V) after the last token. `mask` (B, tokens so far + N): 1 = a token, 0 = padding."""
        count = ids.shape[1]
        if self._columns == 0 and not keep_all:
            logits = self._read_prompts(ids, mask)
        else:
            self._check_mask(mask, count)
            logits = self._reader.read(ids, keep_all)
        self._columns += count
        return logits

    def read_next(self, ids: Tensor) -> Tensor:
        """One more token of each text, ids (B,1) → logits (B,V), without questions of padding."""
        self._columns += 1
        return self._reader.read(ids, False)[:, 0]

    def _read_prompts(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        prompts = ids.tolist()
        if mask is not None:
            prompts = [[i for i, kept in zip(row, keep) if kept] for row, keep in zip(prompts, mask.bool().tolist())]
        different = {tuple(prompt): None for prompt in prompts}  # several samples of one prompt read it once
        logits = self._reader.start([list(prompt) for prompt in different])
        if len(different) == len(prompts):
            return logits
        number = {prompt: place for place, prompt in enumerate(different)}
        rows = [number[tuple(prompt)] for prompt in prompts]
        self._reader.select(rows)
        return logits[rows]

    def _check_mask(self, mask: Tensor | None, count: int) -> None:
        before = self._reader.positions()
        tokens = before or [0]
        if mask is None:
            if any(position != self._columns for position in before):
                raise ValueError("attention_mask is None, but the texts of this cache began with padding; give the mask of all tokens so far")
            return
        want = torch.tensor(tokens, device=mask.device) + count
        if not bool((mask.sum(1) == want).all()):
            raise ValueError(
                f"attention_mask has {mask.sum(1).tolist()} tokens in its rows, but this cache has read {before or 0} and {count} follow; padding stands only "
                "in what is read first, with logits_to_keep=1"
            )

    # What transformers asks of a cache.

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns of `input_ids` read so far, padding included."""
        return self._columns

    def get_max_length(self, layer_idx: int | None = None) -> int:
        longest = self.model.linformer.longest_text
        return -1 if longest is None else longest

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self._columns + query_length, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._select([row for row in range(self.batch_size) for _ in range(repeats)])

    def batch_select_indices(self, indices: Tensor) -> None:
        self._select(indices.tolist())

    def _select(self, rows: Sequence[int]) -> None:
        if list(rows) != list(range(self.batch_size)):
            self._reader.select(list(rows))

    def reset(self) -> None:
        self._columns = 0
        self._reader = self._new_reader()

    def crop(self, tokens_to_remove: int) -> NoReturn:
        raise ValueError("a LinformerCache can't take tokens back, since slots sum them up; copy.deepcopy(cache) before reading keeps a place to return to")

    def update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a LinformerCache takes no keys and values: the C++ decoder makes them")

    def __len__(self) -> int:
        return self.model.config.num_hidden_layers

    def __repr__(self) -> str:
        return f"LinformerCache({self.batch_size if self._columns else 0} texts, {self._columns} tokens, {self.bytes} bytes, {self._reader.description()})"

    @property
    def bytes(self) -> int:
        """Memory of the state, without the weights."""
        return self._reader.bytes()

    @property
    def batch_size(self) -> int:
        return len(self._reader.positions()) or -1

    @property
    def is_initialized(self) -> bool:
        return self._columns > 0

    is_compileable = False
    is_croppable = False

    # One entry: transformers asks whether all layers are of a kind.
    is_sliding = [False]
    is_linear = [False]
    is_dummy = [False]

    def __deepcopy__(self, memo: dict[int, Any]) -> LinformerCache:
        other = LinformerCache.__new__(LinformerCache)
        other.__dict__.update(self.__dict__)
        other._reader = self._reader.copy()
        return other

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LinformerCache can't be pickled; keep the ids that it has read")
