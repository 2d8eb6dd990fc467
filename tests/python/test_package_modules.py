"""linformer_cpp.LinformerSelfAttention and Linformer against what PyPI's `linformer` gave (tests/golden), and their causal forms against the reference."""

import copy
import json
import os
import pickle

import pytest
import torch
from safetensors import safe_open

import linformer_cpp

torch.set_num_threads(1)
GOLDEN = os.path.join(os.environ["LINFORMER_SOURCE_DIR"], "tests", "golden", "pypi_linformer.safetensors")
with safe_open(GOLDEN, "pt") as file:
    TENSORS = {name: file.get_tensor(name) for name in file.keys()}
    CASES = json.loads(file.metadata()["cases"])
DTYPES = {torch.float64: 1e-12, torch.float32: 1e-5}


def parts_of(case, prefix):
    start = f"{case}.{prefix}"
    return {name.removeprefix(start): tensor for name, tensor in TENSORS.items() if name.startswith(start)}


def loaded(case):
    found = CASES[case]
    module = getattr(linformer_cpp, found["class"])(**found["arguments"])
    module.load_state_dict(parts_of(case, "weight."))  # strict: every name and shape
    return module.train(found["seed"] is not None)


def expect_near(got, want, tolerance):
    assert got.shape == want.shape
    assert (got.double() - want).abs().max() <= tolerance * max(1, want.abs().max())


# float32 draws other random numbers for dropout than float64, in which the cases were made.
PAIRS = [(case, dtype) for case in CASES for dtype in DTYPES if dtype == torch.float64 or not CASES[case]["arguments"].get("dropout")]


@pytest.mark.parametrize("case, dtype", PAIRS, ids=str)
def test_equals_the_package_that_it_replaces(case, dtype):
    """In training with dropout too: the same random numbers drop the same weights."""
    module = loaded(case).to(dtype)
    inputs = {name: TENSORS[f"{case}.{name}"].to(dtype, copy=True).requires_grad_() for name in ("input", "context") if f"{case}.{name}" in TENSORS}
    if CASES[case]["seed"] is not None:
        torch.manual_seed(CASES[case]["seed"])
    output = module(*inputs.values())
    expect_near(output, TENSORS[f"{case}.output"], DTYPES[dtype])
    (output * torch.arange(output.numel(), dtype=torch.float64).sin().view_as(output).to(dtype)).sum().backward()
    grads = {name: tensor.grad for name, tensor in (inputs | dict(module.named_parameters())).items()}
    wanted = parts_of(case, "grad.")
    assert set(wanted) == set(grads)
    for name, want in wanted.items():
        expect_near(grads[name], want, DTYPES[dtype])


def test_the_golden_cases_have_every_option():
    """With another value than its default."""
    given = {name for case in CASES.values() for name in case["arguments"]}
    assert given == {"dim", "seq_len", "depth", "k", "heads", "dim_head", "one_kv_head", "share_kv", "reversible", "dropout"}


FORMS = [dict(causal=True), dict(causal=True, window=4), dict(causal=True, window=4, one_kv_head=True, share_kv=True), dict(causal=True, window=1, dim_head=3)]
by_form = pytest.mark.parametrize("form", FORMS, ids=str)


@by_form
@pytest.mark.parametrize("reversible", [False, True])
def test_causal_forms_do_not_leak(form, reversible):
    torch.manual_seed(1)
    module = linformer_cpp.Linformer(dim=8, seq_len=19, depth=2, k=5, heads=2, reversible=reversible, **form).double()
    x = torch.randn(2, 19, 8, dtype=torch.float64, requires_grad=True)
    for place in 0, 3, 4, 9, 17:
        (grad,) = torch.autograd.grad(module(x)[:, place].square().sum(), x)
        assert grad[:, place + 1 :].count_nonzero() == 0
        assert grad[:, : place + 1].abs().amax((0, 2)).min() > 0  # it sees all that it may


def test_the_package_that_it_replaces_would_leak():
    """The test above finds a leak where there is one."""
    x = torch.randn(1, 19, 8, dtype=torch.float64, requires_grad=True)
    module = linformer_cpp.LinformerSelfAttention(dim=8, seq_len=19, k=5, heads=2).double()
    (grad,) = torch.autograd.grad(module(x)[:, 3].square().sum(), x)
    assert grad[:, 4:].count_nonzero() > 0


