"""linformer_cpp.huggingface: models that transformers trains, saves, loads and lets write, equal to the program's."""

import copy
import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

import linformer_cpp
from linformer_cpp import LinformerLM
from linformer_cpp._load import native
from linformer_cpp.huggingface import LinformerCache, LinformerConfig, LinformerForCausalLM, LinformerForMaskedLM
from linformer_cpp.huggingface.sampling import draw
from linformer_cpp.huggingface.configuration import USUAL_NAMES, usual_name

torch.set_num_threads(1)
PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
SIZES = dict(vocabulary=256, length=64, width=12, layers=2, heads=3, initializer_range=0.3)
FORMS = {
    "window": dict(window=4, slots=5),
    "block": dict(window=4, slots=16, summary="block"),
    "periodic": dict(window=4, slots=5, projection="periodic"),
    "gated": dict(window=4, slots=5, projection="gated", position="rotary", norm="rms", feed_forward_kind="swiglu", bias=False, key_value_heads=1),
    "cluster": dict(window=4, slots=5, projection="cluster", sinks=2),
    "prefix": dict(window=0, slots=5),
    "softmax": dict(kind="softmax"),
    "hybrid": dict(window=4, slots=5, softmax_layers=[1], tied=True),
}
by_form = pytest.mark.parametrize("form", FORMS)


def config_of(form="window", **more):
    return LinformerConfig(**{usual_name(name): value for name, value in (SIZES | FORMS[form] | more).items()})


def model_of(form="window", seed=3, **more):
    torch.manual_seed(seed)
    return LinformerForCausalLM(config_of(form, **more)).eval()


def masked_of(**more):
    torch.manual_seed(3)
    return LinformerForMaskedLM(config_of(causal=False, window=0, **more)).eval()


def ids_of(texts=2, tokens=29, seed=0):
    return torch.randint(256, (texts, tokens), generator=torch.Generator().manual_seed(seed))


def written(model, prompts, **options):
    """The new ids of greedy generation."""
    made = model.generate(prompts, do_sample=False, **{"max_new_tokens": 20, **options})
    return made[:, prompts.shape[1] :].tolist()


def byte_tokenizer(**special):
    """Ids are bytes, as those of the program's tokenizer `bytes`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokenizer = Tokenizer(models.BPE(vocab={letter: byte for byte, letter in bytes_to_unicode().items()}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def text_rows(tokens=32):
    text = list(b"The cat sat on the mat; the dog sat on the log. " * 20)
    return [{"input_ids": text[i : i + tokens], "labels": text[i : i + tokens]} for i in range(0, 640, 5)]


def test_the_config_has_every_field():
    """Names, defaults and kinds of the C++ library's own list."""
    given = {field.name: field for field in dataclasses.fields(LinformerConfig)}
    for full, _, kind, default in native.fields():
        name = usual_name(full.partition(".")[2])
        value = given[name].default
        if name != "vocab_size":
            assert ("auto" if value is None else list(value) if isinstance(value, tuple) else value) == json.loads(default), name
        choices = [choice for choice in kind.split("|") if choice.islower() and choice != "auto"]
        assert re.findall(r"[\"']([\w-]+)[\"']", given[name].type) == choices, name
    assert set(USUAL_NAMES) < {full.partition(".")[2] for full, *_ in native.fields()}


def test_a_config_round_trips_with_what_was_automatic(tmp_path):
    model = model_of(window=None, length=48)
    assert model.config.window == 12 and model.config.normalise == "keys" and model.config.slot_bias == -2
    model.config.save_pretrained(tmp_path)
    other = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(other, LinformerConfig) and other.to_json_string() == model.config.to_json_string()
    assert other.window == 12 and other.softmax_layers == []


def test_the_program_s_names_serve_too():
    config = LinformerConfig(vocabulary=99, width=24, layers=1, heads=2, length=32, slots=8, tied=True, intermediate_size=48, num_key_value_heads=1)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.max_position_embeddings) == (99, 24, 1, 2, 32)
    assert config.tie_word_embeddings and config.feed_forward == 48 and config.key_value_heads == 1 and config.width == 24


