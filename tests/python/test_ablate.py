"""`linformer ablate`, recall and masked models as a user runs them: killed, stopped, wrong grids."""

import fcntl
import json
import os
import signal
import subprocess

import pytest

from waiting import wait_until

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
GRID = """
title = "Tiny"
seeds = [0, 1]
[model]
length = 24
width = 12
layers = 2
heads = 2
[attention]
window = 4
slots = 5
[train]
steps = 60
batch = 3
save_every = 9
evaluate_every = 20
learning_rate = 3e-3
[data]
source = "recall"
pairs = 3
keys = 7
values = 6
sequences = 20
[[point]]
name = "running"
[[point]]
name = "softmax"
attention.kind = "softmax"
"""


def program(*arguments, status=0):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert result.returncode == status, result.stderr
    return result


def command(grid, out):
    return [PROGRAM, "ablate", "--threads", "1", "--grid", str(grid), "--out", str(out)]


def learning(out):
    """The table without what a clock decides."""
    rows = [json.loads(line) for line in (out / "table.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("equal_time", None)
        for seed in row["seeds"]:
            for key in "seconds", "tokens_per_second":
                assert seed.pop(key) > 0
    return rows


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    path = tmp_path_factory.mktemp("ablate") / "tiny.toml"
    path.write_text(GRID)
    return path


@pytest.fixture(scope="module")
def undisturbed(grid):
    out = grid.parent / "undisturbed"
    result = subprocess.run(command(grid, out), capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert all(word in result.stdout for word in ("Tiny", "running (base)", "softmax", "accuracy"))
    return out


def test_the_table(undisturbed):
    rows = learning(undisturbed)
    assert [row["point"] for row in rows] == ["running", "softmax"]
    assert rows[1]["changes"] == {"attention.kind": "softmax"}
    assert {seed["seed"] for seed in rows[0]["seeds"]} == {0, 1}
    by_distance = rows[0]["seeds"][0]["accuracy_by_distance"]
    assert sum(entry["queries"] for entry in by_distance) == 3 * 20
    assert all(0 <= entry["accuracy"] <= 1 and entry["first"] <= entry["distance"] <= entry["last"] + 1 for entry in by_distance)
    about = json.loads((undisturbed / "ablation.json").read_text())
    assert about["type"] == "ablation" and about["grid"]["train"]["steps"] == 60 and "processor" in about["machine"]


def wait_for_lines(process, file, count):
    """Until the file has `count` lines, or the process has ended."""
    wait_until(lambda: process.poll() is not None or (file.exists() and len(file.read_bytes().splitlines()) >= count), pause=0.001)


@pytest.mark.parametrize("kill_at", [("running/seed-0", 14), ("softmax/seed-0", 25), ("running/seed-1", 40)])
def test_a_killed_grid_ends_with_the_same_table(grid, undisturbed, tmp_path, kill_at):
    run, step = kill_at
    metrics = tmp_path / "out" / run / "metrics.jsonl"
    process = subprocess.Popen(command(grid, tmp_path / "out"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_lines(process, metrics, step)
    process.kill()
    process.communicate()
    result = subprocess.run(command(grid, tmp_path / "out"), capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert learning(tmp_path / "out") == learning(undisturbed)


def test_a_stopped_grid_says_how_to_go_on(grid, undisturbed, tmp_path):
    text = grid.read_text().replace("steps = 60", "steps = 3000")
    (tmp_path / "grid.toml").write_text(text)
    process = subprocess.Popen(command(tmp_path / "grid.toml", tmp_path / "out"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "out/running/seed-0/metrics.jsonl"
    wait_for_lines(process, metrics, 12)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "continue with: linformer ablate --grid" in errors
    assert list((tmp_path / "out/running/seed-0/checkpoints").glob("step-*"))


def test_dtype_is_said_for_the_whole_grid(grid, tmp_path):
    (tmp_path / "grid.toml").write_text(grid.read_text().replace("steps = 60", "steps = 3"))
    program(*command(tmp_path / "grid.toml", tmp_path / "out")[1:], "--dtype", "bfloat16")
    assert json.loads((tmp_path / "out/softmax/seed-1/config.json").read_text())["train"]["dtype"] == "bfloat16"
    assert "--dtype bfloat16" in json.loads((tmp_path / "out/ablation.json").read_text())["command"]
    result = program(*command(grid, tmp_path / "auto")[1:], "--dtype", "auto", status=2)
    assert "--dtype is auto" in result.stderr and not (tmp_path / "auto").exists()


def test_nothing_runs_when_one_point_is_impossible(grid, tmp_path):
    (tmp_path / "grid.toml").write_text(grid.read_text() + '[[point]]\nname = "late"\nattention.slots = 99\n')
    result = program("ablate", "--grid", tmp_path / "grid.toml", "--out", tmp_path / "out", status=2)
    assert "point late" in result.stderr and "attention.slots has 99" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_foreign_run_is_remarked_and_the_rest_reported(grid, undisturbed, tmp_path):
    out = tmp_path / "out"
    subprocess.run(["cp", "-r", undisturbed, out], check=True)
    (out / "softmax/seed-1/metrics.jsonl").write_text("")
    (out / "softmax/seed-1/config.json").write_text("{}")
    result = subprocess.run(command(grid, out), capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "point softmax, seed 1 is left out" in result.stderr and "1 of 4 runs" in result.stderr
    rows = learning(out)
    assert rows[0] == learning(undisturbed)[0] and len(rows[1]["seeds"]) == 1


def test_a_folder_in_use_is_left_alone(grid, undisturbed, tmp_path):
    out = tmp_path / "out"
    subprocess.run(["cp", "-r", undisturbed, out], check=True)
    before = (out / "ablation.json").read_bytes()
    other = os.open(out / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert f"{out}: is being written by another process" in program(*command(grid, out)[1:], status=2).stderr
        assert (out / "ablation.json").read_bytes() == before
    finally:
        os.close(other)
    program(*command(grid, out)[1:])


def test_a_point_whose_first_run_is_damaged_keeps_its_other(grid, undisturbed, tmp_path):
    out = tmp_path / "out"
    subprocess.run(["cp", "-r", undisturbed, out], check=True)
    (out / "softmax/seed-0/metrics.jsonl").write_text("")
    (out / "running/seed-0/model.safetensors").unlink()  # its last checkpoint is whole: written again
    result = subprocess.run(command(grid, out), capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "point softmax, seed 0 is left out" in result.stderr and f"remove the folder {out / 'softmax/seed-0'}" in result.stderr
    rows = {row["point"]: row for row in learning(out)}
    assert [seed["seed"] for seed in rows["softmax"]["seeds"]] == [1]
    assert rows["running"] == {row["point"]: row for row in learning(undisturbed)}["running"]


def test_a_recall_run_is_evaluated_and_read_back(undisturbed, tmp_path):
    run = undisturbed / "running/seed-0"
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    own = json.loads(program("evaluate", "--model", run, "--json").stdout)
    assert own["loss"] == pytest.approx(last["validation_loss"], abs=1e-5) and own["accuracy"] == last["accuracy"]
    assert own["tokens"] == 3 * 20 and "bits_per_byte" not in own
    ids = program("generate", "--model", run, "--prompt", "3 9 1 8 3", "--max-tokens", "4").stdout
    assert all(word.isdigit() for word in ids.split())


def test_a_masked_model(tmp_path):
    (tmp_path / "text.txt").write_text("The cat sat on the mat; the dog ate the log. " * 100)
    program("prepare", "--input", tmp_path / "text.txt", "--out", tmp_path / "data", "--tokenizer", "bytes")
    fields = {"model.length": 24, "model.width": 12, "model.layers": 2, "model.heads": 2, "attention.slots": 6, "train.steps": 150,
              "train.batch": 4, "train.dtype": "float32", "train.learning_rate": 0.01, "model.causal": "false", "train.objective": "masked"}
    flags = [part for name, value in fields.items() for part in ("--" + name, value)]
    summary = json.loads(program("train", "--threads", "1", "--data", tmp_path / "data", "--out", tmp_path / "run", "--json", *flags).stdout)
    assert summary["validation_loss"] < 3.2 and "bits_per_byte" not in summary  # of 256 ids: 5.5
    assert json.loads((tmp_path / "run/config.json").read_text())["model"]["vocabulary"] == 257
    for flags in [], ["--data", tmp_path / "data"]:
        again = json.loads(program("evaluate", "--model", tmp_path / "run", "--json", "--batch", "4", *flags).stdout)
        assert again["loss"] == pytest.approx(summary["validation_loss"], abs=1e-5)
    assert "bidirectional" in program("evaluate", "--model", tmp_path / "run", "--data", tmp_path / "text.txt", status=2).stderr
    wrong = program("train", "--data", tmp_path / "data", "--out", tmp_path / "other", "--model.length", "24", "--attention.window", "4",
                    "--attention.slots", "4", "--train.objective", "masked", status=2)
    assert "model.causal" in wrong.stderr
