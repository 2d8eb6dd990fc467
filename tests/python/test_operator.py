"""torch.ops.linformer.* against independent float64 loops: one row, one head, one slot at a time, as docs/maths.md has it."""

import json
import math
import os
import struct

import numpy as np
import pytest
import torch

torch.ops.load_library(os.path.join(os.environ["LINFORMER_BINARY_DIR"], "liblinformer_ops.so"))
ops = torch.ops.linformer
GOLDEN = os.path.join(os.environ["LINFORMER_SOURCE_DIR"], "tests", "golden", "attention.safetensors")


def read_safetensors(path):
    with open(path, "rb") as file:
        raw = file.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    metadata = header.pop("__metadata__")
    kinds = {"F64": np.float64, "BOOL": np.bool_}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = np.frombuffer(raw[8 + size + begin : 8 + size + end], dtype=kinds[entry["dtype"]])
        tensors[name] = torch.from_numpy(data.reshape(entry["shape"]).copy())
    return tensors, json.loads(metadata["cases"])


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def loop_attention(q, k, v, e, f, causal, window, summary, padding=None, scale=None):
    """Plain numpy, row by row."""
    b_count, h_count, n, d = q.shape
    out = np.zeros_like(q)
    for b in range(b_count):
        for h in range(h_count):
            eh, fh = (e[h], f[h]) if e.ndim == 3 else (e, f)
            kk, vv = k[b, h].copy(), v[b, h].copy()
            if padding is not None:
                kk[padding[b]] = 0
                vv[padding[b]] = 0
            for t in range(n):
                keys, values = [], []
                if not causal:
                    keys, values = list(eh[:, : len(kk)] @ kk), list(fh[:, : len(vv)] @ vv)
                elif window == 0:
                    keys, values = list(eh[:, : t + 1] @ kk[: t + 1]), list(fh[:, : t + 1] @ vv[: t + 1])
                else:
                    c = t // window
                    if c >= 2 and summary == "running":
                        end = (c - 1) * window
                        keys, values = list(eh[:, :end] @ kk[:end]), list(fh[:, :end] @ vv[:end])
                    for block in range(c - 1) if summary == "block" else []:
                        rows = slice(block * window, (block + 1) * window)
                        keys += list(eh @ kk[rows])
                        values += list(fh @ vv[rows])
                    for s in range(max(0, (c - 1) * window), t + 1):
                        keys.append(kk[s])
                        values.append(vv[s])
                weights = softmax(np.array([key @ q[b, h, t] for key in keys]) * (1 / math.sqrt(d) if scale is None else scale))
                out[b, h, t] = weights @ np.array(values)
    return out


FORMS = {
    "bidirectional": dict(causal=False, window=0, summary="running"),
    "prefix": dict(causal=True, window=0, summary="running"),
    "running": dict(causal=True, window=5, summary="running"),
    "block": dict(causal=True, window=5, summary="block"),
}


def make(form, n, per_head, dtype=torch.float64, slots=3, seed=0):
    torch.manual_seed(seed)
    b, h, d = 2, 3, 4
    columns = FORMS[form]["window"] if form == "block" else n + 2
    shape = (h, slots, columns) if per_head else (slots, columns)
    tensors = [torch.randn(b, h, n, d, dtype=dtype) for _ in range(3)] + [torch.randn(*shape, dtype=dtype) for _ in range(2)]
    return [x.requires_grad_() for x in tensors]


@pytest.mark.parametrize("path", ["auto", "reference", "composed"])
@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize("n", [1, 2, 10, 11, 23])
@pytest.mark.parametrize("form", FORMS)
def test_equals_loops(form, n, per_head, path):
    inputs = make(form, n, per_head)
    got = ops.attention(*inputs, **FORMS[form], path=path)
    want = loop_attention(*[x.detach().numpy() for x in inputs], **FORMS[form])
    assert np.abs(got.detach().numpy() - want).max() < 1e-12
    gradients = torch.autograd.grad(got.square().sum(), inputs)
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("form", FORMS)
def test_float32(form):
    inputs = make(form, 67, True, torch.float32, slots=7)
    got = ops.attention(*inputs, **FORMS[form]).detach().double().numpy()
    want = loop_attention(*[x.detach().double().numpy() for x in inputs], **FORMS[form])
    assert np.sqrt(((got - want) ** 2).mean() / (want**2).mean()) < 2e-6


