"""`linformer train --from`: a new run that begins with the weights of a model."""

import hashlib
import json
import math
import re
import shutil
import signal
import subprocess

import pytest

from train_program import BASE, LONG, PROGRAM, metrics_of, prepare_text, start, steps_of, train, wait_for_step, weights_of

TEXT = "The cat sat on the mat; the dog ate the log. " * 300
MORE = {"train.batch": 3, "train.dtype": "float32", "train.learning_rate": 0.003, "train.steps": 20, "train.save_every": 8}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("from")
    prepare_text(folder, "data", TEXT)
    prepare_text(folder, "more", "A bird in the hand is worth two in the bush. " * 300)
    prepare_text(folder, "corpus", TEXT, "--vocabulary", "corpus", tokenizer="gpt2")
    train("--data", folder / "data", "--out", folder / "model", **BASE)
    return folder


def config_of(run):
    return json.loads((run / "config.json").read_text())


def sha256_of(model):
    return hashlib.sha256(weights_of(model)).hexdigest()


def evaluation_of(model, data):
    result = subprocess.run([PROGRAM, "evaluate", "--threads", "1", "--json", "--model", model, "--data", data], check=True, capture_output=True)
    return json.loads(result.stdout)["loss"]


def test_a_run_begins_with_the_weights_and_a_fresh_optimiser(work, tmp_path):
    run = tmp_path / "run"
    train("--from", work / "model", "--data", work / "data", "--out", run, **{**MORE, "train.steps": 1, "train.learning_rate": 1e-12,
                                                                              "train.learning_rate_start": 0, "train.learning_rate_end": 0})
    assert evaluation_of(run, work / "data") == pytest.approx(evaluation_of(work / "model", work / "data"), abs=1e-6)
    line = metrics_of(run)[0]
    assert line["step"] == 1 and line["loss"] < 0.7 * math.log(256)
    config, own = config_of(run), config_of(work / "model")
    assert config["model"] == own["model"] and config["attention"] == own["attention"] and config["tokenizer"] == own["tokenizer"]
    assert config["from"] == {"folder": str(work / "model"), "weights_sha256": sha256_of(work / "model")}
    assert config["train"]["steps"] == 1
    assert "from" not in own


def test_it_goes_on_to_learn_other_text(work, tmp_path):
    before = evaluation_of(work / "model", work / "more")
    for model in work / "model", work / "model/checkpoints/best":
        run = tmp_path / model.name
        result = train("--from", model, "--data", work / "more", "--out", run, "--json", **{**MORE, "train.steps": 60, "model.dropout": 0})
        assert json.loads(result.stdout)["validation_loss"] < 0.9 * before
        assert config_of(run)["model"]["dropout"] == 0
        assert config_of(run)["from"]["folder"] == str(model)


def test_another_run_of_it_can_begin_with_that(work, tmp_path):
    train("--from", work / "model", "--data", work / "data", "--out", tmp_path / "one", **MORE)
    train("--from", tmp_path / "one", "--data", work / "data", "--out", tmp_path / "two", **MORE)
    assert config_of(tmp_path / "two")["from"]["weights_sha256"] == sha256_of(tmp_path / "one")


@pytest.mark.parametrize("field, value, parts", [
    ("model.width", 24, ["model.width is 24", "trained with 12"]),
    ("model.length", 48, ["model.length is 48", "trained with 24", "neither stretched nor cut"]),
    ("model.length", 16, ["model.length is 16", "trained with 24", "neither stretched nor cut"]),
    ("model.tied", "true", ["model.tied is true", "trained with false"]),
    ("model.position", "rotary", ["model.position is rotary", "trained with learned"]),
    ("model.vocabulary", 300, ["model.vocabulary is 300", "trained with 256"]),
])
def test_fields_that_define_the_weights_have_to_agree(work, tmp_path, field, value, parts):
    errors = train("--from", work / "model", "--data", work / "data", "--out", tmp_path / "run", status=2, **{**MORE, field: value}).stderr
    assert all(part in errors for part in [*parts, str(work / "model"), "without --from"]), errors
    assert not (tmp_path / "run").exists()


