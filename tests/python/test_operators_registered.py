"""What PyTorch asks of an operator, for each of torch.ops.linformer.* in each form: opcheck, torch.compile, torch.export, torch.func, second derivatives."""

import os
import warnings

import pytest
import torch

torch.ops.load_library(os.path.join(os.environ["LINFORMER_BINARY_DIR"], "liblinformer_ops.so"))
ops = torch.ops.linformer
BATCH, HEADS, WIDTH, WINDOW, SLOTS, VOCABULARY = 2, 4, 6, 5, 3, 11
WIDE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 3e-2}


class Case:
    """An operator in one form. `tensors` names the shape of each floating-point argument, by batch and length; `names` those that are keywords."""

    def __init__(self, name, operator, shapes, keywords=(), mask=None, targets=False, **options):
        self.name, self.operator, self.shapes, self.keywords = name, operator, shapes, keywords
        self.mask, self.targets, self.options = mask, targets, options

    def __repr__(self):
        return self.name

    def inputs(self, dtype, batch=BATCH, length=23, seed=0):
        torch.manual_seed(seed)
        made = []
        for shape in self.shapes(batch, length):
            scale = length**-0.5 if len(shape) < 4 and shape[-1] >= length else 1
            made.append((torch.randn(shape) * scale).to(dtype).requires_grad_())
        return made

    def call(self, *tensors):
        """The operator on the tensors of inputs(). Masks and targets follow from the shapes alone."""
        count = len(tensors) - len(self.keywords)
        given = dict(zip(self.keywords, tensors[count:]))
        arguments = list(tensors[:count])
        if self.mask:
            given["key_padding_mask"] = (torch.arange(tensors[1].shape[2]) >= tensors[1].shape[2] - self.mask).expand(tensors[1].shape[0], -1)
        if self.targets:
            rows = tensors[0].shape[:-1]
            arguments.append(((torch.arange(tensors[0].shape[0]).unsqueeze(1) + torch.arange(tensors[0].shape[1]) * 7) % VOCABULARY).expand(rows))
        return self.operator(*arguments, **given, **self.options)


def qkv(batch, length, heads=HEADS, before=0):
    return [(batch, HEADS, length, WIDTH)] + [(batch, heads, length + before, WIDTH)] * 2


def blocks(length):
    return (length + WINDOW - 1) // WINDOW


def projections(length, heads=None, columns=None):
    shape = (SLOTS, columns or length + 2)
    return [shape if heads is None else (heads, *shape)] * 2


def running(batch, length, heads=HEADS):
    return [(batch, heads, blocks(length), SLOTS, WIDTH)] * 2


def offset(batch, length, heads=HEADS):
    return [(batch, heads, blocks(length), SLOTS)]


def block(batch, length, heads=HEADS, before=0):
    return [(batch, heads, (blocks(length) + before) * SLOTS, WIDTH)] * 2


def sinks(batch, heads=HEADS):
    return [(batch, heads, 3, WIDTH)] * 2