@by_form
def test_it_is_the_same_model_as_linformer_lm(form):
    """First weights of the same seed, and logits to the bit."""
    model = model_of(form)
    torch.manual_seed(3)
    other = LinformerLM(**SIZES | FORMS[form]).eval()
    state = model.state_dict()
    assert all(torch.equal(tensor, state["linformer." + name]) for name, tensor in other.state_dict().items())
    assert len(state) == len(other.state_dict()) + (form == "hybrid")
    assert model.num_parameters() == sum(p.numel() for p in other.parameters())
    ids = ids_of()
    assert torch.equal(model(ids).logits, other(ids))
    torch.testing.assert_close(model(ids, logits_to_keep=3).logits, other(ids)[:, -3:], rtol=0, atol=1e-5)


@by_form
def test_save_pretrained_round_trips(form, tmp_path):
    from safetensors.torch import load_file

    model = model_of(form)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert ("linformer.output.weight" in stored) == (form != "hybrid")
    random_before = torch.get_rng_state()
    for other in AutoModelForCausalLM.from_pretrained(tmp_path), LinformerForCausalLM.from_pretrained(str(tmp_path)):
        assert type(other) is LinformerForCausalLM and not other.training
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
        assert torch.equal(other(ids_of()).logits, model(ids_of()).logits)
        tied = other.get_output_embeddings().weight is other.get_input_embeddings().weight
        assert tied == (form == "hybrid")
    assert torch.equal(torch.get_rng_state(), random_before)  # nothing was drawn


def test_what_a_file_lacks_is_drawn_as_at_first(tmp_path):
    from safetensors.torch import load_file, save_file

    model = model_of()
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    lost = "linformer.blocks.1.attention_norm.weight"
    del stored[lost]
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    other = LinformerForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(other.get_parameter(lost), torch.ones(12))
    assert torch.equal(other(ids_of()).logits, model(ids_of()).logits)  # a norm begins at one


