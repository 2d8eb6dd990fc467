"""import linformer_cpp: what it registers, what it refuses, and the typed functions over the operators."""

import os
import subprocess
import sys

import pytest
import torch

import linformer_cpp

PACKAGE = os.path.dirname(linformer_cpp.__file__)
LIBRARY = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "liblinformer_ops.so")


def python(code, status=0):
    """In a Python of its own."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": os.path.dirname(PACKAGE)})
    assert result.returncode == status, result.stderr
    return result


def test_everything_that_it_names_is_there_and_explained():
    for name in linformer_cpp.__all__:
        assert getattr(linformer_cpp, name).__doc__
    assert "linformer" not in sys.modules  # PyPI's
    assert python("import linformer_cpp").stdout == ""


def test_a_torch_that_it_was_not_made_for():
    code = "import torch; torch.__version__ = '2.99.1+cpu'\ntry: import linformer_cpp\nexcept ImportError as error: print(error)"
    message = python(code).stdout
    assert "built for torch 2." in message and "2.99.1+cpu is installed" in message and "pip install" in message


def test_operators_that_are_registered_already():
    code = f"import torch; torch.ops.load_library({LIBRARY!r})\ntry: import linformer_cpp\nexcept ImportError as error: print(error)"
    assert "registered already" in python(code).stdout


def test_importing_takes_little_beside_torch():
    """Modules, which no clock counts. PyTorch's compiler alone has eight hundred."""
    code = "import sys, torch, torch.utils.data; before = set(sys.modules); import linformer_cpp; print(*sorted(set(sys.modules) - before))"
    extra = [name for name in python(code).stdout.split() if not name.startswith("linformer_cpp")]
    assert len(extra) < 20, extra


Q, E = torch.randn(2, 2, 12, 4), torch.randn(3, 12)
CALLS = {
    "attention": (linformer_cpp.attention, (Q, Q, Q, E, E), {}),
    "attention_causal": (linformer_cpp.attention, (Q, Q, Q, E, E), dict(causal=True, window=3, scale=0.3, path="composed")),
    "attention_block": (linformer_cpp.attention, (Q, Q, Q, E[:, :3], E[:, :3]), dict(causal=True, window=3, summary="block")),
    "attention_mask": (linformer_cpp.attention, (Q, Q, Q, E, E), dict(key_padding_mask=torch.arange(12).expand(2, 12) > 8)),
    "attend": (linformer_cpp.attend, (Q, Q, Q, Q[:, :, :8], Q[:, :, :8]), dict(causal=True, window=3, slot_bias=torch.ones(2), sink_key=Q[:, :, :1], sink_value=Q[:, :, :1])),
    "prefix": (linformer_cpp.prefix_attention, (Q, Q, Q, E, E), dict(chunk=5, before_key=Q[:, :, :3], before_value=Q[:, :, :3])),
    "softmax": (linformer_cpp.softmax_attention, (Q, Q, Q), dict(causal=True)),
    "cross_entropy": (linformer_cpp.linear_cross_entropy, (Q[0, 0], torch.randn(7, 4), torch.arange(12) % 7), dict(ignore_index=2, chunk=4)),
}
OPERATORS = {"prefix": "prefix_attention", "softmax": "softmax_attention", "cross_entropy": "linear_cross_entropy"}


@pytest.mark.parametrize("name", CALLS)
def test_a_function_is_its_operator(name):
    function, arguments, options = CALLS[name]
    if name == "prefix":  # the projections go on after the text before
        arguments = (*arguments[:3], torch.randn(3, 20), torch.randn(3, 20))
    operator = getattr(torch.ops.linformer, OPERATORS.get(name, name.partition("_")[0]))
    assert torch.equal(function(*arguments, **options), operator(*arguments, **options))
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*arguments, **options), operator(*arguments, **options))


@pytest.mark.parametrize("name", ["attention", "attend", "prefix_attention", "softmax_attention", "linear_cross_entropy"])
def test_a_function_has_the_arguments_of_its_operator(name):
    import inspect

    schema = getattr(torch.ops.linformer, name).default._schema
    got = [(p.name, p.kind is p.KEYWORD_ONLY, None if p.default is p.empty else p.default) for p in inspect.signature(getattr(linformer_cpp, name)).parameters.values()]
    assert sorted(got) == sorted((a.name, a.kwarg_only, a.default_value) for a in schema.arguments)


def test_the_path_that_ran():
    linformer_cpp.attention(Q, Q, Q, E, E, path="reference")
    assert linformer_cpp.functional.last_path() == "reference"


@pytest.mark.parametrize("error, words, call", [
    (TypeError, ["query is of type list", "torch.Tensor"], lambda: linformer_cpp.attention([1], Q, Q, E, E)),
    (TypeError, ["slot_bias is of type float"], lambda: linformer_cpp.attend(Q, Q, Q, Q, Q, slot_bias=0.5)),
    (ValueError, ["key has shape", "(2, 2, 12, 5)"], lambda: linformer_cpp.attention(Q, torch.zeros(2, 2, 12, 5), torch.zeros(2, 2, 12, 5), E, E)),
    (ValueError, ["projection_key", "(3, 11)"], lambda: linformer_cpp.attention(Q, Q, Q, E[:, :11], E)),
    (ValueError, ["query has dtype Long"], lambda: linformer_cpp.softmax_attention(Q.long(), Q, Q)),
    (ValueError, ["summary is", "blok"], lambda: linformer_cpp.attention(Q, Q, Q, E, E, causal=True, window=3, summary="blok")),
    (ValueError, ["window is 3 without causal"], lambda: linformer_cpp.attend(Q, Q, Q, Q, Q, window=3)),
    (ValueError, ["slow"], lambda: linformer_cpp.attention(Q, Q, Q, E, E, path="slow")),
    (ValueError, ["target", "9"], lambda: linformer_cpp.linear_cross_entropy(Q[0, 0], torch.randn(7, 4), torch.full((12,), 9))),
    (ValueError, ["key has shape"], lambda: torch.ops.linformer.softmax_attention(Q, Q[:1], Q[:1])),
])
def test_errors(error, words, call):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_errors_of_others_stay_what_they_are():
    with pytest.raises(RuntimeError):
        torch.zeros(2) @ torch.zeros(3)
    with pytest.raises(IndexError):
        torch.zeros(2)[5]


def test_the_page_s_examples_run(tmp_path):
    """Each block of docs/python.md, in order and in one process."""
    import pathlib
    import re

    from train_program import prepare_text

    page = (pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"]) / "docs/python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.M | re.S)
    assert len(blocks) == 4
    prepare_text(tmp_path, "books", "the cat sat on the mat. " * 100)
    (tmp_path / "page.py").write_text("\n".join(["import torch", "torch.set_num_threads(1)", *blocks, "print()", "print(loss.item(), *out.shape, *next(iter(loader))[0].shape)"]))
    environment = os.environ | {"PYTHONPATH": os.path.dirname(PACKAGE), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240, env=environment)
    assert result.returncode == 0, result.stderr
    loss, *shapes = result.stdout.splitlines()[-1].split()
    assert float(loss) < 2.5 and shapes == "2 4 1000 16 8 128".split()
