"""The models: a LinformerLM, with the calls, names and files that transformers expects.

Shape letters: B texts, N tokens, V vocabulary, d width.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast, MaskedLMOutput
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple

from .._load import native
from ..functional import linear_cross_entropy
from ..language_model import LinformerLM, _drawn_seed
from ..text import Tokenizer
from .cache import LinformerCache
from .configuration import LinformerConfig, usual_names
from .padding import check_labels, check_padding, check_shape, padding_on_the_left, rolled
from .sampling import sample

__all__ = ["LinformerForCausalLM", "LinformerForMaskedLM", "LinformerPreTrainedModel"]

Model = TypeVar("Model", bound="LinformerPreTrainedModel")

PREFIX = "linformer."
"""Before the name that a tensor has in the program's model.safetensors; all else of it is equal. Tied models have no output layer there."""
TIED = {PREFIX + "output.weight": PREFIX + "token_embedding.weight"}


class _Body(LinformerLM):
    """A LinformerLM whose parameters are not drawn, and whose embedding and output layer are modules that transformers can resize and tie."""

    token_embedding: nn.Embedding
    output: nn.Linear

    def __init__(self, config: LinformerConfig) -> None:
        nn.Module.__init__(self)
        with usual_names():
            text, shapes = native.shapes(config.program_text())
        self._set_up(text, [(name, torch.empty(shape)) for name, shape in shapes], None)
        vocabulary, width = config.vocab_size, config.hidden_size
        embedding = nn.Embedding(vocabulary, width, device="meta")
        embedding.weight = self.token_embedding.weight
        output = nn.Linear(width, vocabulary, bias=False, device="meta")
        output.weight = embedding.weight if self.config["model"]["tied"] else self.output.weight
        self.token_embedding, self.output = embedding, output

    def put(self, name: str, module: nn.Module) -> None:
        """In the place of the embedding or the output layer, of any number of rows."""
        setattr(self, name, module)
        self.config["model"]["vocabulary"] = self.token_embedding.weight.shape[0]
        self._forget()