@by_form
def test_greedy_generation_is_the_program_s(form, tmp_path):
    """To and from a folder of the program, and its ids."""
    model = model_of(form)
    model.save_linformer(tmp_path, linformer_cpp.Tokenizer.load("bytes"))
    shown = subprocess.run([PROGRAM, "generate", "--model", tmp_path, "--prompt", "The cat", "--json", "--temperature", "0", "--max-tokens", "40"],
                           capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    prompt = torch.tensor([list(b"The cat")])
    assert written(model, prompt, max_new_tokens=40)[0] == json.loads(shown.stdout)["tokens"]
    other = LinformerForCausalLM.from_linformer(tmp_path)
    assert other.config.to_dict() == model.config.to_dict() and not other.training
    assert torch.equal(other(ids_of()).logits, model(ids_of()).logits)
    assert (other.get_output_embeddings().weight is other.get_input_embeddings().weight) == (form == "hybrid")
    assert written(other, prompt, max_new_tokens=40) == written(model, prompt, max_new_tokens=40, use_cache=False)


@by_form
def test_logits_token_by_token_are_those_of_the_whole_text(form):
    model = model_of(form)
    made = model.generate(ids_of(2, 9), do_sample=True, max_new_tokens=30, output_logits=True, return_dict_in_generate=True)
    whole = model(made.sequences).logits[:, 8:-1]
    torch.testing.assert_close(torch.stack(made.logits, 1), whole, rtol=0, atol=1e-4)
    assert made.cache.get_seq_length() == 38 and made.cache.batch_size == 2


def test_samples():
    model = model_of()
    prompts = ids_of(2, 7)
    torch.manual_seed(1)
    made = model.generate(prompts, do_sample=True, num_return_sequences=3, max_new_tokens=8)
    assert made.shape == (6, 15) and torch.equal(made[:, :7], prompts.repeat_interleave(3, 0))
    assert len({tuple(row.tolist()) for row in made}) == 6
    torch.manual_seed(1)
    assert torch.equal(model.generate(prompts, do_sample=True, num_return_sequences=3, max_new_tokens=8), made)
    assert model.generate(prompts, do_sample=True, top_k=1, max_new_tokens=8)[:, 7:].tolist() == written(model, prompts, max_new_tokens=8)


def test_draws_have_the_probabilities_of_the_logits():
    scores = torch.tensor([[0.0, -torch.inf, 1.0, 2.0, -torch.inf], [3.0, 3.0, -torch.inf, -torch.inf, 0.0]])
    torch.manual_seed(0)
    drawn = torch.stack([draw(scores) for _ in range(4000)])
    shares = torch.nn.functional.one_hot(drawn, 5).double().mean(0)
    assert (shares - scores.softmax(-1)).abs().max() < 0.03  # four standard deviations
    assert (shares[scores == -torch.inf] == 0).all()
    tiny = torch.full((1, 5), -200.0).index_fill(1, torch.tensor([2]), 0.0)
    assert all(draw(tiny).item() == 2 for _ in range(20))
    for wrong in [torch.nan, 0.0], [-torch.inf, -torch.inf]:
        with pytest.raises(ValueError, match="logit"):
            draw(torch.tensor([wrong]))


@pytest.mark.parametrize("options", [{}, dict(use_cache=False), dict(repetition_penalty=1.5, no_repeat_ngram_size=3), dict(eos_token_id=list(range(100)), pad_token_id=255),
                                     dict(max_time=60.0), dict(min_new_tokens=6, eos_token_id=list(range(200)), pad_token_id=255)], ids=str)
def test_the_loop_does_what_transformers_does(options):
    """Ids, scores, logits, pieces for a streamer, of its own loop."""
    class Own(LinformerForCausalLM):
        _sample = transformers.GenerationMixin._sample

    class Pieces:
        def __init__(self):
            self.pieces = []

        def put(self, ids):
            self.pieces.append(ids.flatten().tolist())

        def end(self):
            self.pieces.append("end")

    torch.manual_seed(3)
    own = Own(config_of()).eval()
    made, pieces = [], []
    for model in model_of(), own:
        streamer = Pieces() if len(pieces) < 2 else None
        pieces.append(streamer)
        made.append(model.generate(ids_of(2, 7), do_sample=False, max_new_tokens=20, output_scores=True, output_logits=True, return_dict_in_generate=True, streamer=streamer, **options))
    assert torch.equal(made[0].sequences, made[1].sequences) and pieces[0].pieces == pieces[1].pieces
    for name in "scores", "logits":
        assert len(made[0][name]) == made[0].sequences.shape[1] - 7
        assert all(torch.equal(a, b) for a, b in zip(made[0][name], made[1][name], strict=True))


def test_an_end_of_text_ends_it():
    model = model_of()
    free = written(model, ids_of(1, 7))[0]
    model.generation_config.update(eos_token_id=free[5], pad_token_id=0)
    assert written(model, ids_of(1, 7))[0] == free[: free.index(free[5]) + 1]


@by_form
def test_prompts_of_different_lengths_write_what_they_write_alone(form):
    model = model_of(form)
    prompts = [ids_of(1, tokens, seed=tokens) for tokens in (5, 11, 1)]
    ids, mask = torch.zeros(3, 11, dtype=torch.int64), torch.zeros(3, 11, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, 11 - prompt.shape[1] :] = prompt
        mask[row, 11 - prompt.shape[1] :] = 1
    alone = [written(model, prompt)[0] for prompt in prompts]
    assert written(model, ids, attention_mask=mask) == alone
    assert written(model, ids, attention_mask=mask, use_cache=False) == alone


def test_padding_changes_no_logits_and_no_loss():
    model = model_of().train()
    text = ids_of(1, 9)
    alone = model(text, labels=text, skip_logits=False)
    for left, right in (4, 0), (0, 4), (3, 2):
        ids = torch.nn.functional.pad(text, (left, right), value=7)
        mask = torch.nn.functional.pad(torch.ones_like(text), (left, right))
        labels = ids.masked_fill(mask == 0, -100)
        padded = model(ids, attention_mask=mask, labels=labels, skip_logits=False)
        torch.testing.assert_close(padded.logits[:, left : left + 9], alone.logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(ids, attention_mask=mask).logits[:, left : left + 9], alone.logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(ids, attention_mask=mask, logits_to_keep=right + 1).logits[:, 0], alone.logits[:, -1], rtol=0, atol=1e-5)
        torch.testing.assert_close(padded.loss, alone.loss)
        torch.testing.assert_close(model(ids, attention_mask=mask, labels=labels).loss, alone.loss)


def test_the_cache_stays_as_small_as_it_is():
    sizes = {}
    for form in "window", "softmax":
        model = model_of(form, length=256)
        caches = [model.generate(ids_of(1, tokens), max_new_tokens=3, do_sample=False, return_dict_in_generate=True).cache for tokens in (20, 200)]
        sizes[form] = [cache.bytes for cache in caches]
    assert sizes["window"][0] == sizes["window"][1]
    assert sizes["softmax"][1] > 5 * sizes["softmax"][0]


@pytest.mark.parametrize("form", ["window", "block", "softmax", "gated"])
def test_a_cache_goes_on(form):
    model = model_of(form)
    text = ids_of(2, 30)
    want = model(text).logits
    cache = LinformerCache(model, weights="float32")
    for first, last in (0, 7), (7, 8), (8, 21), (21, 30):
        got = model(text[:, first:last], cache=cache)
        assert got.cache is cache and cache.get_seq_length() == last
        torch.testing.assert_close(got.logits, want[:, first:last], rtol=0, atol=1e-4)
    greedy = written(model, text)
    assert written(model, text, prefill_chunk_size=8) == greedy
    beginning = model(text[:, :20], use_cache=True, logits_to_keep=1).cache
    branch = copy.deepcopy(beginning)
    with pytest.warns(FutureWarning, match="past_key_values"):  # the old name of cache
        assert written(model, text, past_key_values=branch) == greedy
    assert beginning.get_seq_length() == 20 and branch.get_seq_length() == 49
    assert written(model, text, cache=beginning) == greedy
    beginning.reset()
    assert written(model, text, cache=beginning) == greedy


def test_rows_of_a_cache():
    model = model_of()
    text = ids_of(3, 12)
    rest = ids_of(1, 1, seed=5)
    for rows in [2, 0], [1], [0, 0, 2, 1]:
        cache = model(text, use_cache=True).cache
        cache.batch_select_indices(torch.tensor(rows))
        got = model(rest.expand(len(rows), 1), cache=cache).logits
        want = model(torch.cat([text[rows], rest.expand(len(rows), 1)], 1)).logits[:, -1:]
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
    cache = model(text, use_cache=True).cache
    cache.batch_repeat_interleave(2)
    assert cache.batch_size == 6 and "6 texts, 12 tokens" in repr(cache) and len(cache) == 2


@pytest.mark.parametrize("form", ["window", "block", "softmax"])
def test_beams(form):
    model = model_of(form)
    options = dict(num_beams=4, num_return_sequences=2, max_new_tokens=12)
    assert written(model, ids_of(2, 9), **options) == written(model, ids_of(2, 9), use_cache=False, **options)


def test_a_streamer_is_given_each_piece():
    model, tokenizer = model_of(), byte_tokenizer()
    model.generation_config.suppress_tokens = list(range(128, 256))
    prompt = tokenizer("The cat", return_tensors="pt").input_ids
    streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True)
    made = model.generate(prompt, streamer=streamer, do_sample=False, max_new_tokens=20)
    assert "".join(streamer) == tokenizer.decode(made[0, 7:])


