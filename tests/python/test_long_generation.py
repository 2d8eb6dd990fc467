"""tools/long_generation.py: what a model of bytes writes for a long time, with its speed and memory."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
PROGRAM = pathlib.Path(os.environ["LINFORMER_BINARY_DIR"]) / "linformer"
TOKENS = 12000


def program(*words):
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def generate(model, out, *flags, status=0, **variables):
    command = [sys.executable, SOURCE / "tools/long_generation.py", "--program", PROGRAM, "--model", model, "--out", out, *map(str, flags)]
    done = subprocess.run(command, capture_output=True, timeout=300, env={**os.environ, **variables})
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Its context is 32 tokens, so that it writes far past it."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "text.txt").write_text("the cat sat on the mat, and the dog lay under it. " * 40)
    program("prepare", "--input", folder / "text.txt", "--out", folder / "data", "--tokenizer", "bytes")
    program("train", "--data", folder / "data", "--out", folder / "run", "--model.length", 32, "--model.width", 16, "--model.layers", 2, "--model.heads", 2, "--model.position", "rotary",
            "--attention.projection", "periodic", "--attention.window", 8, "--attention.slots", 4, "--train.batch", 4, "--train.steps", 2, "--train.dtype", "float32", "--threads", 1)
    return folder / "run"


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("long")
    return out, generate(model, out, "--tokens", TOKENS, "--every", 0.01, "--prompt", "the ", "--threads", 1, "--seed", 3)


def test_the_text_and_its_samples(written):
    out, done = written
    text = (out / "text.txt").read_bytes()
    assert text.startswith(b"the ") and TOKENS <= len(text) < 1.1 * TOKENS + 10
    lines = [json.loads(line) for line in (out / "generation.jsonl").read_text().splitlines()]
    assert len(lines) > 4 and lines[-1]["tokens"] <= len(text)
    for key in ("tokens", "seconds"):
        values = [line[key] for line in lines]
        assert values == sorted(values) and values[0] > 0, key
    assert all(1 << 20 < line["resident_bytes"] < 1 << 34 for line in lines)
    said = json.loads(done.stdout)
    assert {key: said[key] for key in ("tokens", "seconds")} == {key: lines[-1][key] for key in ("tokens", "seconds")}
    assert said["first_quarter"]["resident_mib"] == lines[1]["resident_bytes"] / 2**20 and said["last_quarter"]["resident_mib"] == lines[-1]["resident_bytes"] / 2**20
    assert said["first_quarter"]["tokens_per_second"] > 0 and said["last_quarter"]["tokens_per_second"] > 0


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="pictures need gnuplot")
def test_the_picture(written):
    root = ElementTree.parse(written[0] / "generation.svg").getroot()
    words = {"".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"speed", "memory", "tokens written", "tokens a second", "memory of the process, MiB"} <= words


def test_without_gnuplot_there_is_no_picture(model, tmp_path):
    done = generate(model, tmp_path / "out", "--tokens", TOKENS, "--every", 0.01, "--threads", 1, PATH=str(tmp_path))
    assert b"gnuplot is not installed" in done.stderr and not (tmp_path / "out/generation.svg").exists()


def test_bad_input(model, tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"kind": "bpe"}')
    done = generate(tmp_path, tmp_path / "out", status=2)
    assert b"is bpe, expected bytes" in done.stderr and not (tmp_path / "out").exists()
    assert b"--model is the folder of a run" in generate(tmp_path / "nothing", tmp_path / "out", status=2).stderr
    assert b"make build" in generate(model, tmp_path / "out", "--program", tmp_path / "nothing", status=2).stderr
    assert b"ended too soon" in generate(model, tmp_path / "out", "--tokens", 3, status=2).stderr