@pytest.mark.parametrize("path", ["reference", "composed"])
@pytest.mark.parametrize("form", FORMS)
def test_gradients(form, path):
    inputs = make(form, 13, False, slots=2)
    assert torch.autograd.gradcheck(lambda *x: ops.attention(*x, **FORMS[form], path=path), inputs, atol=1e-7, rtol=1e-6, fast_mode=True)


@pytest.mark.parametrize("path", ["auto", "reference", "composed"])
@pytest.mark.parametrize("form", FORMS)
def test_second_derivatives(form, path):
    inputs = make(form, 13, False, slots=2)
    operation = lambda *x: ops.attention(*x, **FORMS[form], path=path)
    assert torch.autograd.gradgradcheck(operation, inputs, atol=1e-7, rtol=1e-6, fast_mode=True)


@pytest.mark.parametrize("path", ["reference", "composed"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 2, 4), (2, 3, 10, 4), (2, 3, 3, 4)])
def test_second_derivatives_of_given_slots(shape, path):
    torch.manual_seed(4)
    causal = shape[2] != 3
    inputs = [torch.randn(*s).double().requires_grad_() for s in [(2, 3, 23, 4)] * 3 + [shape] * 2 + [(3,)]]
    operation = lambda q, k, v, sk, sv, bias: ops.attend(q, k, v, sk, sv, causal=causal, window=5 if causal else 0, slot_bias=bias, path=path)
    assert torch.autograd.gradgradcheck(operation, inputs, atol=1e-7, rtol=1e-6, fast_mode=True)


KERNEL_FORMS = [form for form in FORMS if form != "prefix"]
PATHS = [(form, path) for form in FORMS for path in ("auto", "reference", "composed")] + [(form, "kernel") for form in KERNEL_FORMS]
WIDE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
CASES = [(form, path, dtype) for form, path in PATHS for dtype in WIDE if path != "kernel" or dtype != torch.float64]  # the kernels have no float64


def in_float64(inputs):
    return [x.detach().double().requires_grad_() for x in inputs]


@pytest.mark.parametrize("scale", [-0.3, 0.0])
@pytest.mark.parametrize("form, path, dtype", CASES)
def test_scale_of_any_sign(form, path, dtype, scale):
    inputs = make(form, 17, False, dtype)
    got = ops.attention(*inputs, **FORMS[form], scale=scale, path=path)
    want = loop_attention(*[x.detach().double().numpy() for x in inputs], **FORMS[form], scale=scale)
    assert np.linalg.norm(got.detach().double().numpy() - want) < WIDE[dtype] * np.linalg.norm(want)
    wide = in_float64(inputs)
    exact = torch.autograd.grad(ops.attention(*wide, **FORMS[form], scale=scale, path="reference").square().sum(), wide)
    for g, w in zip(torch.autograd.grad(got.double().square().sum(), inputs), exact):
        assert (g - w).norm() <= 3 * WIDE[dtype] * w.norm() + 1e-12


@pytest.mark.parametrize("n", [1, 17])
@pytest.mark.parametrize("form, path, dtype", CASES)
def test_not_a_number_stays_one(form, path, dtype, n):
    """A query that is NaN makes its own row NaN, a key every row that sees it, and no other."""
    t = n // 3
    for changed in range(2):
        inputs = [x.detach() for x in make(form, n, False, dtype)]
        inputs[changed][0, 1, t, 0] = float("nan")
        rows = ops.attention(*inputs, **FORMS[form], path=path).isnan()
        want = loop_attention(*[x.double().numpy() for x in inputs], **FORMS[form])
        assert torch.equal(rows.any(-1), torch.from_numpy(np.isnan(want).any(-1)))
        assert rows[0, 1, t].all()


@pytest.mark.parametrize("form, path", PATHS)
def test_float16_logits_beyond_its_range(form, path):
    inputs = [x.detach() for x in make(form, 64, False, torch.float16)]
    inputs[0] *= 200
    inputs[1] *= 200
    inputs[3] /= 8  # slots as sums of all positions stay in range themselves
    wide = in_float64(inputs)
    logits = (wide[0] @ wide[1].mT).abs().max()
    assert logits > 65504
    got = ops.attention(*inputs, **FORMS[form], path=path)
    want = ops.attention(*wide, **FORMS[form], path="reference")
    assert got.dtype == torch.float16 and (got - want).norm() < 1e-2 * want.norm()