class LinformerPreTrainedModel(PreTrainedModel):
    """What the models here share. `model.linformer` is the LinformerLM, with its own `generate` and `stream`."""

    config_class = LinformerConfig
    base_model_prefix = "linformer"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True  # num_items_in_batch
    _tied_weights_keys = TIED
    _no_split_modules = ["_Body"]
    _causal: bool

    def __init__(self, config: LinformerConfig) -> None:
        super().__init__(config)
        if config.causal is not self._causal:
            other = LinformerForMaskedLM if self._causal else LinformerForCausalLM
            raise ValueError(f"causal is {config.causal}, but {type(self).__name__} needs LinformerConfig(causal={self._causal}); see {other.__name__}")
        self.gradient_checkpointing = False
        self.linformer = _Body(config)
        config.take(self.linformer.config)
        self._first_weights: dict[str, Tensor] | None = None
        self.post_init()

    # First weights are those that LinformerLM draws. transformers asks for them module by module, and only where a file has none.

    def _init_weights(self, module: nn.Module) -> None:
        place = next((name for name, other in self.linformer.named_modules() if other is module), None)
        if place is None:  # a layer that is being resized
            super()._init_weights(module)
            return
        for leaf, parameter in module.named_parameters(recurse=False):
            if getattr(parameter, "_is_hf_initialized", False):
                continue
            if self._first_weights is None:
                self._first_weights = dict(native.drawn(self.config.program_text(), _drawn_seed())[1])
            drawn = self._first_weights.get(f"{place}.{leaf}")
            if drawn is not None:  # else it is the output layer, tied to the embedding
                parameter.copy_(drawn)

    def initialize_weights(self) -> None:
        super().initialize_weights()
        self._first_weights = None

    def get_input_embeddings(self) -> nn.Module:
        return self.linformer.token_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.linformer.put("token_embedding", value)

    def get_output_embeddings(self) -> nn.Module:
        return self.linformer.output

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.linformer.put("output", new_embeddings)

    @classmethod
    def from_linformer(cls: type[Model], folder: str | os.PathLike[str]) -> Model:
        """The model of a run, a checkpoint or a folder of the program `linformer`, for evaluation, as `from_pretrained` gives it.

        The end of text of the folder's tokenizer becomes `eos_token_id`. ValueError for a folder that is none, or whose files are damaged.
        """
        text, parameters, tokenizer = native.load(os.fspath(folder))
        end = None if tokenizer == "null" else Tokenizer.from_json(tokenizer).end_of_text
        config = LinformerConfig.from_program_text(text, eos_token_id=end)
        with torch.device("meta"):
            model = cls(config)
        state = {PREFIX + name: tensor for name, tensor in parameters}
        if config.tie_word_embeddings:
            state.update({target: state[source] for target, source in TIED.items()})
        model.load_state_dict(state, assign=True)
        model.tie_weights()
        return model.eval()

    def save_linformer(self, folder: str | os.PathLike[str], tokenizer: Tokenizer | None = None) -> None:
        """Writes a folder that the program `linformer` and `LinformerLM.from_pretrained` read, in float32.

        `tokenizer` is a linformer_cpp.Tokenizer, without which the program can't read text. ValueError for one of another vocabulary.
        """
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            raise TypeError(f"tokenizer is of type {type(tokenizer).__name__}, expected a linformer_cpp.Tokenizer or None")
        if tokenizer is not None and len(tokenizer) != self.config.vocab_size:
            raise ValueError(f"tokenizer has {len(tokenizer)} ids, but vocab_size is {self.config.vocab_size}")
        os.makedirs(folder, exist_ok=True)
        self.linformer._native().save(os.fspath(folder), "null" if tokenizer is None else tokenizer.to_json())

    def _ids(self, input_ids: Tensor | None, unused: Mapping[str, Any]) -> Tensor:
        """input_ids after the checks that it is there, and that nothing was given that the model would have to ignore."""
        asked = {name: value for name, value in unused.items() if value is not None and value is not False}
        for name in ("output_hidden_states", "output_attentions"):
            if name in asked or getattr(self.config, name, False):
                raise ValueError(f"{name} is True, but the C++ model gives out no layer; leave it out (attention weights: `linformer inspect`)")
        types = asked.pop("token_type_ids", None)
        if types is not None and bool(types.any()):
            raise ValueError("token_type_ids has other types than 0, but the model knows one kind of text; give one text a row")
        if asked:
            names = ", ".join(asked)
            raise TypeError(f"{type(self).__name__} has no argument {names}: it reads input_ids (texts, tokens), and positions follow from attention_mask")
        if not isinstance(input_ids, Tensor):
            raise TypeError(f"input_ids is of type {type(input_ids).__name__}, expected a torch.Tensor")
        if input_ids.dim() != 2 or input_ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"input_ids is {input_ids.dtype} of shape {tuple(input_ids.shape)}, expected torch.int64 of shape (texts, tokens)")
        return input_ids.long()

    @property
    def _recomputes(self) -> bool:
        """Whether blocks are computed again in the backward pass."""
        return self.gradient_checkpointing and self.training

    def _loss_and_logits(
        self, ids: Tensor, targets: Tensor, items: Tensor | int | None, skip_logits: bool | None, **mask: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The mean over all targets, or their sum divided by `items`; logits (B,N,V) or None."""
        checkpoint = self._recomputes
        if skip_logits is None:
            skip_logits = self.training
        hidden = None
        with usual_names():
            if skip_logits:
                loss = self.linformer(ids, targets, checkpoint=checkpoint, **mask)
            else:
                hidden = self.linformer.hidden(ids, checkpoint=checkpoint, **mask)
                loss = linear_cross_entropy(hidden, self.linformer.output.weight.to(hidden.dtype), targets)
        if items is not None:
            count = (targets != -100).sum()
            loss = torch.where(count > 0, loss * count, torch.zeros_like(loss)) / items
        return loss, None if hidden is None else F.linear(hidden, self.linformer.output.weight)


class LinformerForCausalLM(LinformerPreTrainedModel, GenerationMixin):
    """A causal Linformer or Transformer. `generate` runs it with the C++ decoder: see LinformerCache.

    Assisted generation is refused, since slots can't take tokens back.
    """

    _is_stateful = True
    _causal = True

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        cache: LinformerCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        past_key_values: LinformerCache | None = None,
        **unused: Any,
    ) -> CausalLMOutputWithPast:
        """input_ids (B,N) → logits (B,N,V); with `labels` the loss, in nats a token.

        Args:
            attention_mask: (B,N) 1 = a token, 0 = padding, before the text or after it. Padding on the left is left out, so a text gives what it gives alone.
            labels: (B,N), −100 where there is none; shifted here, so `labels=input_ids` trains on each next token. Padding on the left predicts nothing.
            cache: continues its texts, without gradients. `past_key_values` is the old name. use_cache: makes one.
            logits_to_keep: gives only the last so many logits, or those of these places; 0: all.
            skip_logits: with labels gives no logits, which saves their memory; None: in training.
            num_items_in_batch: divides the sum of the losses, in place of the number of labels.

        Raises:
            ValueError: an id outside the vocabulary, a text longer than the model reads, padding amid a text, wrong shapes or dtypes.
            TypeError: an argument that the model would have to ignore, such as `position_ids` or `inputs_embeds`.
        """
        ids = self._ids(input_ids, unused)
        cache = cache if cache is not None else past_key_values
        if cache is not None or use_cache:
            return self._read(ids, attention_mask, labels, cache, logits_to_keep)
        left = padding_on_the_left(attention_mask, ids)
        if left is not None:
            ids = rolled(ids, left)
        if labels is not None:
            targets = F.pad(check_labels(labels, ids)[:, 1:], (0, 1), value=-100)
            if left is not None:
                assert attention_mask is not None
                targets = rolled(targets.masked_fill(attention_mask.eq(0), -100), left)
            loss, logits = self._loss_and_logits(ids, targets, num_items_in_batch, skip_logits)
            if logits is not None:
                logits = slice_logits_to_keep(logits if left is None else rolled(logits, -left), logits_to_keep)
            return CausalLMOutputWithPast(loss=loss, logits=logits)
        checkpoint = self._recomputes
        with usual_names():
            if isinstance(logits_to_keep, int) and logits_to_keep == 0:
                logits = self.linformer(ids, checkpoint=checkpoint)
                return CausalLMOutputWithPast(logits=logits if left is None else rolled(logits, -left))
            hidden = self.linformer.hidden(ids, checkpoint=checkpoint)
        kept = slice_logits_to_keep(hidden if left is None else rolled(hidden, -left), logits_to_keep)
        return CausalLMOutputWithPast(logits=F.linear(kept, self.linformer.output.weight))

    def _read(self, ids: Tensor, mask: Tensor | None, labels: Tensor | None, cache: LinformerCache | None, keep: int | Tensor) -> CausalLMOutputWithPast:
        if labels is not None:
            raise ValueError("labels are given with a cache, which is read without gradients; leave out cache and use_cache, or labels")
        if cache is None:
            cache = LinformerCache(self)
        self._check_cache(cache)
        if mask is not None:
            columns = cache.get_seq_length() + ids.shape[1]
            if mask.dim() != 2 or mask.shape != (ids.shape[0], columns):
                raise ValueError(f"attention_mask has shape {tuple(mask.shape)}, expected {(ids.shape[0], columns)}: all tokens so far and these")
            check_padding(mask)
        last = isinstance(keep, int) and keep == 1
        with usual_names():
            logits = cache.read(ids, mask, not last)
        return CausalLMOutputWithPast(logits=logits if last else slice_logits_to_keep(logits, keep), cache=cache)

    def _check_cache(self, cache: Any) -> None:
        if not isinstance(cache, LinformerCache):
            raise TypeError(f"cache is of type {type(cache).__name__}, expected a linformer_cpp.huggingface.LinformerCache")
        if cache.model is not self:
            raise ValueError("cache is that of another model; make one with LinformerCache(model)")

    # What `generate` asks of a model.

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        cache: LinformerCache | None = None,
        attention_mask: Tensor | None = None,
        is_first_iteration: bool = False,
        **more: Any,
    ) -> dict[str, Any]:
        ids = input_ids if next_sequence_length is None else input_ids[:, -next_sequence_length:]
        more.pop("labels", None)
        return {"input_ids": ids.to(self.device), "cache": cache, "attention_mask": attention_mask, **more}

    def _sample(
        self,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        synced_gpus: bool = False,
        streamer: Any = None,
        **inputs: Any,
    ) -> Any:
        if synced_gpus:
            raise ValueError("synced_gpus is True, but the C++ decoder reads whole weights; generate from a model that is not sharded")
        with usual_names():
            return sample(self, input_ids, logits_processor, stopping_criteria, generation_config, streamer, inputs)

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], generation_mode: Any, batch_size: int, max_cache_length: int
    ) -> None:
        if generation_config.cache_implementation is not None:
            raise ValueError(f"cache_implementation is {generation_config.cache_implementation!r}, but a Linformer has a cache of its own; leave it out")
        longest = self.linformer.longest_text
        if longest is not None and max_cache_length > longest:
            raise ValueError(
                f"the text may get {max_cache_length + 1} tokens long, but the model reads at most {longest} (max_position_embeddings): give a shorter prompt, "
                f"or max_length={longest + 1} or less"
            )
        cache = model_kwargs.get("cache")
        if cache is not None:
            self._check_cache(cache)
            cache._is_user_defined = True
        elif generation_config.use_cache is not False:
            model_kwargs["cache"] = LinformerCache(self)


class LinformerForMaskedLM(LinformerPreTrainedModel):
    """A bidirectional Linformer or Transformer that says what stands behind hidden tokens."""

    _causal = False

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        skip_logits: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **unused: Any,
    ) -> MaskedLMOutput:
        """input_ids (B,N) → logits (B,N,V); with `labels` the loss, in nats a token.

        Args:
            attention_mask: (B,N) 1 = a token, 0 = padding, which no token sees.
            labels: (B,N), the ids of hidden tokens, −100 elsewhere.
            skip_logits, num_items_in_batch: as in LinformerForCausalLM.

        Raises:
            ValueError, TypeError: as in LinformerForCausalLM.
        """
        ids = self._ids(input_ids, unused)
        mask = {}
        if attention_mask is not None:
            check_shape(attention_mask, ids)
            mask["padding_mask"] = attention_mask == 0
        if labels is not None:
            loss, logits = self._loss_and_logits(ids, check_labels(labels, ids), num_items_in_batch, skip_logits, **mask)
            return MaskedLMOutput(loss=loss, logits=logits)
        with usual_names():
            return MaskedLMOutput(logits=self.linformer(ids, checkpoint=self._recomputes, **mask))