def test_pipelines(tmp_path):
    """From folders, by the names of their tasks alone."""
    model_of().save_pretrained(tmp_path / "causal")
    byte_tokenizer(eos_token="~", pad_token="~").save_pretrained(tmp_path / "causal")
    write = transformers.pipeline("text-generation", model=str(tmp_path / "causal"), device="cpu")
    assert isinstance(write.model, LinformerForCausalLM)
    [text] = write("The cat", max_new_tokens=12, do_sample=False)
    assert text["generated_text"].startswith("The cat")
    several = write(["The cat", "A"], max_new_tokens=12, do_sample=False, batch_size=2)
    assert several[0] == [text] and several[1] == write("A", max_new_tokens=12, do_sample=False)
    masked_of().save_pretrained(tmp_path / "masked")
    byte_tokenizer(mask_token="~").save_pretrained(tmp_path / "masked")
    fill = transformers.pipeline("fill-mask", model=str(tmp_path / "masked"), device="cpu")
    assert len(fill("The c~t", top_k=4)) == 4


@by_form
def test_the_loss_is_that_of_the_logits(form):
    """transformers' own reckoning of it, its gradients too; with and without num_items_in_batch."""
    model = model_of(form).train()
    ids = ids_of()
    labels = ids.clone()
    labels[0, 5:9] = -100
    for items in None, 100, torch.tensor(31):
        want = model.loss_function(logits=model(ids).logits, labels=labels, vocab_size=256, num_items_in_batch=items)
        got = model(ids, labels=labels, num_items_in_batch=items)
        assert got.logits is None
        torch.testing.assert_close(got.loss, want, rtol=1e-5, atol=0)
        both = model(ids, labels=labels, num_items_in_batch=items, skip_logits=False)
        torch.testing.assert_close(both.loss, want, rtol=1e-5, atol=0)
        torch.testing.assert_close(both.logits, model(ids).logits, rtol=0, atol=1e-5)
    parameters = [p for p in model.parameters()]
    for a, b in zip(torch.autograd.grad(got.loss, parameters), torch.autograd.grad(want, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_batch_without_labels_trains_nothing():
    model = model_of().train()
    ids = ids_of()
    loss = model(ids, labels=torch.full_like(ids, -100), num_items_in_batch=5).loss
    loss.backward()
    assert loss.item() == 0 and all((p.grad == 0).all() for p in model.parameters())


def test_checkpointing_gives_the_same_gradients():
    grads = []
    for on in False, True:
        model = model_of(dropout=0.2).train()
        if on:
            model.activation_checkpointing_enable()
        assert model.is_activation_checkpointing == on
        torch.manual_seed(2)
        model(ids_of(), labels=ids_of()).loss.backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def trainer_of(model, folder, **arguments):
    options = dict(output_dir=str(folder), max_steps=20, per_device_train_batch_size=8, learning_rate=1e-2, lr_scheduler_type="constant", logging_steps=1, report_to=[],
                   use_cpu=True, save_strategy="no", dataloader_pin_memory=False, seed=1)
    extra = {name: arguments.pop(name) for name in ("eval_dataset", "compute_metrics", "data_collator", "train_dataset") if name in arguments}
    return transformers.Trainer(model=model, args=transformers.TrainingArguments(**options | arguments), **{"train_dataset": text_rows(), **extra})


def losses_of(trainer):
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_trainer_lowers_the_loss(tmp_path):
    model = model_of("hybrid", initializer_range=0.1)
    trainer = trainer_of(model, tmp_path, eval_dataset=text_rows()[:16], compute_metrics=lambda p: {"shape": p.predictions.shape})
    trainer.train()
    losses = losses_of(trainer)
    assert len(losses) == 20 and losses[-1] < 0.65 * losses[0]
    evaluation = trainer.evaluate()
    assert evaluation["eval_loss"] < 0.7 * losses[0] and evaluation["eval_shape"] == (16, 32, 256)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    trainer.save_model(tmp_path / "saved")
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "saved")(ids_of()).logits, model.eval()(ids_of()).logits)