def test_float16_cross_entropy_beyond_its_range():
    torch.manual_seed(5)
    hidden, weight = ((torch.randn(*shape) * 300).half().requires_grad_() for shape in [(7, 5), (11, 5)])
    target = torch.randint(0, 11, (7,))
    assert (hidden.double() @ weight.double().T).abs().max() > 65504
    got = ops.linear_cross_entropy(hidden, weight, target)
    want = torch.nn.functional.cross_entropy(hidden.double() @ weight.double().T, target)
    assert abs(got - want) <= 1e-4 * abs(want)
    for g, w in zip(torch.autograd.grad(got, [hidden, weight]), torch.autograd.grad(want, [hidden, weight])):
        assert g.dtype == torch.float16 and (g - w).norm() <= 1e-3 * w.norm()


@pytest.mark.parametrize("path, dtype", [(path, dtype) for form, path, dtype in CASES if form == "bidirectional"])
def test_sequences_that_are_all_padding_give_zeros(path, dtype):
    inputs = make("bidirectional", 7, False, dtype)
    padding = torch.tensor([[False] * 7, [True] * 7])
    got = ops.attention(*inputs, key_padding_mask=padding, path=path)
    assert torch.isfinite(got).all() and (got[1] == 0).all() and (got[0] != 0).any()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(got.sum(), inputs))


@pytest.mark.parametrize("form, path", PATHS)
def test_no_sequence_at_all(form, path):
    inputs = [x.detach().float() for x in make(form, 17, False)]
    inputs[:3] = [x[:0].requires_grad_() for x in inputs[:3]]
    got = ops.attention(*inputs, **FORMS[form], path=path)
    assert got.shape == (0, 3, 17, 4)
    got.sum().backward()


@pytest.mark.parametrize("path", ["reference", "composed"])
def test_padding_and_cross_attention(path):
    torch.manual_seed(1)
    q, k, v = torch.randn(2, 3, 5, 4).double(), torch.randn(2, 3, 9, 4).double(), torch.randn(2, 3, 9, 4).double()
    e, f = torch.randn(4, 11).double(), torch.randn(4, 11).double()
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 4:] = True
    want = loop_attention(*[x.numpy() for x in (q, k, v, e, f)], False, 0, "running", padding.numpy())
    k[1, :, 4:] = float("nan")
    got = ops.attention(q, k, v, e, f, key_padding_mask=padding, path=path)
    assert np.abs(got.numpy() - want).max() < 1e-12


@pytest.mark.parametrize("path", ["reference", "composed"])
@pytest.mark.parametrize("name", read_safetensors(GOLDEN)[1])
def test_golden(name, path):
    tensors, cases = read_safetensors(GOLDEN)
    case = {key[len(name) + 1 :]: x for key, x in tensors.items() if key.startswith(name + ".")}
    form = cases[name]["form"]
    if form.startswith("softmax"):
        pytest.skip("no operator of its own in PyTorch; the C++ tests have it")
    names = [x for x in ("query", "key", "value", "projection_key", "projection_value", "slot_key", "slot_value", "slot_bias") if x in case]
    leaves = {x: case[x].requires_grad_() for x in names}
    if form == "attend":
        out = ops.attend(*[leaves[x] for x in ("query", "key", "value", "slot_key", "slot_value")], causal=cases[name]["causal"],
                         window=cases[name]["window"], slot_bias=leaves.get("slot_bias"), path=path)
    else:
        projection_value = leaves.get("projection_value", leaves["projection_key"])
        out = ops.attention(leaves["query"], leaves["key"], leaves["value"], leaves["projection_key"], projection_value,
                            causal=form != "bidirectional", window=cases[name]["window"], summary="block" if form == "block" else "running",
                            key_padding_mask=case.get("key_padding_mask"), path=path)
    assert (out - case["output"]).abs().max() < 1e-10
    gradients = torch.autograd.grad(out, list(leaves.values()), case["grad_output"], allow_unused=True)
    for leaf, gradient in zip(names, gradients):
        want = case["grad_" + leaf]
        assert (want - (torch.zeros_like(want) if gradient is None else gradient)).abs().max() < 1e-10, leaf