CAUSAL = dict(causal=True, window=WINDOW)
EACH = [(HEADS,)]
CASES = [
    Case("attend_whole", ops.attend, lambda b, n: qkv(b, n) + [(b, HEADS, SLOTS, WIDTH)] * 2),
    Case("attend_whole_bias_scale", ops.attend, lambda b, n: qkv(b, n) + [(b, HEADS, SLOTS, WIDTH)] * 2 + EACH, ["slot_bias"], scale=-0.3),
    Case("attend_window_alone", ops.attend, lambda b, n: qkv(b, n) + [(b, HEADS, 0, WIDTH)] * 2, **CAUSAL),
    Case("attend_running", ops.attend, lambda b, n: qkv(b, n) + running(b, n), **CAUSAL),
    Case("attend_running_bias_slot_query", ops.attend, lambda b, n: qkv(b, n) + running(b, n) + EACH + qkv(b, n)[:1], ["slot_bias", "slot_query"], **CAUSAL),
    Case("attend_running_sinks", ops.attend, lambda b, n: qkv(b, n) + running(b, n) + sinks(b) + qkv(b, n)[:1], ["sink_key", "sink_value", "slot_query"], **CAUSAL),
    Case("attend_block_grouped_sinks", ops.attend, lambda b, n: qkv(b, n, 2) + block(b, n, 2) + sinks(b, 2), ["sink_key", "sink_value"], **CAUSAL),
    Case("attend_window_alone_sinks_composed", ops.attend, lambda b, n: qkv(b, n) + [(b, HEADS, 0, WIDTH)] * 2 + sinks(b), ["sink_key", "sink_value"], path="composed", **CAUSAL),
    Case("attend_running_grouped_scale", ops.attend, lambda b, n: qkv(b, n, 2) + running(b, n, 2), scale=0.7, **CAUSAL),
    Case("attend_running_goes_on", ops.attend, lambda b, n: qkv(b, n, before=WINDOW) + running(b, n), first=2 * WINDOW, **CAUSAL),
    Case("attend_running_offset", ops.attend, lambda b, n: qkv(b, n) + running(b, n) + offset(b, n), ["slot_offset"], **CAUSAL),
    Case("attend_running_grouped_offset_bias", ops.attend, lambda b, n: qkv(b, n, 2) + running(b, n, 2) + offset(b, n, 2) + EACH, ["slot_offset", "slot_bias"], **CAUSAL),
    Case("attend_running_composed", ops.attend, lambda b, n: qkv(b, n) + running(b, n) + EACH, ["slot_bias"], path="composed", **CAUSAL),
    Case("attend_block", ops.attend, lambda b, n: qkv(b, n) + block(b, n), **CAUSAL),
    Case("attend_block_grouped_bias_slot_query", ops.attend, lambda b, n: qkv(b, n, 2) + block(b, n, 2) + EACH + qkv(b, n)[:1], ["slot_bias", "slot_query"], **CAUSAL),
    Case("attend_block_goes_on_reference", ops.attend, lambda b, n: qkv(b, n, before=WINDOW) + block(b, n, before=1), first=WINDOW, path="reference", **CAUSAL),
    Case("attention_bidirectional", ops.attention, lambda b, n: qkv(b, n) + projections(n)),
    Case("attention_bidirectional_mask_scale", ops.attention, lambda b, n: qkv(b, n) + projections(n, HEADS), mask=4, scale=0.4),
    Case("attention_bidirectional_reference", ops.attention, lambda b, n: qkv(b, n) + projections(n), path="reference"),
    Case("attention_prefix", ops.attention, lambda b, n: qkv(b, n) + projections(n), causal=True),
    Case("attention_running", ops.attention, lambda b, n: qkv(b, n) + projections(n), **CAUSAL),
    Case("attention_running_heads_grouped", ops.attention, lambda b, n: qkv(b, n, 2) + projections(n, 2), **CAUSAL),
    Case("attention_running_composed", ops.attention, lambda b, n: qkv(b, n) + projections(n), path="composed", **CAUSAL),
    Case("attention_block", ops.attention, lambda b, n: qkv(b, n) + projections(n, None, WINDOW), summary="block", **CAUSAL),
    Case("attention_block_heads_scale", ops.attention, lambda b, n: qkv(b, n) + projections(n, HEADS, WINDOW), summary="block", scale=-0.5, **CAUSAL),
    Case("prefix", ops.prefix_attention, lambda b, n: qkv(b, n) + projections(n)),
    Case("prefix_heads_grouped_chunk", ops.prefix_attention, lambda b, n: qkv(b, n, 2) + projections(n, 2), chunk=7, scale=0.2),
    Case("prefix_before", ops.prefix_attention, lambda b, n: qkv(b, n) + projections(n) + [(b, HEADS, SLOTS, WIDTH)] * 2, ["before_key", "before_value"]),
    Case("prefix_reference", ops.prefix_attention, lambda b, n: qkv(b, n) + projections(n), path="reference"),
    Case("softmax", ops.softmax_attention, lambda b, n: qkv(b, n)),
    Case("softmax_causal_grouped_scale", ops.softmax_attention, lambda b, n: qkv(b, n, 2), causal=True, scale=0.6),
    Case("softmax_mask_composed", ops.softmax_attention, lambda b, n: qkv(b, n), mask=3, path="composed"),
    Case("softmax_mask", ops.softmax_attention, lambda b, n: qkv(b, n), mask=3),
    Case("cross_entropy", ops.linear_cross_entropy, lambda b, n: [(b, n, WIDTH), (VOCABULARY, WIDTH)], targets=True),
    Case("cross_entropy_ignore_chunk", ops.linear_cross_entropy, lambda b, n: [(b, n, WIDTH), (VOCABULARY, WIDTH)], targets=True, ignore_index=3, chunk=4),
]
by_case = pytest.mark.parametrize("case", CASES, ids=repr)
by_dtype = pytest.mark.parametrize("dtype", WIDE, ids=lambda dtype: str(dtype)[6:])