@pytest.mark.parametrize("form", FORMS[:3], ids=str)
def test_causal_forms_equal_rows_of_the_equations(form):
    """Row by row from docs/maths.md 3 and 4, in float64."""
    torch.manual_seed(2)
    module = linformer_cpp.LinformerSelfAttention(dim=8, seq_len=19, k=5, heads=2, **form).double()
    x = torch.randn(1, 17, 8, dtype=torch.float64)
    width, window = module.dim_head, form.get("window", 0)
    key = module.to_k(x)[0].unflatten(-1, (-1, width))
    value = key if module.share_kv else module.to_v(x)[0].unflatten(-1, (-1, width))
    query = module.to_q(x)[0].unflatten(-1, (-1, width))
    proj_value = module.proj_k if module.share_kv else module.proj_v
    rows = torch.zeros(17, 2, width, dtype=torch.float64)
    for t in range(17):
        begin = max(0, (t // window - 1) * window) if window else t + 1
        end = begin if window else t + 1  # slots of what the window does not hold
        for h in range(2):
            g = h % key.shape[1]
            keys, values = key[:, g], value[:, g]
            slots_k, slots_v = module.proj_k[:end].t() @ keys[:end], proj_value[:end].t() @ values[:end]
            if end == 0:
                slots_k, slots_v = slots_k[:0], slots_v[:0]
            seen_k, seen_v = torch.cat([keys[begin : t + 1], slots_k]), torch.cat([values[begin : t + 1], slots_v])
            rows[t, h] = (seen_k @ query[t, h] / width**0.5).softmax(0) @ seen_v
    expect_near(module(x)[0], module.to_out(rows.flatten(1)), 1e-12)


def test_padding_is_taken_in_by_no_slot():
    torch.manual_seed(3)
    module = linformer_cpp.LinformerSelfAttention(dim=8, seq_len=19, k=5, heads=2).double()
    x = torch.randn(2, 19, 8, dtype=torch.float64)
    mask = torch.zeros(2, 19, dtype=torch.bool)
    mask[:, 12:] = True
    expect_near(module(x, key_padding_mask=mask)[:, :12], module(x[:, :12]), 1e-12)
    network = linformer_cpp.Linformer(dim=8, seq_len=19, depth=2, k=5, heads=2, reversible=True).double()
    expect_near(network(x, key_padding_mask=mask)[:, :12], network(x[:, :12]), 1e-12)


def test_reversible_gradients_are_those_of_plain_blocks():
    """Also of frozen parameters, without a gradient for the input, and under autocast."""
    torch.manual_seed(4)
    module = linformer_cpp.Linformer(dim=8, seq_len=19, depth=3, k=5, heads=2, reversible=True, causal=True, window=4)
    module.net.blocks[1].g.net.fn.w1.weight.requires_grad_(False)
    x = torch.randn(2, 19, 8)

    def plain(x1, x2):
        for block in module.net.blocks:
            x1 = x1 + block.f.net(x2)
            x2 = x2 + block.g.net(x1)
        return x1 + x2

    learned = [p for p in module.parameters() if p.requires_grad]
    for autocast, tolerance in (False, 1e-5), (True, 3e-2):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            got, want = module(x), plain(x, x)
        torch.testing.assert_close(got, want, rtol=0, atol=0)
        for a, b in zip(torch.autograd.grad(got.float().square().sum(), learned), torch.autograd.grad(want.float().square().sum(), learned), strict=True):
            assert (a - b).norm() <= tolerance * b.norm()
    assert module(x).requires_grad and not module.eval()(x).isnan().any()
    with torch.no_grad():
        assert not module(x).requires_grad


@pytest.mark.parametrize("arguments", [{}, dict(causal=True, window=4), dict(reversible=True, causal=True)], ids=str)
def test_copies_and_pickles(arguments):
    torch.manual_seed(5)
    module = linformer_cpp.Linformer(dim=8, seq_len=19, depth=1, k=5, heads=2, **arguments)
    x = torch.randn(2, 19, 8)
    for other in copy.deepcopy(module), pickle.loads(pickle.dumps(module)):
        assert torch.equal(other(x), module(x))
        assert all(a is not b for a, b in zip(other.parameters(), module.parameters()))


@pytest.mark.parametrize("arguments", [{}, dict(one_kv_head=True, causal=True), dict(causal=True, window=4)], ids=str)
def test_compiles_to_one_graph(arguments):
    torch._dynamo.reset()
    torch.manual_seed(6)
    module = linformer_cpp.Linformer(dim=8, seq_len=19, depth=1, k=5, heads=2, **arguments)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 19, 8, requires_grad=True)
    torch.testing.assert_close(compiled(x), module(x))
    torch.testing.assert_close(torch.autograd.grad(compiled(x).square().sum(), x), torch.autograd.grad(module(x).square().sum(), x))


@pytest.mark.filterwarnings("ignore:.*performance drop")
@pytest.mark.parametrize("arguments", [{}, dict(one_kv_head=True, causal=True), dict(causal=True, window=4)], ids=str)
def test_exports_and_transforms(arguments):
    """torch.export, and gradients of each text by vmap over grad."""
    torch.manual_seed(8)
    module = linformer_cpp.Linformer(dim=8, seq_len=19, depth=1, k=5, heads=2, **arguments)
    x = torch.randn(2, 19, 8)
    torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), module(x))
    parameters = dict(module.named_parameters())

    def loss(parameters, text):
        return torch.func.functional_call(module, parameters, (text[None],)).square().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for i in range(2):
        want = torch.autograd.grad(module(x[i : i + 1]).square().sum(), list(parameters.values()))
        for name, gradient in zip(parameters, want, strict=True):
            torch.testing.assert_close(got[name][i], gradient, rtol=1e-4, atol=1e-5)