def test_trainer_s_accumulated_steps_are_those_of_whole_batches(tmp_path):
    """Texts of different lengths: num_items_in_batch counts."""
    rows = [{"input_ids": row["input_ids"], "labels": row["input_ids"][: 3 + 3 * i] + [-100] * (29 - 3 * i)} for i, row in enumerate(text_rows()[:8])]
    losses = []
    for batch, accumulated in (8, 1), (2, 4):
        trainer = trainer_of(model_of(), tmp_path, max_steps=3, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated, train_dataset=rows)
        trainer.train()
        losses.append(losses_of(trainer))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_trainer_takes_up_a_checkpoint(tmp_path):
    options = dict(max_steps=6, save_strategy="steps", save_steps=3, activation_checkpointing=True)
    whole = trainer_of(model_of("hybrid"), tmp_path, **options)
    whole.train()
    resumed = trainer_of(model_of("hybrid", seed=9), tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert losses_of(resumed) == losses_of(whole)


def test_trainer_of_a_masked_model(tmp_path):
    tokenizer = byte_tokenizer(mask_token="~", pad_token="`")
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.2)
    rows = [{"input_ids": row["input_ids"][: 32 - i % 3]} for i, row in enumerate(text_rows())]
    trainer = trainer_of(masked_of(initializer_range=0.1), tmp_path, data_collator=collate, train_dataset=rows)
    trainer.train()
    losses = losses_of(trainer)
    assert sum(losses[-3:]) < 0.75 * sum(losses[:3])


