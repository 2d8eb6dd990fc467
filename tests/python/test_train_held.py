"""A run's folder is held while a process writes it: the second one is refused, and told by which."""

import json
import os
import signal
import subprocess

import pytest

from train_program import BASE, LONG, PROGRAM, command, metrics_of, prepare_text, start, steps_of, train, wait_for_step, weights_of

# Far more steps than a test waits for.
ENDLESS = {**LONG, "train.steps": 10_000_000, "train.evaluate_every": 0, "train.save_every": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_text(tmp_path_factory.mktemp("held"), "data", "The cat sat on the mat; the dog ate the log. " * 300)


@pytest.fixture
def live(data, tmp_path):
    """A training at work."""
    run = tmp_path / "run"
    process = start("--data", data, "--out", run, **ENDLESS)
    wait_for_step(process, run, 3)
    assert process.poll() is None
    yield process, run
    if process.poll() is None:
        process.kill()
        process.communicate()


def test_the_second_is_refused_and_told_by_which(live, data):
    process, run = live
    held = f"{run}: is being written by process {process.pid} on "
    again = ["--overwrite", "--data", data]
    for arguments, fields in (["--resume"], {}), (again, BASE), (again, {**BASE, "model.width": 24}):
        errors = train(*arguments, "--out", run, status=2, **fields).stderr
        assert held in errors and ", since 20" in errors and "choose another --out" in errors
    config = json.loads((run / "config.json").read_text())
    assert config["train"]["steps"] == ENDLESS["train.steps"] and config["model"]["width"] == BASE["model.width"]
    step = metrics_of(run)[-1]["step"]
    wait_for_step(process, run, step + 10)  # the first goes on undisturbed
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert not (run / ".lock").exists()
    lines = [line["step"] for line in metrics_of(run)]
    assert lines == list(range(1, len(lines) + 1)) and steps_of(run)[-1] == lines[-1]
    assert weights_of(run) == (run / f"checkpoints/step-{lines[-1]:06}/model.safetensors").read_bytes()


def test_what_a_killed_process_held_is_free(live, data):
    process, run = live
    process.kill()
    process.communicate()
    assert (run / ".lock").exists()
    train("--overwrite", "--data", data, "--out", run, **{**BASE, "train.steps": 2})
    assert steps_of(run) == [2] and not (run / ".lock").exists()


def test_two_that_start_in_a_new_folder(data, tmp_path):
    """Both see that there is no folder; one makes and holds it, the other is refused."""
    for round_number in range(5):
        run = tmp_path / f"run{round_number}"
        fields = {**BASE, "train.steps": 30, "train.evaluate_every": 0}
        processes = [start("--data", data, "--out", run, **{**fields, "seed": seed}) for seed in (1, 2)]
        errors = [process.communicate(timeout=60)[1] for process in processes]
        statuses = [process.returncode for process in processes]
        assert sorted(statuses) == [0, 2], errors
        # Before the holder has written its line, the message names it "another process".
        assert any(part in errors[statuses.index(2)] for part in ("is being written by ", "holds a run already"))
        seed = json.loads((run / "config.json").read_text())["seed"]
        assert seed == 1 + statuses.index(0)
        subprocess.run(command("--data", data, "--out", tmp_path / "alone", "--overwrite", **{**fields, "seed": seed}), check=True,
                       capture_output=True)
        assert weights_of(run) == weights_of(tmp_path / "alone")


def test_a_folder_in_which_nothing_was_started_stays_as_it_was(data, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    train("--data", data, "--out", run, status=2, **{**BASE, "model.width": 13})
    assert os.listdir(run) == []
    (run / ".lock").write_text("")  # all that a start which was killed early leaves
    train("--data", data, "--out", run, **{**BASE, "train.steps": 1})
    assert steps_of(run) == [1]


def test_a_point_of_an_ablation_is_held_too(data, tmp_path):
    out, grid = tmp_path / "ablation", tmp_path / "grid.toml"
    fields = {"model.length": 24, "model.width": 12, "model.layers": 1, "model.heads": 2, "attention.window": 4, "attention.slots": 5,
              "train.steps": 10_000_000, "train.batch": 1}
    sections = {}
    for name, value in fields.items():
        sections.setdefault(name.split(".")[0], []).append(f"{name.split('.')[1]} = {value}")
    text = "".join(f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in sections.items())
    grid.write_text(text + f'[data]\nfolder = "{data}"\n[[point]]\nname = "a"\n')
    (out / "a").mkdir(parents=True)
    process = start("--data", data, "--out", out / "a/seed-0", **{**fields, "train.dtype": "float32"})
    try:
        wait_for_step(process, out / "a/seed-0", 3)
        result = subprocess.run([PROGRAM, "ablate", "--threads", "1", "--grid", grid, "--out", out], capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert f"point a, seed 0 is left out: {out}/a/seed-0: is being written by process {process.pid}" in result.stderr
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_text_that_is_prepared_again_leaves_a_live_run_alone(tmp_path):
    """It reads on in the file that it has mapped; the new one only takes its name."""
    data = prepare_text(tmp_path, "data", "The cat sat on the mat; the dog ate the log. " * 300)
    train("--data", data, "--out", tmp_path / "undisturbed", **LONG)
    process = start("--data", data, "--out", tmp_path / "run", **LONG)
    wait_for_step(process, tmp_path / "run", 1)
    prepare_text(tmp_path, "data", "Quite another text, in other words altogether. " * 300, "--overwrite")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "undisturbed")
