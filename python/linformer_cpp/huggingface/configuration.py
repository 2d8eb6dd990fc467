"""LinformerConfig, and how its names and those of the program belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from transformers import PreTrainedConfig

from .._load import native
from ..language_model import _config_text, _SECTION

__all__ = ["LinformerConfig"]

USUAL_NAMES = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "length": "max_position_embeddings",
    "tied": "tie_word_embeddings",
}
"""A field of [model] to what Hugging Face calls it. All other fields keep their names."""


def usual_name(field: str) -> str:
    return USUAL_NAMES.get(field, field)


@contextmanager
def usual_names() -> Iterator[None]:
    """Errors of the C++ library, which name "model.heads", name "num_attention_heads"."""
    try:
        yield
    except ValueError as error:
        told = re.sub(r"\b(?:model|attention)\.([a-z_]+)", lambda found: usual_name(found[1]) if found[1] in _SECTION else found[0], str(error))
        raise ValueError(told) from None


def usual_fields(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of a program's config.json, by their names here."""
    fields = {**sections["model"], **sections["attention"]}
    return {usual_name(field): None if value == "auto" else value for field, value in fields.items()}


class LinformerConfig(PreTrainedConfig):
    """What a Linformer is, under Hugging Face's names where there are some; `linformer train --help` explains the fields.

    The program's own names of these (`vocabulary`, `width`, `layers`, `heads`, `length`, `tied`) are accepted too, and so are `intermediate_size` for
    `feed_forward` and `num_key_value_heads` for `key_value_heads`. None is "auto"; a model writes the value that it took into its config.

    Args:
        vocab_size: V, the number of token ids. hidden_size: d. num_hidden_layers: blocks. num_attention_heads: H, divides d.
        max_position_embeddings: P, tokens of a training text, and the longest text unless no part of the model depends on positions.
        slots: K, which sum up what a window can't see. window: W; None: 64 when causal, less in short models; 0: slots alone.
        softmax_layers: layers that keep full softmax attention, from 0. kind: "softmax" makes all of them so: the standard Transformer.
        causal: False for LinformerForMaskedLM.

    Raises:
        ValueError: a value or a combination that is impossible; the message names the field.
    """

    model_type = "linformer"
    keys_to_ignore_at_inference = ["cache"]
    attribute_map = {**USUAL_NAMES, "intermediate_size": "feed_forward", "num_key_value_heads": "key_value_heads"}

    vocab_size: int = 50257
    hidden_size: int = 384
    num_hidden_layers: int = 6
    num_attention_heads: int = 6
    max_position_embeddings: int = 512
    tie_word_embeddings: bool = False
    key_value_heads: int = 0
    feed_forward_kind: Literal["gelu", "swiglu"] = "gelu"
    feed_forward: int = 0
    dropout: float = 0.0
    initializer_range: float = 0.02
    causal: bool = True
    bias: bool = True
    norm: Literal["layer", "rms"] = "layer"
    position: Literal["learned", "sinusoidal", "rotary", "none"] = "learned"
    rotary_base: float = 0.0
    kind: Literal["softmax", "linformer"] = "linformer"
    slots: int = 64
    slots_by_layer: Sequence[int] = ()
    softmax_layers: Sequence[int] = ()
    sharing: Literal["none", "headwise", "key-value", "layerwise"] = "headwise"
    projection: Literal["linear", "dynamic", "convolution", "mean", "max", "periodic", "gated", "cluster"] = "linear"
    period: int = 0
    projection_start: Literal["random", "means"] | None = None
    reassociate: bool = True
    window: int | None = None
    sinks: int = 0
    summary: Literal["running", "block"] = "running"
    normalise: Literal["none", "keys", "both"] | None = None
    slot_bias: float | Literal["none"] | None = None
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("slots_by_layer", "softmax_layers"):
            setattr(self, name, list(getattr(self, name)))  # as JSON gives them back
        with usual_names():
            native.resolved(self.program_text())

    def program_text(self) -> str:
        """The sections "model" and "attention" of the program's config.json, as JSON text."""
        return _config_text({field: getattr(self, usual_name(field)) for field in _SECTION})

    def take(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        """Sets the fields to those of a program's config.json."""
        for name, value in usual_fields(sections).items():
            setattr(self, name, value)

    @classmethod
    def from_program_text(cls, text: str, **more: Any) -> LinformerConfig:
        return cls(**usual_fields(json.loads(text)), **more)