def gradients(case, inputs, graph=False):
    return torch.autograd.grad(case.call(*inputs).double().square().sum(), inputs, create_graph=graph, allow_unused=True, materialize_grads=True)


def expect_close(got, want, dtype, factor=1):
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape
        # Some gradients are sums that cancel: their errors are measured by all of them.
        scale = w.detach().double().norm() + 0.1 * sum(x.detach().double().norm() for x in want) / len(want)
        assert (g.detach().double() - w.detach().double()).norm() <= factor * WIDE[dtype] * scale + 1e-12


@by_dtype
@by_case
def test_opcheck(case, dtype):
    inputs = case.inputs(dtype)
    seen = []

    class Recorder:
        """The operator's own arguments, as opcheck wants them."""

        def __call__(self, *arguments, **given):
            seen.append((arguments, given))
            return case.operator(*arguments, **given)

    operator, recorded = case.operator, Recorder()
    Case(case.name, recorded, case.shapes, case.keywords, case.mask, case.targets, **case.options).call(*inputs)
    arguments, given = seen[0]
    torch.library.opcheck(operator.default, arguments, given, atol=WIDE[dtype] * 3, rtol=WIDE[dtype] * 3)


def graphs_counted(backend="aot_eager"):
    from torch._dynamo.backends.registry import lookup_backend

    counted = []

    def compile_one(module, inputs):
        counted.append(module)
        return lookup_backend(backend)(module, inputs)

    return compile_one, counted


# Each case in float32, and the first of each operator in each dtype: opcheck has traced all of them.
COMPILED = [(case, torch.float32) for case in CASES]
COMPILED += [(next(case for case in CASES if case.operator is operator), dtype) for operator in {case.operator: 0 for case in CASES}
             for dtype in (torch.float64, torch.bfloat16)]


@pytest.mark.parametrize("case, dtype", COMPILED, ids=lambda x: repr(x) if isinstance(x, Case) else str(x)[6:])
@torch._dynamo.config.patch(specialize_float=True)
def test_compile(case, dtype):
    """One graph serves every batch and length, forward and backward."""
    torch._dynamo.reset()
    backend, counted = graphs_counted()
    compiled = torch.compile(case.call, fullgraph=True, dynamic=True, backend=backend)
    # Sizes that are equal in the first call would be taken for one size.
    for batch, length in (8, 23), (3, 34), (5, 17):
        inputs = case.inputs(dtype, batch, length, seed=length)
        want, got = case.call(*inputs), compiled(*inputs)
        expect_close([got], [want], dtype)
        assert got.dtype == want.dtype
        direction = torch.randn(want.shape).to(want.dtype)
        expect_close(torch.autograd.grad(got, inputs, direction), torch.autograd.grad(want, inputs, direction), dtype, 2)
    assert len(counted) == 1


class Called(torch.nn.Module):
    def __init__(self, case):
        super().__init__()
        self.case = case

    def forward(self, *tensors):
        return self.case.call(*tensors)


@by_case
def test_export(case):
    inputs = tuple(x.detach() for x in case.inputs(torch.float32))
    program = torch.export.export(Called(case), inputs)
    expect_close([program.module()(*inputs)], [case.call(*inputs)], torch.float32)
    assert any("linformer" in str(node.target) for node in program.graph.nodes)
    lowered = program.run_decompositions()
    expect_close([lowered.module()(*inputs)], [case.call(*inputs)], torch.float32)


