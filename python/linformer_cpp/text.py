"""Text as the program `linformer` sees it: tokenizers, and folders that `linformer prepare` made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ._load import native

__all__ = ["TokenFile", "Tokenizer"]


class Tokenizer:
    """Text to ids and back, without loss: any bytes have ids. `Tokenizer.load` makes one; it doesn't change, and can be copied and pickled."""

    def __init__(self, made: native.Tokenizer) -> None:
        if not isinstance(made, native.Tokenizer):
            raise TypeError(f"a Tokenizer is made by Tokenizer.load(name_or_path), not of {type(made).__name__}")
        self._native = made

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Tokenizer:
        """Makes a tokenizer.

        Args:
            name_or_path: "bytes"; a rank file `.tiktoken`; a folder with `encoder.json` and `vocab.bpe`; or the `tokenizer.json` of a model or of prepared text.

        Raises:
            ValueError: no such file, or one that is damaged or of another program.
        """
        return cls(native.Tokenizer.load(os.fspath(name_or_path)))

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Of the content of a tokenizer.json. ValueError for anything else."""
        return cls(native.Tokenizer.from_json(text))

    def to_json(self) -> str:
        """The whole vocabulary, as tokenizer.json has it."""
        return self._native.to_json()

    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text, as tiktoken's `encode_ordinary` gives them for the same vocabulary."""
        return self.encode_tensor(text).tolist()

    def encode_tensor(self, text: str | bytes) -> Tensor:
        """The same as (tokens) int64. A long text is shared out to PyTorch's threads."""
        if not isinstance(text, str | bytes):
            raise TypeError(f"text is of type {type(text).__name__}, expected str or bytes")
        return self._native.encode(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD. ValueError for an id outside the vocabulary."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int] | Tensor) -> bytes:
        """The exact bytes of ids."""
        numbers = ids.flatten().tolist() if isinstance(ids, Tensor) else [int(i) for i in ids]
        for number in numbers:
            if not 0 <= number < len(self):
                raise ValueError(f"id {number} is outside the vocabulary of {len(self)} ids")
        return self._native.decode(numbers)

    def __len__(self) -> int:
        """The number of ids."""
        return self._native.size()

    @property
    def name(self) -> str:
        """Such as "gpt2", "bytes" or "gpt2-corpus"."""
        return self._native.name()

    @property
    def hash(self) -> str:
        """SHA-256 of the vocabulary as a `.tiktoken` file."""
        return self._native.hash()

    @property
    def end_of_text(self) -> int | None:
        """The id that stands for the end of a text, if there is one."""
        return self._native.end_of_text()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and (self.hash, len(self), self.name) == (other.hash, len(other), other.name)

    def __hash__(self) -> int:
        return hash((self.hash, len(self)))

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, {len(self)} ids)"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Tokenizer.from_json, (self.to_json(),)


class TokenFile(Dataset[tuple[Tensor, Tensor]]):
    """A folder that `linformer prepare` made, as a Dataset: pairs of ids (length) and their next ids (length), int64.

    The file is mapped into memory, so that it may be larger than that, and workers of a DataLoader share it.

    Args:
        folder: with tokens.bin and tokenizer.json.
        length: tokens of a window.
        split: the part "train" or "validation".
        stride: tokens from the start of a window to that of the next. None is `length`: each token but the first is a target once. 1 has every window
            there is; draw from it by `RandomSampler(data, replacement=True, num_samples=…)`, since a shuffled list of all windows is long.

    Raises:
        ValueError: a folder that is no such one or damaged, a wrong split, or fewer than length + 1 tokens.
    """

    def __init__(self, folder: str | os.PathLike[str], length: int, *, split: Literal["train", "validation"] = "train", stride: int | None = None) -> None:
        if split not in ("train", "validation"):
            raise ValueError(f"split is {split!r}, expected 'train' or 'validation'")
        stride = length if stride is None else stride
        for name, value in ("length", length), ("stride", stride):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is {value!r}, expected an int")
            if value < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more")
        self.folder, self.length, self.split, self.stride = os.path.abspath(os.fspath(folder)), length, split, stride
        self._native = native.TokenData.open(self.folder)
        self.size: int = self._native.size(split == "validation")
        """Tokens of the part."""
        if self.size <= length:
            raise ValueError(f"{self.folder} has {self.size} tokens of {split}, expected more than length {length}")

    def __len__(self) -> int:
        return (self.size - 1 - self.length) // self.stride + 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        both = self.tokens(place * self.stride, self.length + 1)
        return both[:-1], both[1:]

    def tokens(self, offset: int, count: int) -> Tensor:
        """`count` ids from `offset` of the part on, (count) int64. ValueError where it has not as many."""
        return self._native.tokens(self.split == "validation", offset, count)

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the folder."""
        return Tokenizer(self._native.tokenizer())

    def __repr__(self) -> str:
        return f"TokenFile({self.folder!r}, {self.length}, split={self.split!r}, stride={self.stride}): {len(self)} windows of {self.size} tokens"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _open, (self.folder, self.length, self.split, self.stride)


def _open(folder: str, length: int, split: Literal["train", "validation"], stride: int) -> TokenFile:
    return TokenFile(folder, length, split=split, stride=stride)
