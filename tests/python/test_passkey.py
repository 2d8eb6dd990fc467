"""A key hidden in filler, and recall of pairs anywhere, as a user trains and evaluates them."""

import json
import os
import subprocess

import pytest

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
MODEL = ["--model.length", 40, "--model.width", 16, "--model.layers", 2, "--model.heads", 2, "--attention.kind", "softmax", "--model.position", "rotary", "--train.dtype", "float32",
         "--train.batch", 8, "--train.evaluate_every", 20]


def run(*arguments, status=0):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == status, result.stderr
    return result


def evaluate(model, *flags):
    return json.loads(run("evaluate", "--model", model, "--json", *flags).stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("passkey") / "run"
    run("train", "--out", out, *MODEL, "--data.source", "passkey", "--data.keys", 8, "--data.values", 6, "--data.key_length", 3, "--data.sequences", 60, "--train.steps", 40)
    return out


def test_training_and_evaluation_count_the_tokens_of_the_key(model):
    config = json.loads((model / "config.json").read_text())
    data = config["data"]
    assert (data["source"], data["key_length"], data["depth"], config["model"]["vocabulary"]) == ("passkey", 3, "auto", 15)
    assert "pairs" not in data and "scatter" not in data
    last = json.loads((model / "metrics.jsonl").read_text().splitlines()[-1])
    result = evaluate(model)
    assert result["tokens"] == 60 * 3 and result["loss"] == pytest.approx(last["validation_loss"], rel=1e-6) and result["found"] == last["found"]
    by_depth = result["accuracy_by_depth"]
    assert sum(one["keys"] for one in by_depth) == 60 and len(by_depth) > 5
    assert sum(one["keys"] * one["accuracy"] for one in by_depth) / 60 == pytest.approx(result["accuracy"])
    assert sum(one["keys"] * one["found"] for one in by_depth) / 60 == pytest.approx(result["found"])
    assert all(one["found"] <= one["accuracy"] + 1e-9 for one in by_depth)
    assert [one["from"] for one in by_depth] == sorted(one["from"] for one in by_depth)
    text = run("evaluate", "--model", model).stdout
    assert "keys found" in text and "depth" in text


def test_a_fixed_depth_and_a_longer_text(model):
    result = evaluate(model, "--data.depth", 0.35, "--length", 5000, "--sequences", 3, "--data.seed", 5)
    assert [one["from"] for one in result["accuracy_by_depth"]] == [0.3] and result["accuracy_by_depth"][0]["keys"] == 3 and result["tokens"] == 9
    # The answer stands in the second chunk alone, or in two: 4096 is the first one's end.
    assert evaluate(model, "--length", 4097, "--sequences", 2)["tokens"] == 6


def test_the_same_sequences_whatever_the_batch(model):
    one, other = (evaluate(model, "--batch", batch) for batch in (1, 16))
    assert one["accuracy_by_depth"] == other["accuracy_by_depth"]


def test_a_model_of_text_is_asked_in_text(tmp_path):
    (tmp_path / "text.txt").write_text("The cat sat on the mat, and the dog lay under it. " * 60)
    run("prepare", "--input", tmp_path / "text.txt", "--out", tmp_path / "data", "--tokenizer", "bytes")
    run("train", "--data", tmp_path / "data", "--out", tmp_path / "run", *MODEL, "--train.steps", 20)
    result = evaluate(tmp_path / "run", "--data.source", "passkey", "--data.key_length", 4, "--length", 200, "--sequences", 12, "--out", tmp_path / "kept")
    assert result["tokens"] == 48 and sum(one["keys"] for one in result["accuracy_by_depth"]) == 12 and "bits_per_byte" not in result
    line = json.loads((tmp_path / "kept/evaluate.jsonl").read_text())
    assert line["data"].startswith("passkey in ") and "--data.source passkey --data.key_length 4" in line["command"].replace("'", "")
    assert evaluate(tmp_path / "run", "--data", tmp_path / "data", "--data.source", "passkey", "--data.key_length", 4, "--length", 200, "--sequences", 12)["loss"] == result["loss"]
    # Without a folder, ids are no text.
    assert "vocabulary" in run("evaluate", "--model", tmp_path / "run", "--data.source", "recall", "--data.pairs", 4, status=2).stderr
    assert "too few" in run("evaluate", "--model", tmp_path / "run", "--data.source", "passkey", "--length", 2000, status=2).stderr


def test_bad_fields(model, tmp_path):
    for flags, words in ((["--data.depth", 2], "data.depth is 2"), (["--data.key_length", 30], "data.key_length is 30"), (["--data.keys", 9], "vocabulary"),
                         (["--by-position", "--length", -1], "-1"), (["--data", tmp_path, "--data.folder", "x"], "--data.folder")):
        assert words in run("evaluate", "--model", model, *flags, status=2).stderr
    assert "data.scatter" in run("train", "--out", tmp_path / "run", *MODEL, "--data.source", "passkey", "--data.scatter", "true", status=2).stderr
    assert not (tmp_path / "run").exists()


def test_depth_and_scatter_are_axes_of_a_grid(tmp_path):
    (tmp_path / "grid.toml").write_text("""
[model]
length = 40
width = 16
layers = 1
heads = 2
[attention]
kind = "softmax"
[train]
steps = 10
batch = 4
[data]
source = "passkey"
keys = 8
values = 6
sequences = 20
[[point]]
name = "start"
data.depth = 0.0
[[point]]
name = "anywhere"
[[point]]
name = "recall"
data.source = "recall"
data.pairs = 3
[[point]]
name = "scattered"
data.source = "recall"
data.pairs = 3
data.scatter = true
""")
    run("ablate", "--grid", tmp_path / "grid.toml", "--out", tmp_path / "out")
    rows = {row["point"]: row for row in map(json.loads, (tmp_path / "out/table.jsonl").read_text().splitlines()) if row["type"] == "ablation-row"}
    assert [one["keys"] for one in rows["start"]["seeds"][0]["accuracy_by_depth"]] == [20]
    assert len(rows["anywhere"]["seeds"][0]["accuracy_by_depth"]) > 3 and "accuracy" in rows["anywhere"] and "found" in rows["anywhere"]["seeds"][0]
    assert rows["scattered"]["changes"]["data.scatter"] is True and "accuracy_by_distance" in rows["scattered"]["seeds"][0]
    assert rows["recall"]["seeds"][0]["validation_loss"] != rows["scattered"]["seeds"][0]["validation_loss"]
    config = json.loads((tmp_path / "out/scattered/seed-0/config.json").read_text())["data"]
    assert config["scatter"] is True and "depth" not in config
