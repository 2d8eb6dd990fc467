"""Work that memory can't hold: one clear message, with what it would take and what there is, and exit status 2."""

import re
import resource
import subprocess

import pytest

from train_program import BASE, PROGRAM, prepare_text, train

LIMIT = 3 << 30  # of the process, so that no machine is brought down


def program(*arguments):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))

    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60, preexec_fn=limit)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    prepare_text(folder, "data", "The cat sat on the mat; the dog ate the log. " * 300)
    train("--data", folder / "data", "--out", folder / "model", **{**BASE, "train.steps": 1})
    return folder


def fields_of(fields):
    return [x for name, value in fields.items() for x in ("--" + name, value)]


@pytest.mark.parametrize("fields, parts", [
    ({"train.batch": 1_000_000_000}, ["train.batch = 1000000000", "model.length = 24", "use a train.batch below"]),
    ({"train.batch": 9223372036854775807}, ["train.batch = 9223372036854775807", "use a train.batch below"]),
    ({"model.width": 1 << 24}, ["smaller model.width"]),
    ({"model.layers": 4096, "model.width": 4096}, ["fewer model.layers"]),
    ({"model.length": 1200, "model.width": 512, "model.layers": 12, "attention.window": 64, "train.batch": 16, "train.chunk": 0},
     ["use a train.batch below", "train.chunk = auto"]),
])
def test_a_training_is_refused_before_it_starts(work, tmp_path, fields, parts):
    result = program("train", "--threads", 1, "--data", work / "data", "--out", tmp_path / "run", *fields_of({**BASE, **fields}))
    assert result.returncode == 2, result.stderr
    found = re.fullmatch(r"linformer: error: training needs at least [\d.]+ [kMGTPE]B, but there are [\d.]+ (bytes|[kMG]B): .*\n", result.stderr)
    assert found and all(part in result.stderr for part in parts), result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments, part", [
    (["--samples", 100_000_000], "--samples 100000000"),
    (["--samples", 9_000_000_000_000_000_000], "--samples 9000000000000000000"),
])
def test_what_runs_out_on_its_way_says_what_was_asked_for(work, arguments, part):
    result = program("generate", "--threads", 1, "--model", work / "model", "--prompt", "The", "--overflow", "slide", *arguments)
    assert result.returncode == 2, result.stderr
    message = result.stderr.splitlines()[-1]
    assert re.match(r"linformer: error: out of memory(: [\d.]+ [kMGTPE]B were asked for in one piece)?, with [\d.]+ [MG]B free; use less than ", message)
    assert part in message and "alloc" not in message