@pytest.mark.parametrize("path", ["reference", "composed"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 2, 4), (2, 3, 10, 4)])
def test_slots_never_read_may_be_nan(shape, path):
    torch.manual_seed(2)
    q, k, v = [torch.randn(2, 3, 23, 4).double().requires_grad_() for _ in range(3)]
    sk, sv = torch.randn(shape).double(), torch.randn(shape).double()
    never = (slice(None), slice(None), slice(0, 2)) if len(shape) == 5 else (slice(None), slice(None), slice(6, 10))
    clean = ops.attend(q, k, v, sk, sv, causal=True, window=5, path=path)
    sk[never] = float("nan")
    sv[never] = float("nan")
    sk.requires_grad_()
    sv.requires_grad_()
    out = ops.attend(q, k, v, sk, sv, causal=True, window=5, path=path)
    assert torch.equal(out, clean)
    gradients = torch.autograd.grad(out.sum(), [q, k, v, sk, sv])
    assert all(torch.isfinite(g).all() for g in gradients)
    assert (gradients[3][never] == 0).all() and (gradients[4][never] == 0).all()


def leaks(operation, inputs, t, tolerance):
    """Whether outputs before position t change with what stands at t, or their gradients reach t and beyond."""
    # Leaves too, for the engine folds products otherwise where no gradient is asked, which rounds otherwise.
    changed = [x.detach().clone() for x in inputs]
    for x in changed[:3]:
        x[:, :, t] += 3
    changed = [x.requires_grad_() for x in changed]
    before, after = operation(*inputs)[:, :, :t], operation(*changed)[:, :, :t]
    gradients = torch.autograd.grad(before.sum(), inputs[:3])
    return bool((before - after).abs().max() > tolerance), any((gradient[:, :, t:] != 0).any() for gradient in gradients)


@pytest.mark.parametrize("t", [1, 5, 11, 22])
@pytest.mark.parametrize("form", ["prefix", "running", "block"])
@pytest.mark.parametrize("path, tolerance", [("reference", 0), ("composed", 1e-13)])
def test_no_leak_from_the_future(form, path, tolerance, t):
    operation = lambda *inputs: ops.attention(*inputs, **FORMS[form], path=path)
    assert leaks(operation, make(form, 23, False), t, tolerance) == (False, False)


def masked_slots(q, k, v, e, f):
    """The known mistake (maths 2): a lower triangle over slots, each of which holds the future already."""
    n, slots = q.shape[2], e.shape[-2]
    logits = (q @ (e[..., :n] @ k).mT).masked_fill(~torch.ones(n, slots, dtype=torch.bool).tril(), float("-inf"))
    return logits.softmax(-1) @ (f[..., :n] @ v)


@pytest.mark.parametrize("t", [1, 5, 11, 22])
def test_the_check_sees_a_leak(t):
    inputs = make("bidirectional", 23, False)
    assert leaks(masked_slots, inputs, t, 1e-3) == (True, True)
    assert leaks(lambda *x: ops.attention(*x, **FORMS["bidirectional"]), inputs, t, 1e-3) == (True, True)


@pytest.mark.parametrize("chunk", [0, 1, 4, 7, 100])
@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_cross_entropy(chunk, dtype, bound):
    torch.manual_seed(3)
    hidden, weight = torch.randn(2, 7, 5, dtype=dtype).requires_grad_(), torch.randn(11, 5, dtype=dtype).mul(30).requires_grad_()
    target = torch.randint(0, 11, (2, 7))
    target[0, 2] = target[1, 6] = -100
    got = ops.linear_cross_entropy(hidden, weight, target, chunk=chunk)
    want = torch.nn.functional.cross_entropy((hidden @ weight.T).flatten(0, 1), target.flatten())
    assert abs(got - want) <= bound * abs(want)
    for g, w in zip(torch.autograd.grad(got * 3, [hidden, weight]), torch.autograd.grad(want * 3, [hidden, weight])):
        assert (g - w).norm() <= bound * w.norm()


def test_cross_entropy_without_targets_is_nan():
    hidden, weight = torch.randn(3, 5).requires_grad_(), torch.randn(4, 5).requires_grad_()
    loss = ops.linear_cross_entropy(hidden, weight, torch.full((3,), -100))
    assert torch.isnan(loss)
    loss.backward()
    assert (hidden.grad == 0).all() and (weight.grad == 0).all()  # as torch does


