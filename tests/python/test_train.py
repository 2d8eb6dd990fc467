"""`linformer train` as a user runs it: killed, stopped, out of disk, diverging, resumed."""

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

from train_program import (BASE, LONG, PROGRAM, STEPS, TRIES, WEIGHTS, command, flip, metrics_of, prepare_text, start, steps_of, temporaries_of,
                           train, wait_for_step, weights_of)
from waiting import wait_until


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    for name, text in ("data", "The cat sat on the mat; the dog ate the log. "), ("other", "Other text than before. "):
        prepare_text(folder, name, text * 300)
    return folder


@pytest.fixture(scope="module")
def undisturbed(work):
    train("--data", work / "data", "--out", work / "undisturbed", **BASE)
    return work / "undisturbed"


@pytest.fixture
def copy_at_16(undisturbed, tmp_path, work):
    """A run that was stopped after its checkpoints of steps 8 and 16."""
    run = tmp_path / "run"
    process = start("--data", work / "data", "--out", run, **{**BASE, "train.keep": 99})
    wait_for_step(process, run, 16)
    wait_until(lambda: 16 in steps_of(run))
    process.kill()
    process.communicate()
    for step in steps_of(run):
        if step > 16:
            shutil.rmtree(run / f"checkpoints/step-{step:06}")
    return run


@pytest.fixture(scope="module")
def undisturbed_long(work):
    train("--data", work / "data", "--out", work / "undisturbed_long", **LONG)
    return work / "undisturbed_long"


def assert_same_run(run, undisturbed):
    steps = json.loads((undisturbed / "config.json").read_text())["train"]["steps"]
    assert weights_of(run) == weights_of(undisturbed)
    for name in "model.safetensors", "optimizer.safetensors":
        last = f"checkpoints/step-{steps:06}/{name}"
        assert (run / last).read_bytes() == (undisturbed / last).read_bytes()
    assert (run / "checkpoints/best/model.safetensors").read_bytes() == (undisturbed / "checkpoints/best/model.safetensors").read_bytes()
    found, expected = metrics_of(run), metrics_of(undisturbed)
    assert [line["step"] for line in found] == list(range(1, steps + 1))
    for key in "loss", "gradient_norm", "learning_rate", "validation_loss":
        assert [line.get(key) for line in found] == [line.get(key) for line in expected]
    assert not temporaries_of(run)


def killed_at_every_step(run, data):
    """Kills and resumes a run on its way; False when it ended before a kill."""
    process = start("--data", data, "--out", run, **LONG)
    wait_until(lambda: process.poll() is not None or (run / "config.json").exists(), pause=0.0005)
    process.kill()  # before the first step
    process.communicate()
    for step in 3, 49, 51:  # 50 evaluates
        process = start("--resume", "--out", run)
        wait_for_step(process, run, step)
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            return False
        assert process.returncode == -signal.SIGKILL, errors
        assert metrics_of(run)[-1]["step"] - max(steps_of(run), default=0) <= LONG["train.save_every"] + 1
    return True


def test_kill_at_any_moment_costs_only_the_steps_since_the_last_save(work, undisturbed_long, tmp_path):
    assert any(killed_at_every_step(run := tmp_path / f"run{i}", work / "data") for i in range(TRIES))
    train("--resume", "--out", run)
    assert_same_run(run, undisturbed_long)


def killed_in_a_save(process, run):
    """Kills a process while a checkpoint's temporary folder is there; False when it ended before."""
    folder = run / "checkpoints"

    def saving():
        return any(name.startswith(".step-") for name in (os.listdir(folder) if folder.exists() else []))

    while True:
        wait_until(lambda: process.poll() is not None or saving(), pause=0)
        if process.poll() is not None:
            return False
        process.send_signal(signal.SIGSTOP)  # so that the save can't end between the look and the kill
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if temporaries_of(folder):
            process.kill()
            process.communicate()
            return True
        process.send_signal(signal.SIGCONT)


def test_kill_during_saves(work, undisturbed_long, tmp_path):
    run = tmp_path / "run"
    for kill in range(2):
        first = ["--data", work / "data"] if kill == 0 else ["--resume"]
        assert killed_in_a_save(start(*first, "--out", run, **({**LONG, "train.save_every": 1} if kill == 0 else {})), run)
    train("--resume", "--out", run, **{"train.save_every": LONG["train.save_every"]})
    assert_same_run(run, undisturbed_long)