def test_a_masked_model_is_linformer_lm(tmp_path):
    model = masked_of()
    torch.manual_seed(3)
    other = LinformerLM(**SIZES | dict(causal=False, window=0, slots=5)).eval()
    ids = ids_of()
    mask = torch.ones_like(ids)
    mask[0, :3] = mask[1, 20:] = 0
    labels = torch.where(ids < 90, ids, -100)
    assert torch.equal(model(ids, attention_mask=mask).logits, other(ids, padding_mask=mask == 0))
    want = other(ids, labels, padding_mask=mask == 0)
    torch.testing.assert_close(model(ids, attention_mask=mask, labels=labels).loss, want)
    torch.testing.assert_close(model(ids, mask, labels, num_items_in_batch=7).loss, want * (labels != -100).sum() / 7)
    assert torch.equal(model(ids, token_type_ids=torch.zeros_like(ids), return_dict=False)[0], other(ids))
    model.save_pretrained(tmp_path)
    assert torch.equal(AutoModelForMaskedLM.from_pretrained(tmp_path)(ids).logits, other(ids))
    model.save_linformer(tmp_path / "program")
    assert torch.equal(LinformerForMaskedLM.from_linformer(tmp_path / "program")(ids).logits, other(ids))


@pytest.mark.parametrize("form", ["window", "hybrid"])
@pytest.mark.parametrize("size", [261, 200])
def test_resized_embeddings(form, size, tmp_path):
    model = model_of(form)
    ids = ids_of() % 190
    with torch.no_grad():
        before = model(ids).logits
    model.resize_token_embeddings(size)
    assert model.config.vocab_size == size and model(ids).logits.shape == (2, 29, size)
    kept = min(size, 256)
    torch.testing.assert_close(model(ids).logits[..., :kept], before[..., :kept], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=str(size)):
        model(torch.full((1, 3), size))
    model.train()(ids, labels=ids).loss.backward()
    assert model.get_input_embeddings().weight.grad.shape == (size, 12)
    model.eval().save_pretrained(tmp_path)
    other = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(other(ids).logits, model(ids).logits) and written(other, ids) == written(model, ids)
    assert (other.get_output_embeddings().weight is other.get_input_embeddings().weight) == (form == "hybrid")