def test_another_attention_begins_with_what_it_shares(work, tmp_path):
    """At a learning rate of nearly nothing the loss of the first step is that of the weights given."""
    still = {**MORE, "train.steps": 1, "train.learning_rate": 1e-12, "train.learning_rate_start": 0, "train.learning_rate_end": 0}
    result = train("--from", work / "model", "--data", work / "data", "--out", tmp_path / "softmax", **still, **{"attention.kind": "softmax"})
    assert "not taken from" in result.stderr and "blocks.*.attention.projection_key" in result.stderr and "begin anew" not in result.stderr
    assert config_of(tmp_path / "softmax")["attention"]["kind"] == "softmax"
    assert metrics_of(tmp_path / "softmax")[0]["loss"] < 0.7 * math.log(256)
    result = train("--from", tmp_path / "softmax", "--data", work / "data", "--out", tmp_path / "slots", **still, **{"attention.kind": "linformer", "attention.projection": "gated"})
    assert "begin anew" in result.stderr and "blocks.*.attention.gate.weight" in result.stderr
    assert config_of(tmp_path / "slots")["attention"]["projection"] == "gated"


def test_a_config_file_may_repeat_the_fields_of_the_model(work, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[model]\nwidth = 12\n[attention]\nslots = 5\n[train]\nsteps = 2\n")
    train("--from", work / "model", "--data", work / "data", "--out", tmp_path / "run", "--config", file)
    file.write_text("[model]\nwidth = 24\n")
    errors = train("--from", work / "model", "--data", work / "data", "--out", tmp_path / "other", "--config", file, status=2).stderr
    assert "model.width is 24" in errors and "trained with 12" in errors


def test_the_text_has_to_have_the_models_vocabulary(work, tmp_path):
    errors = train("--from", work / "model", "--data", work / "corpus", "--out", tmp_path / "run", status=2, **MORE).stderr
    assert "vocabulary ('bytes'" in errors and "'gpt2-corpus'" in errors and f"--tokenizer {work}/model/tokenizer.json" in errors
    assert not (tmp_path / "run").exists()


def test_what_is_no_model_is_refused(work, tmp_path):
    for folder, part in [("nothing", "expected a run or checkpoint folder"), ("data", "config.json")]:
        errors = train("--from", work / folder, "--data", work / "data", "--out", tmp_path / "run", status=2, **MORE).stderr
        assert str(work / folder) in errors and part in errors
    errors = train("--from", work / "model", "--resume", "--out", work / "model", status=2).stderr
    assert "--from" in errors and "--resume" in errors
    copy = tmp_path / "copy"
    shutil.copytree(work / "model", copy)
    errors = train("--from", copy / "checkpoints/best", "--overwrite", "--data", work / "data", "--out", copy, status=2, **MORE).stderr
    assert "lies in" in errors and "another --out" in errors
    assert weights_of(copy) == weights_of(work / "model")


FIELDS = {key: value for key, value in LONG.items() if key.startswith("train.")}


@pytest.fixture(scope="module")
def undisturbed(work):
    train("--from", work / "model", "--data", work / "data", "--out", work / "undisturbed", **FIELDS)
    return work / "undisturbed"


@pytest.mark.parametrize("killed_at, origin", [(0, "there"), (0, "changed"), (60, "gone")])
def test_resume_goes_on_bit_for_bit(work, undisturbed, tmp_path, killed_at, origin):
    """Before the first checkpoint too: the run holds a copy of the weights, so that the model may be trained on."""
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(work / "model", model)
    process = start("--from", model, "--data", work / "data", "--out", run, **{**FIELDS, "train.save_every": 50})
    wait_for_step(process, run, killed_at + 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if killed_at == 0 and steps_of(run):  # on a machine so busy that the kill came late
        shutil.rmtree(run / "checkpoints")
        shutil.copy(model / "model.safetensors", run)
    if origin == "changed":
        train("--resume", "--out", model)  # nothing to do
        shutil.copy(undisturbed / "model.safetensors", model)
    if origin == "gone":
        shutil.rmtree(model)
    train("--resume", "--out", run)
    assert weights_of(run) == weights_of(undisturbed)
    assert config_of(run)["from"]["weights_sha256"] == sha256_of(work / "model")


def test_weights_that_are_lost_are_said_to_be(work, tmp_path):
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(work / "model", model)
    train("--from", model, "--data", work / "data", "--out", run, **MORE)
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    (run / "model.safetensors").unlink()
    shutil.rmtree(model)
    errors = train("--resume", "--out", run, status=2).stderr
    assert str(model) in errors and "model.safetensors is missing or is not the one" in errors


def test_info_and_report_name_the_model(work, undisturbed, tmp_path):
    info = json.loads(subprocess.run([PROGRAM, "info", "--json", undisturbed], check=True, capture_output=True).stdout)
    assert info["training"]["from"] == str(work / "model")
    subprocess.run([PROGRAM, "report", "--out", tmp_path / "page.html", undisturbed], check=True, capture_output=True)
    assert re.search(f"linformer train [^\"]* --from '?{work}/model'? ", (tmp_path / "page.html").read_text())