@pytest.mark.parametrize("stop, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_leave(work, undisturbed_long, tmp_path, stop, status):
    for i in range(TRIES):
        run = tmp_path / f"run{i}"
        process = start("--data", work / "data", "--out", run, **{**LONG, "train.save_every": 0})
        wait_for_step(process, run, 21)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=30)
        if process.returncode:
            break
    assert process.returncode == status
    step = metrics_of(run)[-1]["step"]
    assert steps_of(run) == [step] and 21 <= step < LONG["train.steps"]
    assert f"stopped at step {step} of {LONG['train.steps']}" in errors and f"--resume --out {run}" in errors
    assert weights_of(run) == (run / f"checkpoints/step-{step:06}/model.safetensors").read_bytes()
    train("--resume", "--out", run)
    assert_same_run(run, undisturbed_long)


def test_full_disk_while_saving(copy_at_16, undisturbed):
    run = copy_at_16
    before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
    # Room for the model, not for the optimiser's moments.
    errors = train("--resume", "--out", run, limit=int(WEIGHTS * 1.4), status=2).stderr
    assert "step-000024" in errors and "File too large" in errors and "optimizer.safetensors" in errors
    assert steps_of(run) == [8, 16]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not temporaries_of(run)
    train("--resume", "--out", run)
    assert_same_run(run, undisturbed)


def test_full_disk_at_the_start(work, undisturbed, tmp_path):
    run = tmp_path / "run"
    errors = train("--data", work / "data", "--out", run, status=2, limit=WEIGHTS // 2, **BASE).stderr
    assert "model.safetensors" in errors and "File too large" in errors
    train("--resume", "--out", run)
    assert weights_of(run) == weights_of(undisturbed)


def test_divergence_stops_with_the_step_and_what_to_try(work, tmp_path):
    run = tmp_path / "run"
    errors = train("--data", work / "data", "--out", run, status=2, **{**BASE, "train.save_every": 1, "train.learning_rate": 1e25,
                                                                    "train.warmup_fraction": 0}).stderr
    last = metrics_of(run)[-1]["step"]
    assert f"step {last + 1}: loss" in errors and "not finite" in errors and f"checkpoints/step-{last:06}" in errors
    assert "lower train.learning_rate (now 1e+25), a smaller train.clip (now 1)" in errors and "--from" in errors
    assert "train.dtype" not in errors  # it is float32 already
    assert steps_of(run)[-1] == last
    train("--resume", "--out", run, status=2)  # the same again, from the checkpoint that the message named


def test_divergence_advises_only_what_applies(work, tmp_path):
    errors = train("--data", work / "data", "--out", tmp_path / "run", status=2, **{
        **BASE, "train.clip": 0, "train.dtype": "bfloat16", "train.learning_rate": 1e30, "train.warmup_fraction": 0}).stderr
    assert "a train.clip such as 1 (now 0: gradients are not clipped), train.dtype float32 (now bfloat16)" in errors
    assert "smaller train.clip" not in errors and "-nan" not in errors


def test_damaged_checkpoints_are_passed_over(copy_at_16, undisturbed):
    run = copy_at_16
    flip(run / "checkpoints/step-000016/model.safetensors")  # in the mantissa of some weight
    errors = train("--resume", "--out", run).stderr
    assert "checkpoint of step 16 can't be used" in errors and "model.safetensors: is damaged: its sha256" in errors
    assert_same_run(run, undisturbed)
    kept = run / "checkpoints/damaged-step-000016"
    assert {path.name for path in kept.iterdir()} >= {"model.safetensors", "optimizer.safetensors", "state.json"}


def test_a_checkpoint_that_is_sound_but_unusable_stops_the_run(copy_at_16):
    run = copy_at_16
    state = run / "checkpoints/step-000016/state.json"
    state.write_text(state.read_text().replace('"format_version": 1', '"format_version": 2'))
    (run / ".lock").unlink()  # which the kill left
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    errors = train("--resume", "--out", run, status=2).stderr
    assert str(state) in errors and "format_version is 2" in errors
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lost", [["checkpoints"], ["checkpoints", "model.safetensors"]])
def test_a_run_that_lost_its_checkpoints_is_left_alone(undisturbed, tmp_path, lost):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    for name in lost:
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    errors = train("--resume", "--out", run, status=2).stderr
    assert str(run) in errors and "no checkpoint to resume from" in errors and "--overwrite" in errors
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_paths_need_not_be_utf8(work, tmp_path):
    """JSON on standard output shows U+FFFD; what config.json must hold exactly is refused before anything is written."""
    data, run = os.fsencode(tmp_path) + b"/d\xe4ta", os.fsencode(tmp_path) + b"/r\xfcn"
    prepare = subprocess.run([PROGRAM, "prepare", "--json", "--input", work / "data.txt", "--out", data, "--tokenizer", "bytes"],
                             capture_output=True)
    assert prepare.returncode == 0 and json.loads(prepare.stdout)["out"].endswith("/d\ufffdta")
    fields = [x for name, value in {**BASE, "train.steps": 2}.items() for x in ("--" + name, str(value))]
    refused = subprocess.run([PROGRAM, "train", "--data", data, "--out", run, *fields], capture_output=True)
    assert refused.returncode == 2 and "d\ufffdta" in refused.stderr.decode() and "not UTF-8" in refused.stderr.decode()
    assert not os.path.exists(run)
    subprocess.run([PROGRAM, "train", "--json", "--data", work / "data", "--out", run, *fields], check=True, capture_output=True)
    for path in data, run:
        info = subprocess.run([PROGRAM, "info", "--json", path], capture_output=True)
        assert info.returncode == 0, info.stderr
        json.loads(info.stdout)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "config.json", "tokenizer.json"])
