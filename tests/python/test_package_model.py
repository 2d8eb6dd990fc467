"""linformer_cpp.LinformerLM: one model with the program's, and a module of PyTorch in all ways."""

import copy
import inspect
import json
import os
import pickle
import re
import subprocess

import pytest
import torch

import linformer_cpp
from linformer_cpp import LinformerLM
from linformer_cpp._load import native

torch.set_num_threads(1)
PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
SIZES = dict(vocabulary=256, length=32, width=12, layers=2, heads=3)
FORMS = {
    "window": dict(window=4, slots=5),
    "block": dict(window=4, slots=16, summary="block"),
    "prefix": dict(window=0, slots=5),
    "softmax": dict(kind="softmax"),
    "hybrid": dict(window=4, slots=5, softmax_layers=[1], tied=True),
    "gated_rotary": dict(window=4, slots=5, projection="gated", position="rotary", norm="rms", feed_forward_kind="swiglu", bias=False, key_value_heads=1),
    "layerwise": dict(window=4, slots=5, sharing="layerwise", normalise="both"),
    "bidirectional": dict(causal=False, slots=5),
    "dropout": dict(window=4, slots=5, dropout=0.2),
}
by_form = pytest.mark.parametrize("form", FORMS)


def model_of(form="window", **more):
    return LinformerLM(**SIZES | FORMS[form] | {"seed": 3} | more)


def batch(texts=2, tokens=29, seed=0):
    ids = torch.randint(256, (texts, tokens + 1), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def run(*arguments):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def trained(model, steps=60, rate=3e-3):
    text = torch.tensor(list(b"The cat sat on the mat; the dog sat on the log. " * 20))
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        starts = torch.randint(len(text) - 33, (4,))
        ids = torch.stack([text[i : i + 33] for i in starts])
        loss = model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_the_signature_is_the_list_of_fields():
    """Names, order, defaults and kinds of the C++ library's own list."""
    given = inspect.signature(LinformerLM.__init__).parameters
    fields = {name.partition(".")[2]: (kind, json.loads(default)) for name, _, kind, default in native.fields()}
    assert set(given) - set(fields) == {"self", "seed", "tokenizer"}
    assert set(fields) <= set(given)
    for name, (kind, default) in fields.items():
        parameter = given[name]
        assert parameter.kind is parameter.KEYWORD_ONLY
        if name == "vocabulary":
            assert parameter.default is parameter.empty
            continue
        value = parameter.default
        assert ("auto" if value is None else list(value) if isinstance(value, tuple) else value) == default, name
        choices = [choice for choice in kind.split("|") if choice.islower() and choice != "auto"]
        assert re.findall(r"[\"']([\w-]+)[\"']", str(parameter.annotation)) == choices, name


@by_form
def test_parameters_are_those_of_the_file(form, tmp_path):
    from safetensors.torch import load_file

    model = model_of(form)
    model.save_pretrained(tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    state = model.state_dict()
    assert set(stored) == set(state)
    assert all(torch.equal(stored[name], state[name]) for name in stored)
    other = LinformerLM.from_pretrained(tmp_path / "model")
    ids, _ = batch()
    assert other.config == model.config
    assert torch.equal(other.eval()(ids), model.eval()(ids))
    other.load_state_dict(state)


@by_form
def test_logits_are_the_program_s(form, tmp_path):
    from safetensors.torch import load_file

    model = model_of(form, initializer_range=0.3, tokenizer=linformer_cpp.Tokenizer.load("bytes")).eval()
    model.save_pretrained(tmp_path)
    text = list(b"The cat sat on the mat")
    run("logits", "--model", tmp_path, "--ids", ",".join(map(str, text)), "--out", tmp_path / "logits.safetensors")
    want = load_file(tmp_path / "logits.safetensors")["logits"]
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([text]))[0], want, rtol=0, atol=2e-5)


@by_form
def test_gradients_are_numeric_ones(form):
    """In float64, along a random direction; dropout is a function of its seed."""
    model = model_of(form, initializer_range=0.3).double().train()
    ids, targets = batch(2, 13)

    def loss():
        torch.manual_seed(5)
        return model(ids, targets)

    direction = [torch.randn_like(p) for p in model.parameters()]
    grads = torch.autograd.grad(loss(), list(model.parameters()))
    slope = sum((g * d).sum() for g, d in zip(grads, direction)).item()
    values = []
    for step in 1e-5, -1e-5:
        with torch.no_grad():
            for p, d in zip(model.parameters(), direction):
                p.add_(d, alpha=step)
            values.append(loss().item())
            for p, d in zip(model.parameters(), direction):
                p.sub_(d, alpha=step)
    assert abs(slope - (values[0] - values[1]) / 2e-5) <= 1e-6 * max(1, abs(slope))


@by_form
def test_the_loss_is_cross_entropy_of_the_logits(form):
    model = model_of(form, initializer_range=0.3).eval()
    ids, targets = batch()
    targets[0, 5:9] = -100
    want = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
    assert torch.allclose(model(ids, targets), want, rtol=1e-5)
    hidden, weight = model.hidden(ids), dict(model.named_parameters())["token_embedding.weight" if form == "hybrid" else "output.weight"]
    assert torch.allclose(linformer_cpp.linear_cross_entropy(hidden, weight, targets), want, rtol=1e-5)


