"""docs/moving.md: its diffs are applied, and the programs that come out of them run."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import linformer_cpp

PAGE = (pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"]) / "docs/moving.md").read_text(encoding="utf-8")
DIFFS = dict(re.findall(r"^## ([^\n]*)\n\n```diff\n(.*?)^```$", PAGE, flags=re.M | re.S))
NANO_GPT, TRAINER, PYPI = DIFFS
# Fewer steps; nothing else is changed.
SHORTER = {NANO_GPT: ("range(2000)", "range(30)"), TRAINER: ("max_steps=200", "max_steps=20, use_cpu=True"), PYPI: ("", "")}


def side(name, sign):
    """The program before (-) or after (+) the diff."""
    lines = DIFFS[name].splitlines()
    assert all(line[:1] in (" ", "+", "-") for line in lines)
    return "\n".join(line[1:] for line in lines if line[0] in " " + sign)


def run(program, folder, name, more=""):
    long, short = SHORTER[name]
    assert long in program
    (folder / "program.py").write_text("import torch\ntorch.set_num_threads(1)\ntorch.manual_seed(0)\n" + program.replace(long, short) + more)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(os.path.dirname(linformer_cpp.__file__)), *filter(None, [os.environ.get("PYTHONPATH")])]),
                                "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=240, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def folder(tmp_path):
    text = b"the cat sat on the mat. the dog sat on the log. " * 60
    (tmp_path / "input.txt").write_bytes(text)
    (tmp_path / "train.bin").write_bytes(b"".join(byte.to_bytes(2, "little") for byte in text))
    return tmp_path


def test_the_page_has_the_three_that_it_promises():
    assert len(DIFFS) == 3 and "nanoGPT" in NANO_GPT and "Trainer" in TRAINER and "PyPI" in PYPI
    assert all(set("+- ") <= {line[0] for line in diff.splitlines()} for diff in DIFFS.values())


def test_nano_gpt(folder):
    shown = run(side(NANO_GPT, "+"), folder, NANO_GPT, "\nprint(loss.item())")
    made, loss = shown.splitlines()[-2:]
    assert len(eval(made)) == 50 and float(loss) < 3  # 5.5 before training
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("sign", "-+")
def test_trainer(folder, sign):
    shown = run(side(TRAINER, sign), folder, TRAINER, "\nprint(trainer.state.log_history[-1]['train_loss'])")
    made, loss = shown.splitlines()[-2:]
    assert eval(made).startswith(b"the cat") and len(eval(made)) == 47 and float(loss) < 4.5


def test_pypi(folder):
    assert run(side(PYPI, "+"), folder, PYPI).splitlines()[-1] == "torch.Size([2, 512, 64])"