def test_no_good_checkpoint_is_an_error(undisturbed, tmp_path, file):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    kept = {}
    for step in steps_of(run):
        path = run / f"checkpoints/step-{step:06}" / file
        if file == "state.json":  # still JSON, with another number
            path.write_text(path.read_text().replace('"best_loss": ', '"best_loss": 1'))
        elif file == "config.json":
            path.write_text(path.read_text().replace("0.003", "0.004"))
        elif step % 16:
            path.write_bytes(path.read_bytes()[:-3])
        else:
            flip(path)
        kept[path] = path.read_bytes()
    errors = train("--resume", "--out", run, status=2).stderr
    assert "none of the 2 checkpoints can be read" in errors and file in errors and "--overwrite" in errors
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_resume_keeps_what_the_run_was_started_with(copy_at_16, work):
    run = copy_at_16
    refused = [("train.learning_rate", 0.004, "0.003"), ("train.steps", STEPS + 1, STEPS), ("model.width", 24, "12"),
               ("attention.slots", 6, "5"), ("train.batch", 4, "3"), ("seed", 7, "0"), ("train.dtype", "bfloat16", "float32")]
    for name, value, before in refused:
        errors = train("--resume", "--out", run, status=2, **{name: value}).stderr
        assert name in errors and f"is {value}" in errors and f"started with {before}" in errors
    assert "other data" in train("--resume", "--out", run, "--data", work / "other", status=2).stderr
    config = run / "config.json"
    config.write_text(config.read_text().replace('"learning_rate": 0.003', '"learning_rate": 0.004'))
    assert "train.learning_rate is 0.004" in train("--resume", "--out", run, status=2).stderr
    assert "--overwrite" in train("--resume", "--overwrite", "--out", run, status=2).stderr


def test_resume_may_change_what_does_not_change_the_weights(copy_at_16, undisturbed):
    train("--resume", "--out", copy_at_16, **{"train.save_every": 100, "train.keep": 1, "train.checkpoint_activations": "true"})
    assert weights_of(copy_at_16) == weights_of(undisturbed)
    assert steps_of(copy_at_16) == [STEPS]
    assert json.loads((copy_at_16 / "config.json").read_text())["train"]["save_every"] == 100