@pytest.mark.parametrize("form", ["window", "softmax"])
def test_training_in_a_loop_of_one_s_own(form):
    losses = trained(model_of(form))
    assert losses[-1] < 0.6 * losses[0]


def test_training_under_autocast_stays_near_float32():
    exact, rounded = model_of(), model_of()
    ids, targets = batch(8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = rounded(ids, targets)
        assert rounded(ids).dtype == torch.bfloat16
    loss.backward()
    exact(ids, targets).backward()
    assert loss.dtype == torch.float32
    for a, b in zip(exact.parameters(), rounded.parameters(), strict=True):
        assert b.grad.dtype == torch.float32
        assert (a.grad - b.grad).norm() <= 0.05 * a.grad.norm() + 1e-5


def test_the_c_plus_plus_model_computes_with_the_module_s_own_tensors():
    model = model_of().eval()
    ids, _ = batch()
    before = model(ids)
    native_before = model._native()
    with torch.no_grad():
        model.blocks.get_submodule("0").get_submodule("feed_forward").get_submodule("up").weight.add_(0.1)
    assert not torch.equal(model(ids), before)
    assert model._native() is native_before  # nothing was copied or made again


def test_a_move_to_another_dtype_and_back():
    model = model_of(position="sinusoidal", length=30).eval()
    ids, targets = batch()
    want = model(ids)
    got = model.double()(ids)
    assert got.dtype == torch.float64
    assert torch.allclose(got.float(), want, atol=1e-5)
    assert torch.allclose(model.float()(ids), want, atol=1e-6)
    short = model.bfloat16()
    assert short(ids).dtype == torch.bfloat16
    assert abs(short(ids, targets).float() - torch.log(torch.tensor(256.0))) < 0.1


def test_deepcopy_pickle_and_load_state_dict():
    model = model_of("dropout")
    ids, _ = batch()
    model(ids)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    for other in copy.deepcopy(model), pickle.loads(pickle.dumps(model)):
        assert torch.equal(other.eval()(ids), model.eval()(ids))
        with torch.no_grad():
            next(other.parameters()).zero_()
        assert not torch.equal(other(ids), model(ids))  # nothing is shared
    for assign in False, True:
        other = model_of("dropout", seed=9).eval()
        other(ids)
        other.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=assign)
        assert torch.equal(other(ids), model(ids))
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(model_of(slots=6).state_dict())


def test_frozen_parameters_stay_frozen():
    model = model_of()
    frozen = [name for name, p in model.named_parameters() if "attention" in name]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    model(*batch()).backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set(frozen)
    assert all(not model.get_parameter(name).requires_grad for name in frozen)