def attention_of(q=(2, 3, 7, 4), k=(2, 3, 7, 4), v=(2, 3, 7, 4), e=(5, 7), **options):
    return ops.attention(torch.zeros(q), torch.zeros(k), torch.zeros(v), torch.zeros(e), torch.zeros(e), **options)


@pytest.mark.parametrize("call, message", [
    (lambda: attention_of(path="fast"), "expected auto, reference, composed or kernel"),
    (lambda: attention_of(path="kernel", causal=True), "path kernel: this form has none; use auto, composed or reference"),
    (lambda: attention_of(summary="sum", causal=True, window=2), "expected running or block"),
    (lambda: attention_of(summary="block"), "need a window"),
    (lambda: attention_of(window=4), "without causal"),
    (lambda: attention_of(window=-1, causal=True), "window is -1"),
    (lambda: attention_of(k=(2, 3, 7, 5), v=(2, 3, 7, 5)), r"key has shape \(2, 3, 7, 5\)"),
    (lambda: attention_of(v=(2, 3, 6, 4)), r"value has shape \(2, 3, 6, 4\)"),
    (lambda: attention_of(q=(3, 7, 4)), "query has shape"),
    (lambda: attention_of(e=(5, 6)), "P at least 7"),
    (lambda: attention_of(e=(5, 6), causal=True), "P at least 7"),
    (lambda: attention_of(e=(5, 7), causal=True, window=4, summary="block"), r"\(r,W\)"),
    (lambda: attention_of(q=(2, 3, 6, 4), causal=True), "as many of both"),
    (lambda: attention_of(key_padding_mask=torch.zeros(2, 6, dtype=torch.bool)), "key_padding_mask has shape"),
    (lambda: attention_of(key_padding_mask=torch.zeros(2, 7)), "expected bool"),
    (lambda: attention_of(scale=float("nan")), "scale"),
    (lambda: ops.linear_cross_entropy(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 4, 1])), "the first 4"),
    (lambda: ops.linear_cross_entropy(torch.zeros(3, 2), torch.zeros(4, 3), torch.tensor([0, 1, 1])), "weight has shape"),
])
def test_errors_name_the_value(call, message):
    with pytest.raises((RuntimeError, ValueError), match=message):
        call()


def test_tensors_of_two_devices_are_refused():
    query, key, value = (torch.randn(1, 2, 16, 4) for _ in range(3))
    slots = torch.randn(1, 2, 4, 3, 4)
    projection = torch.randn(3, 16)
    calls = {
        "key is on meta": lambda: ops.attention(query, key.to("meta"), value, projection, projection),
        "projection_value is on meta": lambda: ops.attention(query, key, value, projection, projection.to("meta")),
        "value is on meta": lambda: ops.attend(query, key, value.to("meta"), slots, slots, causal=True, window=4),
        "slot_key is on meta": lambda: ops.attend(query, key, value, slots.to("meta"), slots, causal=True, window=4),
        "weight is on meta": lambda: ops.linear_cross_entropy(query[0, 0], torch.randn(5, 4).to("meta"), torch.zeros(16, dtype=torch.int64)),
        "target is on meta": lambda: ops.linear_cross_entropy(query[0, 0], torch.randn(5, 4), torch.zeros(16, dtype=torch.int64).to("meta")),
    }
    for message, call in calls.items():
        with pytest.raises(Exception, match=message):
            call()


@pytest.mark.parametrize("window", [2**63 - 1, 2**41, -1])
def test_windows_have_bounds(window):
    query = torch.randn(1, 2, 16, 4)
    slots, projection = torch.randn(1, 2, 4, 3, 4), torch.randn(3, 16)
    with pytest.raises(Exception, match=f"window is {window}; expected 0"):
        torch.ops.linformer.attend(query, query, query, slots, slots, causal=True, window=window)
    with pytest.raises(Exception, match=f"window is {window}; expected 0"):
        torch.ops.linformer.attention(query, query, query, projection, projection, causal=True, window=window)


@pytest.mark.parametrize("window", [0, 4])
def test_parameters_may_be_wider_than_activations(window):
    query, key, value = (torch.randn(1, 2, 16, 4).bfloat16() for _ in range(3))
    projection = torch.randn(3, 16)
    call = lambda: torch.ops.linformer.attention(query, key, value, projection, projection, causal=window > 0, window=window)
    with torch.autocast("cpu", torch.bfloat16):
        out = call()
    assert out.dtype == torch.bfloat16 and torch.equal(out, call())