def test_a_finished_run_resumed_mends_the_runs_own_model(undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    older = run / f"checkpoints/step-{STEPS - 8:06}/model.safetensors"
    shutil.copy(older, run)  # as a kill leaves it between the checkpoint and the run's own model
    result = json.loads(train("--resume", "--out", run, "--json").stdout)
    assert result["steps"] == STEPS
    assert_same_run(run, undisturbed)


def test_best_and_latest_checkpoints(undisturbed, work):
    assert steps_of(undisturbed) == [STEPS - 8, STEPS]
    validated = {line["step"]: line["validation_loss"] for line in metrics_of(undisturbed) if "validation_loss" in line}
    assert sorted(validated) == [40, 80, 120]
    state = json.loads((undisturbed / "checkpoints/best/state.json").read_text())
    assert state["best_loss"] == min(validated.values()) == validated[state["step"]]
    result = subprocess.run([PROGRAM, "evaluate", "--threads", "1", "--json", "--model", undisturbed / "checkpoints/best", "--data",
                             work / "data"], capture_output=True, check=True)
    assert json.loads(result.stdout)["loss"] == pytest.approx(state["best_loss"], rel=1e-6)


def test_best_is_not_the_last_when_the_loss_rises(work, tmp_path):
    fields = {**BASE, "train.steps": 60, "train.evaluate_every": 10, "train.learning_rate": 5, "train.warmup_fraction": 1,
              "train.schedule": "constant", "train.save_every": 7, "train.keep": 3}  # the rate grows until the model falls apart
    train("--data", work / "data", "--out", tmp_path / "run", **fields)
    validated = {line["step"]: line["validation_loss"] for line in metrics_of(tmp_path / "run") if "validation_loss" in line}
    best = min(validated, key=validated.get)
    assert best != 60, validated
    assert json.loads((tmp_path / "run/checkpoints/best/state.json").read_text())["step"] == best
    assert steps_of(tmp_path / "run") == [49, 56, 60]


def test_metrics(undisturbed):
    lines = metrics_of(undisturbed)
    assert (undisturbed / "metrics.jsonl").read_bytes().endswith(b"\n")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    always = {"step", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "time"}
    validation = {"validation_loss", "perplexity", "bits_per_byte", "train_seconds"}
    for line in lines:
        assert set(line) == (always | validation if line["step"] % 40 == 0 else always)
        assert all(isinstance(value, (int, float)) for value in line.values())
        assert abs(line["time"] - time.time()) < 3600 and line["tokens_per_second"] > 0
    assert lines[-1]["loss"] < 4 < lines[0]["loss"]
    rates = [line["learning_rate"] for line in lines]
    assert rates[0] == 1e-5 and max(rates) == rates[6] == 0.003 and rates[-1] == pytest.approx(1e-5)


@pytest.mark.parametrize("resumed", [False, True])
def test_tensorboard_reads_the_same_numbers(undisturbed, work, tmp_path, resumed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = undisturbed
    if resumed:
        run = tmp_path / "run"
        process = start("--data", work / "data", "--out", run, **BASE)
        wait_for_step(process, run, 20)
        process.kill()
        process.communicate()
        train("--resume", "--out", run)
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "learning_rate", "gradient_norm", "tokens_per_second", "validation_loss", "perplexity",
                                             "bits_per_byte", "train_seconds"}
    for tag in events.Tags()["scalars"]:
        scalars = events.Scalars(tag)
        expected = [line for line in metrics_of(run) if tag in line]
        assert [scalar.step for scalar in scalars] == [line["step"] for line in expected]
        assert [scalar.value for scalar in scalars] == pytest.approx([line[tag] for line in expected], rel=1e-6)
        assert [scalar.wall_time for scalar in scalars] == [line["time"] for line in expected]


def test_an_existing_folder(undisturbed, work, tmp_path):
    run = tmp_path / "run"
    short = {**BASE, "train.steps": 2}
    shutil.copytree(undisturbed, run)
    (run / "notes.txt").write_text("mine")
    errors = train("--data", work / "data", "--out", run, status=2, **short).stderr
    assert str(run) in errors and "--resume" in errors and "--overwrite" in errors
    assert weights_of(run) == weights_of(undisturbed)
    train("--overwrite", "--data", work / "data", "--out", run, **short)
    assert steps_of(run) == [2] and len(metrics_of(run)) == 2 and len(list((run / "tensorboard").iterdir())) == 1
    assert (run / "notes.txt").read_text() == "mine"

    (tmp_path / "papers").mkdir()
    (tmp_path / "papers/thesis.txt").write_text("mine")
    for flag in [], ["--overwrite"]:
        assert "holds no training run" in train(*flag, "--data", work / "data", "--out", tmp_path / "papers", status=2, **short).stderr
    assert "is a file" in train("--data", work / "data", "--out", tmp_path / "papers/thesis.txt", status=2, **short).stderr
    assert "no run to resume" in train("--resume", "--out", tmp_path / "nothing", status=2).stderr
    assert not (tmp_path / "nothing").exists()


def test_errors_come_before_anything_is_written(work, tmp_path):
    for fields, expected in [({"model.causal": "false", "attention.window": 0}, "model.causal"), ({"model.width": 13}, "model.heads"),
                             ({"train.steps": 0}, "train.steps is 0"), ({"model.length": 100000, "model.width": 2}, "model.length"),
                             ({"model.vocabulary": 17}, "model.vocabulary is 17"), ({"train.steps": "many"}, "train.steps is 'many'")]:
        assert expected in train("--data", work / "data", "--out", tmp_path / "run", status=2, **{**BASE, **fields}).stderr
    assert "--data" in train("--out", tmp_path / "run", status=2, **BASE).stderr
    assert "nowhere" in train("--data", tmp_path / "nowhere", "--out", tmp_path / "run", status=2, **BASE).stderr
    assert not (tmp_path / "run").exists()


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(work, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[model]\nlength = 20\nwidth = 12\nheads = 3\n[attention]\nslots = 4\nwindow = 5\n'
                    '[train]\nsteps = 3\nbatch = 2\ndtype = "float32"\n[generate]\ntemperature = 0.5\n')
    result = train("--config", file, "--data", work / "data", "--out", tmp_path / "run", "--json", **{"train.steps": 2, "model.layers": 1})
    assert json.loads(result.stdout)["steps"] == 2
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["model"]["length"], config["train"]["steps"], config["train"]["batch"], config["model"]["layers"]) == (20, 2, 2, 1)
    assert config["train"]["learning_rate"] == 5e-4 and config["attention"]["window"] == 5
    file.write_text("[train]\nstep = 3\n")
    errors = train("--config", file, "--data", work / "data", "--out", tmp_path / "other", status=2).stderr
    assert str(file) in errors and "unknown key train.step" in errors and "train.steps" in errors