@pytest.mark.parametrize("name", ["attend_running", "attention_running", "attention_bidirectional", "prefix", "softmax", "cross_entropy"])
def test_export_of_every_batch(name):
    case = next(case for case in CASES if case.name == name)
    inputs = tuple(x.detach() for x in case.inputs(torch.float32))
    batch = torch.export.Dim("batch", min=2, max=64)
    shapes = tuple({0: batch} if shape[0] == BATCH and len(shape) > 2 else {} for shape in case.shapes(BATCH, 23))
    program = torch.export.export(Called(case), inputs, dynamic_shapes={"tensors": shapes})
    other = tuple(x.detach() for x in case.inputs(torch.float32, batch=7))
    expect_close([program.module()(*other)], [case.call(*other)], torch.float32)


@by_case
def test_func_grad(case):
    inputs = case.inputs(torch.float32)
    places = tuple(range(len(inputs)))
    got = torch.func.grad(lambda *x: case.call(*x).double().square().sum(), argnums=places)(*[x.detach() for x in inputs])
    expect_close(got, gradients(case, inputs), torch.float32, 2)


@by_case
def test_vmap(case):
    inputs = [torch.stack([x.detach() for x in several]) for several in zip(*(case.inputs(torch.float32, seed=seed) for seed in range(3)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no rule of its own: it takes one after the other
        got = torch.func.vmap(case.call)(*inputs)
        of_each = torch.func.vmap(torch.func.grad(lambda *x: case.call(*x).square().sum()))(*inputs)
    alone = [[x[i].clone().requires_grad_() for x in inputs] for i in range(3)]
    expect_close([got], [torch.stack([case.call(*x) for x in alone])], torch.float32)
    first = [torch.autograd.grad(case.call(*x).square().sum(), x[0])[0] for x in alone]
    expect_close([of_each], [torch.stack(first)], torch.float32, 2)


@by_case
def test_second_derivatives_in_float64(case):
    assert torch.autograd.gradgradcheck(case.call, case.inputs(torch.float64, 1, 17), atol=1e-7, rtol=1e-6, fast_mode=True)


def second(case, inputs):
    """Gradients of a number made of gradients, which reaches each input and each gradient."""
    torch.manual_seed(9)
    firsts = gradients(case, inputs, graph=True)
    mixed = sum((g.double() * torch.randn(g.shape)).sum() for g in firsts)
    return torch.autograd.grad(mixed, inputs, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@by_case
def test_second_derivatives_unasked(case, dtype):
    """The kernels' gradients can be derived again: by default, and like those of the reference."""
    inputs = case.inputs(dtype)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    options = dict(case.options)
    if case.operator is not ops.linear_cross_entropy:
        options["path"] = "reference"
    reference = Case(case.name, case.operator, case.shapes, case.keywords, case.mask, case.targets, **options)
    expect_close(second(case, inputs), second(reference, exact), dtype, 4)


def test_a_gradient_is_the_same_with_and_without_a_graph():
    for case in CASES:
        inputs = case.inputs(torch.float32)
        for plain, derivable in zip(gradients(case, inputs), gradients(case, inputs, graph=True)):
            assert (plain - derivable).norm() <= 1e-5 * plain.norm() + 1e-6


def test_inputs_made_of_each_other_count_once():
    """Slots that are made of the keys: the path through the slots is not that of the keys."""
    torch.manual_seed(2)
    query, key = (torch.randn(1, 2, 13, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def call(path):
        slots = key.cumsum(2)[:, :, :6] * 0.3
        out = ops.attend(query, key, key * 2, slots, slots, causal=True, window=5, path=path)
        first, = torch.autograd.grad(out.square().sum(), key, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [query, key])

    for got, want in zip(call("composed"), call("reference")):
        assert (got - want).norm() <= 1e-10 * want.norm()
    narrow_query, narrow_key = query.detach().float().requires_grad_(), key.detach().float().requires_grad_()
    slots = narrow_key.cumsum(2)[:, :, :6] * 0.3
    out = ops.attend(narrow_query, narrow_key, narrow_key * 2, slots, slots, causal=True, window=5, path="kernel")
    first, = torch.autograd.grad(out.square().sum(), narrow_key, create_graph=True)
    for got, want in zip(torch.autograd.grad(first.square().sum(), [narrow_query, narrow_key]), call("reference")):
        assert (got - want).norm() <= 1e-4 * want.norm()


# The operators that these are made of, without gradients: their gradients are each other.
def parts():
    torch.manual_seed(4)
    rows, slots = torch.randn(2, 4, 23, 6), torch.randn(2, 4, 5, 3, 6)
    for dtype in WIDE:
        path = "composed" if dtype == torch.float64 else "kernel"
        x, s = rows.to(dtype), slots.to(dtype)
        bias = torch.randn(4).to(torch.float64 if dtype == torch.float64 else torch.float32)
        attend = (x, x, x, s, s, bias, x, x[:, :, :3], x[:, :, :3], s[..., 0].to(bias.dtype))
        numbers = (5, 0, None, path)
        out, log_sum = ops.attend_forward(*attend, *numbers)
        yield ops.attend_forward, (*attend, *numbers)
        yield ops.attend_backward, (out, *attend, out, log_sum, *numbers)
        projection = torch.randn(3, 25).to(dtype)
        yield ops.linear_slots_forward, (x, projection, None, None, None, 5, False, "composed")
        yield ops.linear_slots_backward, (s, x, projection, None, None, None, 5, False, "composed")
        yield ops.prefix_attention_forward, (x, x, x, projection, projection, None, None, 0, None, "auto")
        yield ops.prefix_attention_backward, (x, x, x, x, projection, projection, None, None, 0, None, "auto")
        yield ops.softmax_attention_forward, (x, x, x, None, True, None, "auto")
        yield ops.softmax_attention_backward, (x, x, x, x, None, True, None, "auto")
        hidden, weight, target = torch.randn(7, 5).to(dtype), torch.randn(11, 5).to(dtype), torch.arange(7)
        loss, grad_hidden, grad_weight = ops.linear_cross_entropy_forward(hidden, weight, target, -100, 0, True, True)
        yield ops.linear_cross_entropy_forward, (hidden, weight, target, -100, 0, True, True)
        yield ops.linear_cross_entropy_backward, (loss, hidden, weight, target, grad_hidden, grad_weight, -100)


@pytest.mark.parametrize("operator, arguments", list(parts()), ids=lambda x: str(x) if not isinstance(x, tuple) else str(x[0].dtype)[6:])
def test_opcheck_of_the_parts(operator, arguments):
    utilities = ("test_schema", "test_faketensor", "test_aot_dispatch_static", "test_aot_dispatch_dynamic")
    torch.library.opcheck(operator.default, arguments, test_utils=utilities, atol=0.05, rtol=0.05)
    for key in "Autograd", "Meta":
        assert torch._C._dispatch_has_kernel_for_dispatch_key(operator.default.name(), key) or operator is ops.linear_cross_entropy_backward


@pytest.mark.parametrize("name", ["attention_running", "attention_block", "cross_entropy"])
def test_inductor(name, tmp_path, monkeypatch):
    # What inductor made of an operator's earlier schema is not made anew by itself.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    case = next(case for case in CASES if case.name == name)
    inputs = case.inputs(torch.float32)
    step = lambda *x: case.call(*[y * 0.5 for y in x]).square().sum()
    got = torch.autograd.grad(torch.compile(step, fullgraph=True)(*inputs), inputs)
    expect_close(got, torch.autograd.grad(step(*inputs), inputs), torch.float32, 2)


@pytest.mark.parametrize("name", ["attention_bidirectional", "attention_block", "attention_running", "softmax", "prefix"])
def test_autocast_of_compiled(name):
    torch._dynamo.reset()
    case = next(case for case in CASES if case.name == name)
    inputs = case.inputs(torch.float32)
    compiled = torch.compile(case.call, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        want, got = case.call(*inputs), compiled(*inputs)
    assert got.dtype == want.dtype
    expect_close([got], [want], torch.bfloat16)


def test_wrong_targets_are_named_when_the_graph_runs():
    compiled = torch.compile(lambda h, w, t: ops.linear_cross_entropy(h, w, t), fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match="the first 4"):
        compiled(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 4, 1]))


def test_wrong_shapes_are_named_while_tracing():
    compiled = torch.compile(lambda q, s: ops.attend(q, q, q, s, s), fullgraph=True, backend="aot_eager", dynamic=False)
    with pytest.raises(Exception, match="slot_key has shape"):
        compiled(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5))


def test_forward_mode_is_refused():
    x = torch.randn(1, 2, 9, 4)
    with pytest.raises(RuntimeError, match="forward-mode"):
        torch.func.jvp(lambda q: ops.attend(q, x, x, x, x), (x,), (x,))