def test_functional_call_and_checkpointing():
    model = model_of("dropout").train()
    ids, targets = batch()
    parameters = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    torch.manual_seed(1)
    loss = torch.func.functional_call(model, parameters, (ids, targets))
    torch.manual_seed(1)
    own = model(ids, targets, checkpoint=True)
    assert torch.equal(loss, own)
    for a, b in zip(torch.autograd.grad(loss, list(parameters.values())), torch.autograd.grad(own, list(model.parameters())), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_random_numbers_are_pytorch_s():
    torch.manual_seed(2)
    first = LinformerLM(**SIZES, slots=5, dropout=0.5)
    torch.manual_seed(2)
    second = LinformerLM(**SIZES, slots=5, dropout=0.5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
    ids, _ = batch()
    torch.manual_seed(3)
    a, b = first(ids), first(ids)
    torch.manual_seed(3)
    assert torch.equal(first(ids), a) and not torch.equal(a, b)
    assert torch.equal(first.eval()(ids), first(ids))


def test_compile_leaves_it_as_it_is():
    torch._dynamo.reset()
    model = model_of()
    ids, targets = batch()
    compiled = torch.compile(lambda ids, targets: model(ids, targets) * 2, backend="eager")
    assert torch.equal(compiled(ids, targets), model(ids, targets) * 2)


@pytest.fixture(scope="module")
def talker():
    model = model_of(tokenizer=linformer_cpp.Tokenizer.load("bytes"))
    trained(model)
    return model.eval()


@pytest.mark.parametrize("flags", [{}, dict(temperature=0.0), dict(temperature=1.1, top_k=20, top_p=0.9, min_p=0.01, repetition_penalty=1.2, samples=3),
                                   dict(weights="int8"), dict(weights="bfloat16", prompt_dtype="bfloat16"), dict(overflow="slide", max_tokens=50)], ids=str)
def test_generate_is_the_program_s(talker, tmp_path, flags):
    talker.save_pretrained(tmp_path)
    options = dict(max_tokens=12, seed=5) | flags
    made = talker.generate("The cat", **options)
    names = {"weights": "dtype"}
    arguments = [x for name, value in options.items() for x in ("--" + names.get(name, name).replace("_", "-"), value)]
    shown = json.loads(run("generate", "--model", tmp_path, "--prompt", "The cat", "--json", *arguments))
    want = shown.get("samples", [shown])
    assert [sample.tokens for sample in made] == [sample["tokens"] for sample in want]
    assert [sample.text for sample in made] == [sample["text"] for sample in want]


def test_prompts_of_ids_and_of_text(talker):
    text = talker.generate(["The cat", "the "], max_tokens=9, seed=1, temperature=0.0)
    ids = talker.generate([list(b"The cat"), list(b"the ")], max_tokens=9, seed=1, temperature=0.0)
    assert [x.tokens for x in ids] == [x.tokens for x in text] and ids[0].text == ""
    assert text[1].text.encode() == bytes(text[1].tokens)
    assert talker.generate(torch.tensor(list(b"The cat")), max_tokens=9, temperature=0.0)[0].tokens == ids[0].tokens
    stopped = talker.generate("The cat", max_tokens=25, temperature=0.0, stop=" ")[0]
    assert stopped.stopped and " " not in stopped.text


def test_a_stream_is_what_generate_makes(talker):
    assert "".join(talker.stream("The cat", max_tokens=20, seed=4)) == talker.generate("The cat", max_tokens=20, seed=4)[0].text
    torch.manual_seed(8)
    first = "".join(talker.stream("The cat", max_tokens=20, temperature=1.5))
    torch.manual_seed(8)
    assert "".join(talker.stream("The cat", max_tokens=20, temperature=1.5)) == first


def test_leaving_a_stream_ends_it(talker):
    import threading

    before = threading.active_count()
    for piece in talker.stream("The cat", max_tokens=10**9, overflow="slide"):
        break
    assert threading.active_count() == before
    with pytest.raises(ValueError, match="max_tokens"):
        list(talker.stream("The cat", max_tokens=-1))

    def fail(sequence, piece):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        talker.generate("The cat", max_tokens=5, on_text=fail)


@pytest.mark.parametrize("error, words, call", [
    (TypeError, ["num_tokens"], lambda: LinformerLM(num_tokens=256, vocabulary=256)),
    (TypeError, ["vocabulary"], lambda: LinformerLM()),
    (ValueError, ["model.width", "-3"], lambda: model_of(width=-3)),
    (ValueError, ["model.heads", "5"], lambda: model_of(heads=5)),
    (ValueError, ["attention.sharing", "all"], lambda: model_of(sharing="all")),
    (ValueError, ["model.width", "wide"], lambda: model_of(width="wide")),
    (TypeError, ["width", "object"], lambda: model_of(width=object())),
    (ValueError, ["dropout", "nan"], lambda: model_of(dropout=float("nan"))),
    (TypeError, ["seed", "1.5"], lambda: model_of(seed=1.5)),
    (TypeError, ["tokenizer", "str"], lambda: model_of(tokenizer="bytes")),
    (ValueError, ["nowhere"], lambda: LinformerLM.from_pretrained("nowhere")),
    (TypeError, ["ids", "list"], lambda: model_of()([[1]])),
    (ValueError, ["ids is torch.float32"], lambda: model_of()(torch.zeros(2, 3))),
    (ValueError, ["ids", "(3,)"], lambda: model_of()(torch.zeros(3, dtype=torch.int64))),
    (ValueError, ["256"], lambda: model_of()(torch.full((1, 3), 256))),
    (ValueError, ["33 tokens", "model.length 32"], lambda: model_of()(torch.zeros(1, 33, dtype=torch.int64))),
    (ValueError, ["targets", "(1, 2)", "(1, 3)"], lambda: model_of()(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64))),
    (ValueError, ["target", "256"], lambda: model_of()(torch.zeros(1, 3, dtype=torch.int64), torch.full((1, 3), 256))),
    (ValueError, ["padding_mask is for"], lambda: model_of()(torch.zeros(1, 3, dtype=torch.int64), padding_mask=torch.zeros(1, 3, dtype=torch.bool))),
    (ValueError, ["no tokenizer"], lambda: model_of().generate("text")),
    (ValueError, ["prompt 0 has id 256"], lambda: model_of().generate([[1, 256]])),
    (ValueError, ["prompt"], lambda: model_of().generate([])),
    (TypeError, ["prompt 1"], lambda: model_of().generate([[1], "text"])),
    (ValueError, ["bidirectional"], lambda: model_of("bidirectional").generate([[1]])),
    (ValueError, ["weights is 'int4'"], lambda: model_of().generate([[1]], weights="int4")),
    (ValueError, ["overflow is 'wrap'"], lambda: model_of().generate([[1]], overflow="wrap")),
    (ValueError, ["temperature", "-1"], lambda: model_of().generate([[1]], temperature=-1.0)),
])
def test_errors(error, words, call):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_damaged_folder(tmp_path):
    model_of().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-7])
    with pytest.raises(ValueError, match="model.safetensors"):
        LinformerLM.from_pretrained(tmp_path)


def test_it_shows_itself():
    text = repr(model_of())
    assert "vocabulary=256" in text and "weight (256, 12)" in text
    assert model_of().longest_text == 32
    assert model_of(projection="gated", position="none").longest_text is None
