"""The language model of the program `linformer`, as a module of PyTorch.

There is one model: the module holds the parameters, and the C++ library computes with these very tensors. Shape letters: B texts, N tokens, V vocabulary,
d width.
"""

from __future__ import annotations

import functools
import json
import operator
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ._load import native
from .text import Tokenizer

__all__ = ["Generated", "LinformerLM"]

Model = TypeVar("Model", bound="LinformerLM")
_SECTION = {name.partition(".")[2]: name.partition(".")[0] for name, *_ in native.fields()}
"""Field to its section in a config file: "width" → "model", "slots" → "attention"."""


@dataclass(frozen=True)
class Generated:
    """What `LinformerLM.generate` made of one prompt."""

    text: str
    """Without the prompt and without the stop text; empty for prompts of ids."""
    tokens: list[int]
    """Every id that was drawn, those of a stop text and of the end of text included."""
    stopped: bool
    """By a stop text or the end of text; otherwise `max_tokens` were made."""


def _untraced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.compiler.disable, but it loads the compiler, which takes a second, only where that is there already."""
    untraced: Callable[..., Tensor] | None = None

    @functools.wraps(function)
    def call(*arguments: Any) -> Tensor:
        nonlocal untraced
        if untraced is None:
            if "torch._dynamo" not in sys.modules:
                return function(*arguments)
            untraced = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        return untraced(*arguments)

    return call


class _Part(nn.Module):
    """A place for parameters. The C++ library computes, so it has no `forward`, and hooks on it are not called."""

    def extra_repr(self) -> str:
        return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in self._parameters.items() if tensor is not None)


class LinformerLM(nn.Module):
    """A Linformer or Transformer language model, causal or masked.

    The fields are those of [model] and [attention] in a config file of the program, with the same names, defaults and meanings (`linformer train --help`,
    docs/model_format.md); None is "auto" there. Names of parameters are those of `model.safetensors`.

    `model(ids)` gives logits, `model(ids, targets)` the loss. Both take part in autograd, in autocast, and in any optimiser. Calls are opaque to
    `torch.compile`, which leaves them as they are.

    Args:
        vocabulary: V, the number of token ids.
        length: P, tokens of a training text, and the longest text unless no part of the model depends on positions (`longest_text`).
        width: d. heads: H, divides the width. layers: blocks.
        slots: K, which sum up what a window can't see. window: W; None: 64 when causal, less in short models; 0: slots alone.
        softmax_layers: layers that keep full softmax attention, from 0. kind: "softmax" makes all of them so: the standard Transformer.
        seed: of the first weights; None: drawn from PyTorch's generator, so that `torch.manual_seed` decides.
        tokenizer: for `generate` with text, and saved with the model.

    Raises:
        TypeError: an unknown field, or a value of a wrong type. ValueError: a value or a combination that is impossible; the message names the field.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int = 512,
        width: int = 384,
        layers: int = 6,
        heads: int = 6,
        key_value_heads: int = 0,
        feed_forward_kind: Literal["gelu", "swiglu"] = "gelu",
        feed_forward: int = 0,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        tied: bool = False,
        causal: bool = True,
        bias: bool = True,
        norm: Literal["layer", "rms"] = "layer",
        position: Literal["learned", "sinusoidal", "rotary", "none"] = "learned",
        rotary_base: float = 0.0,
        kind: Literal["softmax", "linformer"] = "linformer",
        slots: int = 64,
        slots_by_layer: Sequence[int] = (),
        softmax_layers: Sequence[int] = (),
        sharing: Literal["none", "headwise", "key-value", "layerwise"] = "headwise",
        projection: Literal["linear", "dynamic", "convolution", "mean", "max", "periodic", "gated", "cluster"] = "linear",
        period: int = 0,
        projection_start: Literal["random", "means"] | None = None,
        reassociate: bool = True,
        window: int | None = None,
        sinks: int = 0,
        summary: Literal["running", "block"] = "running",
        normalise: Literal["none", "keys", "both"] | None = None,
        slot_bias: float | Literal["none"] | None = None,
        seed: int | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        given = dict(locals())
        super().__init__()
        fields = {name: value for name, value in given.items() if name in _SECTION}
        if seed is None:
            seed = _drawn_seed()
        config, parameters = native.drawn(_config_text(fields), _whole("seed", seed))
        self._set_up(config, parameters, tokenizer)

    def _set_up(self, config: str, parameters: list[tuple[str, Tensor]], tokenizer: Tokenizer | None) -> None:
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            raise TypeError(f"tokenizer is of type {type(tokenizer).__name__}, expected a linformer_cpp.Tokenizer or None")
        self.config: dict[str, dict[str, Any]] = json.loads(config)
        """The sections "model" and "attention", every automatic value filled in."""
        self.tokenizer = tokenizer
        self._names = [name for name, _ in parameters]
        for name, tensor in parameters:
            part: nn.Module = self
            *path, leaf = name.split(".")
            for step in path:
                if step not in part._modules:
                    part.add_module(step, _Part())
                part = part.get_submodule(step)
            part.register_parameter(leaf, nn.Parameter(tensor.detach()))
        self._forget()

    # The C++ model holds the parameters' tensors, and is made again whenever they are others: after deepcopy, load_state_dict(assign=True),
    # torch.func.functional_call, a move to another device or dtype.

    def _forget(self) -> None:
        self._model: native.Model | None = None
        self._parts: list[tuple[nn.Module, str]] | None = None
        self._held: list[Any] = []
        self._held_as: tuple[torch.dtype, torch.device] | None = None

    def _native(self) -> native.Model:
        if self._parts is None:
            places = [name.rpartition(".") for name in self._names]
            self._parts = [(self.get_submodule(path), leaf) for path, _, leaf in places]
        tensors: list[Any] = [part._parameters.get(leaf) for part, leaf in self._parts]
        if any(tensor is None for tensor in tensors):  # torch.nn.utils.parametrize makes them properties
            tensors = [getattr(part, leaf) for part, leaf in self._parts]
        held_as = tensors[0].dtype, tensors[0].device
        if self._model is None or self._held_as != held_as or any(a is not b for a, b in zip(tensors, self._held)):
            self._model = native.Model(json.dumps(self.config), list(zip(self._names, tensors)))
            self._held, self._held_as = tensors, held_as
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.update(_model=None, _parts=None, _held=[], _held_as=None)
        return state

    def extra_repr(self) -> str:
        model, attention = self.config["model"], self.config["attention"]
        names = ["vocabulary", "length", "width", "layers", "heads"]
        parts = [f"{name}={model[name]}" for name in names]
        if attention["kind"] == "linformer":
            parts += [f"{name}={attention[name]!r}" for name in ("slots", "window", "projection")]
        return ", ".join([*parts, f"kind={attention['kind']!r}"])

    @property
    def longest_text(self) -> int | None:
        """Tokens of the longest text that the model reads; None where nothing bounds it."""
        found = self._native().longest_text()
        return None if found == 2**63 - 1 else found

    def _options(self, ids: Tensor, padding_mask: Tensor | None, checkpoint: bool) -> tuple[int | None, bool, Tensor | None]:
        """After the checks: the seed of dropout or None, and the others, as the C++ model takes them."""
        if not isinstance(ids, Tensor):
            raise TypeError(f"ids is of type {type(ids).__name__}, expected a torch.Tensor")
        if ids.dim() != 2 or ids.dtype != torch.int64:
            raise ValueError(f"ids is {ids.dtype} of shape {tuple(ids.shape)}, expected torch.int64 of shape (texts, tokens)")
        if padding_mask is not None:
            if padding_mask.dtype != torch.bool or padding_mask.shape != ids.shape:
                raise ValueError(f"padding_mask is {padding_mask.dtype} of shape {tuple(padding_mask.shape)}, expected torch.bool of shape {tuple(ids.shape)}, true = padding")
            if self.config["model"]["causal"]:
                raise ValueError("padding_mask is for models with causal=False; a causal one needs none where padding stands at the end")
        drops = self.training and self.config["model"]["dropout"] > 0
        return _drawn_seed() if drops else None, checkpoint, padding_mask

    def forward(self, ids: Tensor, targets: Tensor | None = None, *, padding_mask: Tensor | None = None, checkpoint: bool = False) -> Tensor:
        """ids (B,N) int64 → logits (B,N,V); with `targets` (B,N) int64 the mean loss over them, in nats, which needs far less memory.

        Args:
            targets: the ids to predict, −100 where there is none: of a causal model those that follow `ids`, of a masked one those that were hidden.
            padding_mask: (B,N) bool, true = padding; for models that are not causal.
            checkpoint: the backward pass computes each block again in place of keeping it.

        Raises:
            ValueError: an id outside the vocabulary, a text longer than `longest_text`, wrong shapes or dtypes.
        """
        return self._computed(self._logits_or_loss, ids, targets, padding_mask, checkpoint)

    @_untraced
    def _computed(self, compute: Callable[..., Tensor], *arguments: Any) -> Tensor:
        return compute(*arguments)

    def _logits_or_loss(self, ids: Tensor, targets: Tensor | None, padding_mask: Tensor | None, checkpoint: bool) -> Tensor:
        options = self._options(ids, padding_mask, checkpoint)
        model = self._native()
        if targets is None:
            return model.logits(ids, *options)
        if not isinstance(targets, Tensor):
            raise TypeError(f"targets is of type {type(targets).__name__}, expected a torch.Tensor")
        if targets.shape != ids.shape or targets.dtype != torch.int64:
            raise ValueError(f"targets is {targets.dtype} of shape {tuple(targets.shape)}, expected torch.int64 of shape {tuple(ids.shape)}, as ids")
        return model.loss(ids, targets, *options, self._product_dtype())

    def hidden(self, ids: Tensor, *, padding_mask: Tensor | None = None, checkpoint: bool = False) -> Tensor:
        """ids (B,N) → (B,N,d) after the last norm. Arguments and errors as in `forward`."""
        return self._computed(self._hidden, ids, padding_mask, checkpoint)

    def _hidden(self, ids: Tensor, padding_mask: Tensor | None, checkpoint: bool) -> Tensor:
        options = self._options(ids, padding_mask, checkpoint)
        return self._native().hidden(ids, *options)

    def _product_dtype(self) -> torch.dtype:
        assert self._held_as is not None
        dtype, device = self._held_as
        if dtype != torch.float64 and torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return dtype

    @classmethod
    def from_pretrained(cls: type[Model], folder: str | os.PathLike[str]) -> Model:
        """The model of a run, a checkpoint or `save_pretrained`: config.json, model.safetensors and, if there is one, tokenizer.json.

        ValueError for a folder that is none, or whose files are damaged or don't belong together.
        """
        config, parameters, tokenizer = native.load(os.fspath(folder))
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model._set_up(config, parameters, None if tokenizer == "null" else Tokenizer.from_json(tokenizer))
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes a folder that the program and `from_pretrained` read, in float32; makes it if it is not there. Each file is whole or not written."""
        os.makedirs(folder, exist_ok=True)
        self._native().save(os.fspath(folder), "null" if self.tokenizer is None else self.tokenizer.to_json())

    def generate(
        self,
        prompts: str | Sequence[str] | Tensor | Sequence[Sequence[int]],
        *,
        max_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        samples: int = 1,
        seed: int | None = None,
        overflow: Literal["error", "slide"] = "error",
        weights: Literal["auto", "float32", "bfloat16", "int8"] = "auto",
        prompt_dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Generated]:
        """Continues each prompt, by the C++ decoder; a model whose layers all have slots needs constant memory and time a token.

        Args:
            prompts: a text, several, or ids: (B,N) or (N) int64, or lists of ids of any lengths.
            max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, stop: as the program's flags (`linformer generate --help`).
            samples: of each prompt. seed: with equal seeds the same is made; None: drawn from PyTorch's generator.
            overflow: "slide" reads the last half of the text again where it gets longer than the model's length.
            weights: format while tokens are made; "auto": float32 for small models, by the processor for large ones.
            prompt_dtype: of products that read prompts; "auto": by `weights` and the processor.
            on_text: is given the number of the sample and each piece of its text as soon as it is certain. What it raises ends the generation.

        Returns:
            One Generated a sample; those of prompt p are p·samples and following.

        Raises:
            ValueError: no tokenizer for text, an empty prompt, a value that is out of range, a text that gets too long, or a model that is not causal.
        """
        texts, tokenizer = self._prompts(prompts)
        plain = tokenizer is self.tokenizer
        sampling = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "stop": [stop] if isinstance(stop, str) else list(stop),
        }
        if not plain and (sampling["stop"] or on_text is not None):
            raise ValueError("stop and on_text are texts, but the prompts are ids; leave them out, or give prompts as text")
        show = None
        if on_text is not None:
            given = on_text

            def show(sequence: int, piece: bytes) -> None:
                given(sequence, piece.decode("utf-8", "replace"))

        made = self._native().generate(
            tokenizer._native,
            texts,
            json.dumps({"generate": {name: _plain(name, value) for name, value in sampling.items()}}),
            _whole("seed", _drawn_seed() if seed is None else seed),
            _whole("samples", samples),
            overflow,
            weights,
            prompt_dtype,
            show,
        )
        return [Generated(text.decode("utf-8", "replace") if plain else "", list(tokens), stopped) for text, tokens, stopped in made]

    def _prompts(self, prompts: Any) -> tuple[list[bytes], Tokenizer]:
        if isinstance(prompts, str):
            prompts = [prompts]
        if isinstance(prompts, Tensor):
            prompts = prompts.tolist() if prompts.dim() > 1 else [prompts.tolist()]
        prompts = list(prompts)
        if all(isinstance(prompt, str) for prompt in prompts):
            if self.tokenizer is None:
                raise ValueError("the model has no tokenizer to read text with; set model.tokenizer, or give prompts of ids")
            return [prompt.encode("utf-8", "surrogateescape") for prompt in prompts], self.tokenizer
        size = self.config["model"]["vocabulary"]
        texts = []
        for number, prompt in enumerate(prompts):
            if isinstance(prompt, str | bytes) or not isinstance(prompt, Sequence | Tensor):
                raise TypeError(f"prompt {number} is of type {type(prompt).__name__}, expected all texts, or all lists of ids")
            ids = [_whole(f"an id of prompt {number}", i) for i in (prompt.tolist() if isinstance(prompt, Tensor) else prompt)]
            wrong = [i for i in ids if not 0 <= i < size]
            if wrong:
                raise ValueError(f"prompt {number} has id {wrong[0]}, outside the vocabulary of {size} ids")
            texts.append("".join(f"{i} " for i in ids).encode())
        return texts, Tokenizer(native.Tokenizer.numbers(size))

    def stream(self, prompt: str, **options: Any) -> Iterator[str]:
        """The pieces of one text as they are made: `for piece in model.stream("Once"): print(piece, end="")`. To leave the loop ends the generation.

        Options and errors are those of `generate`, without `samples` and `on_text`; errors come with the first piece.
        """
        for name in ("samples", "on_text"):
            if name in options:
                raise TypeError(f"stream has no option {name}: it gives the pieces of one text")
        if not isinstance(prompt, str):
            raise TypeError(f"prompt is of type {type(prompt).__name__}, expected a str")
        if options.get("seed") is None:
            options["seed"] = _drawn_seed()  # in this thread, whose random numbers they are
        return self._pieces(prompt, options)

    def _pieces(self, prompt: str, options: Mapping[str, Any]) -> Iterator[str]:
        pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        left = threading.Event()

        def put(_: int, piece: str) -> None:
            if left.is_set():
                raise _Left
            pieces.put(piece)

        def make() -> None:
            try:
                self.generate(prompt, on_text=put, **options)
                pieces.put(None)
            except _Left:
                pass
            except BaseException as error:  # goes to who reads
                pieces.put(error)

        maker = threading.Thread(target=make, name="linformer_cpp.stream", daemon=True)
        maker.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            left.set()
            maker.join()


class _Left(Exception):
    """The reader of a stream has gone."""


def _drawn_seed() -> int:
    return int(torch.randint(2**63 - 1, ()).item())


def _whole(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, expected an int") from None
    if not 0 <= number < 2**63:
        raise ValueError(f"{name} is {number}, expected 0 or more, and below 2^63")
    return number


def _plain(name: str, value: Any) -> Any:
    """What JSON has for it; numbers of other libraries, such as numpy's, become Python's."""
    if value is None:
        return "auto"
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Sequence | Tensor):
        return [_plain(name, entry) for entry in (value.tolist() if isinstance(value, Tensor) else value)]
    for kind in (operator.index, float):
        try:
            number = kind(value)
        except (TypeError, ValueError):
            continue
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError(f"{name} is {value!r}, expected a finite number")
        return number
    raise TypeError(f"{name} is {value!r} of type {type(value).__name__}, expected a number, a bool, a text, a list of ints or None")


def _config_text(fields: Mapping[str, Any]) -> str:
    sections: dict[str, dict[str, Any]] = {"model": {}, "attention": {}}
    for name, value in fields.items():
        sections[_SECTION[name]][name] = _plain(name, value)
    return json.dumps(sections)