def test_copies_share_nothing():
    model = model_of("hybrid")
    written(model, ids_of(1, 5))
    for other in copy.deepcopy(model), pickle.loads(pickle.dumps(model)):
        assert torch.equal(other(ids_of()).logits, model(ids_of()).logits)
        assert other.get_output_embeddings().weight is other.get_input_embeddings().weight
        with torch.no_grad():
            next(other.parameters()).zero_()
        assert not torch.equal(other(ids_of()).logits, model(ids_of()).logits)


def test_short_numbers(tmp_path):
    model_of().save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16 and model(ids_of()).logits.dtype == torch.bfloat16
    assert len(written(model, ids_of(1, 5))[0]) == 20
    exact, short = model_of(), model_of()
    with torch.autocast("cpu", torch.bfloat16):
        losses = [short(ids_of(), labels=ids_of(), skip_logits=skip).loss for skip in (True, False)]
    for loss in losses:
        assert abs(loss - exact(ids_of(), labels=ids_of()).loss) < 0.03
    assert LinformerForCausalLM._from_config(config_of(), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_formats_of_the_weights_are_the_program_s():
    model = model_of(width=48)
    prompt = ids_of(1, 9)
    for weights in "float32", "bfloat16", "int8":
        want = model.linformer.generate(prompt, max_tokens=20, temperature=0.0, weights=weights)[0].tokens
        assert written(model, prompt, cache=LinformerCache(model, weights=weights))[0] == want
        assert weights in repr(LinformerCache(model, weights=weights))


def test_the_inner_model_writes_too():
    model = model_of()
    model.linformer.tokenizer = linformer_cpp.Tokenizer.load("bytes")
    made = model.linformer.generate("The cat", max_tokens=20, temperature=0.0)[0].tokens
    assert made == written(model, torch.tensor([list(b"The cat")]))[0]


def python(code):
    """In a Python of its own."""
    place = os.path.dirname(os.path.dirname(linformer_cpp.__file__))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": place})
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_package_does_not_need_transformers():
    hidden = "import sys; sys.modules['transformers'] = None\n"
    again = "try: import linformer_cpp.huggingface\nexcept ImportError as error: print(error)"
    assert "pip install 'transformers>=" in python(hidden + "import linformer_cpp\n" + again)
    assert python("import sys, linformer_cpp; print('transformers' in sys.modules)") == "False\n"
    old = "import types, sys; old = types.ModuleType('transformers'); old.__version__ = '4.57.1'; sys.modules['transformers'] = old\n"
    assert "4.57.1 is installed" in python(old + again)


ZEROS = torch.zeros(2, 3, dtype=torch.int64)


def cached(model, tokens=3):
    return model(ids_of(2, tokens), use_cache=True).cache


@pytest.mark.parametrize("error, words, call", [
    (ValueError, ["num_attention_heads", "5"], lambda: config_of(heads=5)),
    (ValueError, ["hidden_size", "-3"], lambda: LinformerConfig(hidden_size=-3)),
    (ValueError, ["sharing", "all"], lambda: config_of(sharing="all")),
    (TypeError, ["slots", "object"], lambda: config_of(slots=object())),
    (ValueError, ["causal is False", "LinformerForMaskedLM"], lambda: LinformerForCausalLM(config_of(causal=False, window=0))),
    (ValueError, ["causal is True", "LinformerForCausalLM"], lambda: LinformerForMaskedLM(config_of())),
    (ValueError, ["nowhere"], lambda: LinformerForCausalLM.from_linformer("nowhere")),
    (TypeError, ["tokenizer", "str"], lambda: model_of().save_linformer("x", "bytes")),
    (ValueError, ["tokenizer has 256 ids", "99"], lambda: model_of(vocabulary=99).save_linformer("x", linformer_cpp.Tokenizer.load("bytes"))),
    (TypeError, ["input_ids", "NoneType"], lambda: model_of()()),
    (ValueError, ["input_ids is torch.float32"], lambda: model_of()(torch.zeros(2, 3))),
    (ValueError, ["input_ids", "(3,)"], lambda: model_of()(torch.zeros(3, dtype=torch.int64))),
    (ValueError, ["256"], lambda: model_of()(torch.full((1, 3), 256))),
    (ValueError, ["65 tokens", "max_position_embeddings 64"], lambda: model_of()(torch.zeros(1, 65, dtype=torch.int64))),
    (TypeError, ["position_ids"], lambda: model_of()(ZEROS, position_ids=ZEROS)),
    (TypeError, ["inputs_embeds"], lambda: model_of()(inputs_embeds=torch.zeros(1, 3, 12))),
    (ValueError, ["output_attentions"], lambda: model_of()(ZEROS, output_attentions=True)),
    (ValueError, ["output_hidden_states"], lambda: model_of().generate(ZEROS, output_hidden_states=True, return_dict_in_generate=True)),
    (ValueError, ["token_type_ids"], lambda: masked_of()(ZEROS, token_type_ids=ZEROS + 1)),
    (ValueError, ["labels", "(2, 2)", "(2, 3)"], lambda: model_of()(ZEROS, labels=ZEROS[:, 1:])),
    (TypeError, ["labels", "list"], lambda: model_of()(ZEROS, labels=[[1]])),
    (ValueError, ["256"], lambda: model_of()(ZEROS, labels=ZEROS + 256)),
    (ValueError, ["attention_mask", "(2, 2)", "(2, 3)"], lambda: model_of()(ZEROS, attention_mask=ZEROS[:, 1:])),
    (ValueError, ["attention_mask has 2 texts in row 1"], lambda: model_of()(ZEROS, attention_mask=torch.tensor([[1, 1, 1], [1, 0, 1]]))),
    (ValueError, ["attention_mask has 0 texts in row 0"], lambda: model_of()(ZEROS, attention_mask=ZEROS)),
    (ValueError, ["attention_mask", "(2, 2)"], lambda: masked_of()(ZEROS, attention_mask=ZEROS[:, 1:])),
    (TypeError, ["cache", "DynamicCache"], lambda: model_of().generate(ZEROS, cache=transformers.DynamicCache())),
    (ValueError, ["another model"], lambda: model_of()(ZEROS, cache=cached(model_of()))),
    (ValueError, ["labels", "cache"], lambda: model_of()(ZEROS, labels=ZEROS, use_cache=True)),
    (ValueError, ["1 texts", "has 2"], lambda: (m := model_of())(ZEROS[:1], cache=cached(m))),
    (ValueError, ["expected (2, 4)"], lambda: (m := model_of())(ZEROS[:, :1], cache=cached(m), attention_mask=ZEROS + 1)),
    (ValueError, ["[3, 4]", "[3, 3]"], lambda: (m := model_of())(ZEROS[:, :1], cache=cached(m), attention_mask=torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]))),
    (ValueError, ["take tokens back"], lambda: cached(model_of()).crop(1)),
    (TypeError, ["pickled"], lambda: pickle.dumps(cached(model_of()))),
    (TypeError, ["keys and values"], lambda: cached(model_of()).update(ZEROS, ZEROS, 0)),
    (ValueError, ["row"], lambda: cached(model_of()).batch_select_indices(torch.tensor([2, 2]))),
    (ValueError, ["weights is 'int4'"], lambda: LinformerCache(model_of(), weights="int4")),
    (ValueError, ["weights is 'int8'", "Double"], lambda: LinformerCache(model_of().double(), weights="int8")),
    (ValueError, ["cache_implementation", "static"], lambda: model_of().generate(ZEROS, cache_implementation="static")),
    (ValueError, ["101 tokens", "at most 64"], lambda: model_of().generate(ZEROS, max_length=101)),
    (ValueError, ["assisted"], lambda: model_of().generate(ZEROS[:1], assistant_model=model_of())),
    (ValueError, ["temprature"], lambda: model_of().generate(ZEROS, temprature=1.0)),
])
def test_errors(error, words, call):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
