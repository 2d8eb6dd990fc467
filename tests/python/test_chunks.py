"""`train --train.chunk` and `train.carry_state` as a user runs them: the bits of a resumed run, what is refused, what `auto` takes."""

import json
import os
import resource
import signal
import subprocess
import time

import pytest

from train_program import PROGRAM, TRIES, command, metrics_of, prepare_text, start, steps_of, train, weights_of
from waiting import wait_until

MODEL = {"model.length": 4096, "model.width": 16, "model.layers": 2, "model.heads": 2, "model.dropout": 0.1, "model.position": "rotary",
         "attention.projection": "periodic", "attention.window": 16, "attention.slots": 4}
FIELDS = {**MODEL, "train.batch": 1, "train.dtype": "float32", "train.chunk": 64, "train.steps": 6, "train.save_every": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_text(tmp_path_factory.mktemp("chunks"), "data", "".join(f"{i} is {i * i % 977}; " for i in range(3000)))


def losses_of(run):
    return [line["loss"] for line in metrics_of(run)]


def test_chunks_learn_what_the_whole_learns(data, tmp_path):
    for name, chunk in ("whole", 0), ("cut", 64):
        train("--data", data, "--out", tmp_path / name, **{**FIELDS, "train.chunk": chunk})
    assert losses_of(tmp_path / "cut") == pytest.approx(losses_of(tmp_path / "whole"), rel=1e-5)
    assert losses_of(tmp_path / "cut")[-1] < losses_of(tmp_path / "cut")[0]


CARRIED = {"train.carry_state": "true", "data.order": "sequential", "model.length": 1024}


@pytest.mark.parametrize("more", [{}, CARRIED, {**CARRIED, "attention.projection": "gated", "attention.sinks": 4}])
def test_a_kill_within_a_step_loses_nothing(data, tmp_path, more):
    fields = {**FIELDS, "train.steps": 30, **more}
    train("--data", data, "--out", tmp_path / "undisturbed", **fields)
    run = tmp_path / "run"
    for _ in range(TRIES):
        process = start("--data", data, "--out", run, "--overwrite", **fields)
        wait_until(lambda: 4 in steps_of(run) or process.poll() is not None)
        time.sleep(0.02)  # somewhere within a step
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            break
    assert process.returncode == -signal.SIGKILL and 30 not in steps_of(run)
    assert not list(run.glob(".states-*"))
    train("--data", data, "--out", run, "--resume", **fields)
    assert weights_of(run) == weights_of(tmp_path / "undisturbed")
    assert losses_of(run) == losses_of(tmp_path / "undisturbed")


def test_what_cant_be_is_refused(data, tmp_path):
    def error(**fields):
        return train("--data", data, "--out", tmp_path / "run", status=2, **{**FIELDS, **fields}).stderr

    assert "train.chunk is 40, expected a multiple of attention.window = 16, such as 32" in error(**{"train.chunk": 40})
    assert "data.order to sequential" in error(**{"train.carry_state": "true"})
    assert not (tmp_path / "run").exists()
    train("--data", data, "--out", tmp_path / "run", **{**FIELDS, "train.steps": 2})
    result = train("--data", data, "--out", tmp_path / "run", "--resume", status=2, **{**FIELDS, "train.steps": 2, "train.chunk": 32})
    assert "train.chunk is 32, but the run was started with 64" in result.stderr


def test_auto_cuts_what_does_not_fit(data, tmp_path):
    fields = {**FIELDS, "train.steps": 1, "model.width": 256, "model.length": 16384}
    del fields["train.chunk"]

    def run_within(gibibytes, out):
        def limit():
            resource.setrlimit(resource.RLIMIT_DATA, (int(gibibytes * 2**30),) * 2)
        return subprocess.run(command("--data", data, "--out", out, **fields), capture_output=True, text=True, timeout=120,
                              preexec_fn=limit if gibibytes else None)

    cut = run_within(0.75, tmp_path / "cut")
    assert cut.returncode == 0, cut.stderr
    assert "chunk" in cut.stderr and "--train.chunk" in cut.stderr
    chunk = json.loads((tmp_path / "cut" / "config.json").read_text())["train"]["chunk"]
    assert chunk >= 16 and chunk % 16 == 0
    # What was taken stays when the run goes on with more memory.
    fields["train.steps"] = 1
    assert train("--data", data, "--out", tmp_path / "cut", "--resume", **fields).returncode == 0
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["train"]["chunk"] == chunk


def test_progress_within_a_step(data, tmp_path):
    """A step of a long text shows how far it is."""
    import pty

    parent, child = pty.openpty()
    process = subprocess.Popen(command("--data", data, "--out", tmp_path / "run", **{**FIELDS, "train.steps": 2, "model.length": 16384}), stdout=subprocess.DEVNULL,
                               stderr=child)
    os.close(child)
    seen = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0
    assert b"% of step 1" in seen