def test_a_training_step_under_autocast():
    torch.manual_seed(7)
    module = linformer_cpp.Linformer(dim=16, seq_len=40, depth=2, k=8, heads=2, causal=True, window=8, dropout=0.1)
    optimiser = torch.optim.AdamW(module.parameters(), 1e-2)
    x = torch.randn(4, 40, 16)
    target = x.roll(1, 1)
    losses = []
    for _ in range(40):
        with torch.autocast("cpu", torch.bfloat16):
            loss = (module(x).float() - target)[:, 1:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


X = torch.zeros(2, 19, 8)
SIZES = dict(dim=8, seq_len=19, k=5, heads=2)


@pytest.mark.parametrize("arguments, error, words", [
    (dict(heads=3), ValueError, ["dim is 8 and heads 3"]),
    (dict(heads=0), ValueError, ["heads is 0"]),
    (dict(k=-1), ValueError, ["k is -1"]),
    (dict(seq_len=2.5), TypeError, ["seq_len is 2.5"]),
    (dict(window=4), ValueError, ["window is 4 without causal"]),
    (dict(causal=True, window=-1), ValueError, ["window is -1"]),
    (dict(dropout=1.5), ValueError, ["dropout", "1.5"]),
])
def test_what_is_refused(arguments, error, words):
    with pytest.raises(error) as caught:
        linformer_cpp.LinformerSelfAttention(**SIZES | arguments)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("causal, call, words", [
    (False, dict(x=X[:, :, :7]), ["x has shape (2, 19, 7)", "dim 8"]),
    (False, dict(x=torch.zeros(2, 20, 8)), ["x has 20 tokens", "seq_len 19"]),
    (True, dict(x=torch.zeros(2, 20, 8)), ["x has 20 tokens", "seq_len 19"]),
    (False, dict(x=X, context=torch.zeros(2, 20, 8)), ["context has 20 tokens"]),
    (False, dict(x=X, context=X[:1]), ["context has 1 texts", "2"]),
    (True, dict(x=X, context=X), ["context is given, but causal"]),
    (True, dict(x=X, key_padding_mask=torch.zeros(2, 19, dtype=torch.bool)), ["key_padding_mask is given, but causal"]),
    (False, dict(x=X, key_padding_mask=torch.zeros(2, 19)), ["key_padding_mask is torch.float32", "torch.bool"]),
    (False, dict(x=X, key_padding_mask=torch.zeros(2, 18, dtype=torch.bool)), ["(2, 18)", "(2, 19)"]),
])
def test_calls_that_are_refused(causal, call, words):
    module = linformer_cpp.LinformerSelfAttention(**SIZES, causal=causal)
    with pytest.raises(ValueError) as caught:
        module(**call)
    assert all(word in str(caught.value) for word in words)
