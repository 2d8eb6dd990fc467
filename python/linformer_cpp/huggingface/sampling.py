"""The loop of `generate` that makes one token after the other, with little work beside the decoder's.

It does what transformers' own does, step for step, and gives the same ids where the likeliest are taken. Samples are drawn by one random number each, from
the sums of the probabilities; torch.multinomial draws one for each id of the vocabulary, which takes longer than a small model does.
Shape letters: B texts, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, MaxLengthCriteria, StoppingCriteriaList
from transformers.generation import GenerateDecoderOnlyOutput

if TYPE_CHECKING:
    from .modelling import LinformerForCausalLM

__all__ = ["draw", "sample"]


def draw(scores_BV: Tensor) -> Tensor:
    """(B) ids, each with the probability that the softmax of its row gives it; those of −∞ never."""
    sums = torch.softmax(scores_BV, -1).cumsum(-1, dtype=torch.float64)
    total = sums[:, -1:]
    if not bool(total.isfinite().all()):
        raise ValueError("a logit is NaN, or all are -inf: no id can be drawn")
    place = torch.rand_like(total) * total
    return torch.searchsorted(sums, torch.minimum(place, torch.nextafter(total, torch.zeros_like(total))), right=True).squeeze(1)


class _Kept:
    """What the caller wants to see of each step."""

    def __init__(self, config: GenerationConfig) -> None:
        self.scores: tuple[Tensor, ...] | None = () if config.return_dict_in_generate and config.output_scores else None
        self.logits: tuple[Tensor, ...] | None = () if config.return_dict_in_generate and config.output_logits else None

    def add(self, logits: Tensor, scores: Tensor) -> None:
        if self.scores is not None:
            self.scores += (scores,)
        if self.logits is not None:
            self.logits += (logits,)


def sample(
    model: LinformerForCausalLM,
    ids: Tensor,
    processors: LogitsProcessorList,
    criteria: StoppingCriteriaList,
    config: GenerationConfig,
    streamer: Any,
    inputs: dict[str, Any],
) -> Tensor | GenerateDecoderOnlyOutput:
    """Continues texts (B,N) until `criteria` end them; arguments are those of GenerationMixin._sample."""
    cache, mask = inputs.get("cache"), inputs.get("attention_mask")
    kept = _Kept(config)
    limit = criteria[0].max_length if len(criteria) == 1 and type(criteria[0]) is MaxLengthCriteria else None
    ends = any(hasattr(rule, "eos_token_id") for rule in criteria)
    pad = config._pad_token_tensor
    unfinished = torch.ones(len(ids), dtype=torch.int64, device=ids.device)
    logits = model._prefill(ids, config, inputs, is_first_iteration=True).logits[:, -1]
    while True:
        logits = logits.to(device=ids.device, dtype=torch.float32, copy=kept.logits is not None)
        scores = logits.clone() if kept.logits is not None else logits
        for processor in processors:  # the list's own call asks each time what arguments they take
            scores = processor(ids, scores)
        kept.add(logits, scores)
        new = draw(scores) if config.do_sample else scores.argmax(-1)
        if ends:  # a finished text goes on with padding
            new = new * unfinished + pad * (1 - unfinished)
        ids = torch.cat([ids, new[:, None]], 1)
        if streamer is not None:
            streamer.put(new.cpu())
        if limit is None:
            unfinished = unfinished & ~criteria(ids, kept.scores)
            finished = not bool(unfinished.any())
        else:
            finished = ids.shape[1] >= limit
        if finished:
            break
        if cache is not None:
            logits = cache.read_next(new[:, None])
        else:
            mask = None if mask is None else torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = model(ids.to(model.device), attention_mask=mask, logits_to_keep=1).logits[:, -1]
    if streamer is not None:
        streamer.end()
    if not config.return_dict_in_generate:
        return ids
    return GenerateDecoderOnlyOutput(sequences=ids, scores=kept.scores, logits=kept.logits, cache=cache)
