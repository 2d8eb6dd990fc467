"""Text that was prepared with `--validation 0`: all of it is trained on, and nothing is evaluated."""

import json
import subprocess

import pytest

from train_program import BASE, PROGRAM, metrics_of, prepare_text, steps_of, train, weights_of

FIELDS = {**BASE, "train.steps": 12, "train.save_every": 5, "train.evaluate_every": 0}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("without")
    prepare_text(folder, "data", "The cat sat on the mat; the dog ate the log. " * 300, "--validation", "0")
    prepare_text(folder, "one", "a" * 200, "--validation", "0.005")
    return folder


def program(*arguments, status=0):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    return result


def test_trains_without_evaluation_and_says_so(work, tmp_path):
    run = tmp_path / "run"
    result = train("--data", work / "data", "--out", run, **FIELDS)
    assert f"{work}/data has no validation part: this run is not evaluated" in result.stderr and "evaluate_every" not in result.stderr
    assert "12 steps, loss " in result.stdout and "not evaluated" in result.stdout and "validation" not in result.stdout
    assert steps_of(run) == [10, 12] and not (run / "checkpoints/best").exists()
    assert len(metrics_of(run)) == 12 and not any("validation_loss" in line for line in metrics_of(run))
    assert metrics_of(run)[-1]["loss"] < metrics_of(run)[0]["loss"]
    assert json.loads((run / "config.json").read_text())["data"]["validation_tokens"] == 0
    again = json.loads(train("--resume", "--out", run, "--json").stdout)
    assert again["steps"] == 12 and again["loss"] == metrics_of(run)[-1]["loss"]
    assert not any(name in again for name in ("validation_loss", "perplexity", "bits_per_byte"))
    assert len(json.loads(program("generate", "--json", "--model", run, "--prompt", "The", "--max-tokens", 3).stdout)["tokens"]) == 3
    program("report", "--out", tmp_path / "page.html", run)
    assert json.loads(program("info", "--json", work / "data").stdout)["bytes_per_token"] is None


def test_asked_for_evaluations_it_says_that_there_are_none(work, tmp_path):
    errors = train("--data", work / "data", "--out", tmp_path / "run", **{**FIELDS, "train.evaluate_every": 5}).stderr
    assert "train.evaluate_every = 5 has no effect" in errors


def test_masked_text_too(work, tmp_path):
    fields = {**FIELDS, "train.objective": "masked", "model.causal": "false", "attention.window": 0}
    assert "not evaluated" in train("--data", work / "data", "--out", tmp_path / "run", **fields).stdout


def test_a_part_of_one_token_is_too_small(work, tmp_path):
    errors = train("--data", work / "one", "--out", tmp_path / "run", status=2, **FIELDS).stderr
    assert "has 1 validation token" in errors and "--validation 0" in errors


def test_what_compares_or_evaluates_refuses_it(work, tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(f'[model]\nlength = 24\nwidth = 12\nheads = 2\n[attention]\nslots = 5\n[data]\nfolder = "{work}/data"\n[[point]]\nname = "a"\n')
    errors = program("ablate", "--grid", grid, "--out", tmp_path / "out", status=2).stderr
    assert "point a" in errors and "has no validation part" in errors and "--validation" in errors
    assert not (tmp_path / "out").exists()
    train("--data", work / "data", "--out", tmp_path / "run", **FIELDS)
    assert "has no validation tokens" in program("evaluate", "--model", tmp_path / "run", status=2).stderr


def test_automatic_windows_fit_short_models(work, tmp_path):
    fields = {key: value for key, value in FIELDS.items() if key != "attention.window"}
    for length, window in (24, 6), (32, 8), (63, 15), (64, 64):
        run = tmp_path / f"run{length}"
        train("--data", work / "data", "--out", run, **{**fields, "model.length": length, "train.steps": 1})
        assert json.loads((run / "config.json").read_text())["attention"]["window"] == window
    train("--resume", "--out", tmp_path / "run24")
    assert len(weights_of(tmp_path / "run24")) > 0


def test_a_share_of_less_than_one_token_is_said(tmp_path):
    (tmp_path / "text.txt").write_text("a" * 40)
    say = program("prepare", "--input", tmp_path / "text.txt", "--out", tmp_path / "data", "--tokenizer", "bytes", "--validation", 0.01)
    assert "--validation 0.01 of 40 tokens is less than one" in say.stderr
    say = program("prepare", "--input", tmp_path / "text.txt", "--out", tmp_path / "none", "--tokenizer", "bytes", "--validation", 0)
    assert "less than one" not in say.stderr