def test_accumulation_resumes_bit_for_bit(work, tmp_path):
    fields = {**BASE, "train.steps": 12, "train.accumulate": 3, "train.batch": 2, "train.save_every": 5, "train.evaluate_every": 0}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train("--data", work / "data", "--out", whole, **fields)
    train("--data", work / "data", "--out", stopped, **fields)
    shutil.rmtree(stopped / "checkpoints/step-000012")
    shutil.rmtree(stopped / "checkpoints/step-000010")
    assert steps_of(stopped) == []
    train("--overwrite", "--data", work / "data", "--out", stopped, **{**fields, "train.keep": 3})
    shutil.rmtree(stopped / "checkpoints/step-000012")
    shutil.rmtree(stopped / "checkpoints/step-000010")
    train("--resume", "--out", stopped)
    assert weights_of(stopped) == weights_of(whole)


def test_dtypes(work, tmp_path):
    """`auto` is decided once; weights stay float32 on disk."""
    fields = {**BASE, "model.length": 9, "model.layers": 1, "train.batch": 1, "train.steps": 2, "train.evaluate_every": 0}
    for dtype in "bfloat16", "auto":
        run = tmp_path / dtype
        train("--data", work / "data", "--out", run, **{**fields, "train.dtype": dtype})
        stored = json.loads((run / "config.json").read_text())["train"]["dtype"]
        assert stored == dtype if dtype != "auto" else stored in ("float32", "bfloat16")
        header = weights_of(run)[8:8 + struct.unpack("<Q", weights_of(run)[:8])[0]]
        assert {entry["dtype"] for name, entry in json.loads(header).items() if name != "__metadata__"} == {"F32"}
        train("--resume", "--out", run, "--dtype", "auto")


def test_json_summary(work, tmp_path):
    result = train("--data", work / "data", "--out", tmp_path / "run", "--json", **{**BASE, "train.steps": 3})
    summary = json.loads(result.stdout)
    assert set(summary) == {"steps", "loss", "validation_loss", "perplexity", "bits_per_byte", "tokens_per_second", "parameters",
                            "peak_memory_bytes", "seconds"}
    assert summary["steps"] == 3 and summary["bits_per_byte"] == pytest.approx(summary["validation_loss"] / 0.6931471805599453)


def test_a_log_gets_few_lines(work, tmp_path):
    lines = train("--data", work / "data", "--out", tmp_path / "run", **{**BASE, "train.evaluate_every": 0}).stderr.splitlines()
    assert len(lines) == 3 and lines[0].startswith("linformer: products of evaluations by ")  # what `auto` took
    assert lines[1].startswith(f"step {STEPS}: loss ") and lines[2].startswith(f"training 100% {STEPS}/{STEPS}")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_gets_a_bar_that_fits(work, tmp_path, columns):
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command("--data", work / "data", "--out", tmp_path / "run", **BASE), stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    text = b""
    try:
        while select.select([reader], [], [], 60)[0] and (chunk := os.read(reader, 4096)):
            text += chunk
    except OSError:  # the other end is closed
        pass
    os.close(reader)
    assert process.wait(timeout=60) == 0
    drawn = [line.decode() for line in text.split(b"\r")]
    bars = [line.replace("\033[K", "").strip("\n") for line in drawn if "training" in line]
    assert len(bars) > 3 and all(len(bar) < columns for bar in bars)
    middle = bars[len(bars) // 2]
    assert "left" in middle and "loss" in middle and f"/{STEPS}" in middle
    if columns >= 80:
        assert "[" in middle and middle.endswith("tokens/s")
    assert "100%" in bars[-1] and text.endswith(b"\r\n")
