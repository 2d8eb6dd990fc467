"""Rows that tools/results.py collects from the folders of the program, and the pictures that it draws from them."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
TOOL = SOURCE / "tools/results.py"
sys.path.insert(0, str(SOURCE / "tools"))
import results  # noqa: E402

needs_gnuplot = pytest.mark.skipif(not shutil.which("gnuplot"), reason="pictures need gnuplot")


def collect(rows, *words, status=0):
    done = subprocess.run([sys.executable, str(TOOL), "--rows", str(rows), "--collect", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stderr


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def evaluation(model, loss, key="loss_by_position", data="/home/me/code", length=512, flags="", **more):
    part = {"from": 0, "to": 127, "loss": loss, "tokens": 128} if key == "loss_by_position" else {"from": 0.1, "to": 0.2, "keys": 2, "accuracy": loss, "found": loss}
    return {"type": "evaluation", "model": model, "data": data, "length": length, "loss": loss, "tokens": 128, key: [part], "config": {"model": {"length": 256}},
            "command": f"linformer evaluate --model {model}{flags}", "version": "1", **more}


def test_evaluations_become_rows_of_their_points(tmp_path):
    continued = evaluation("/home/me/grid-8192/gated/seed-12", 5.0) | {"config": {"model": {"length": 8192}}}
    write(tmp_path / "kept/evaluate.jsonl", [
        continued, evaluation("/home/me/grid/softmax/seed-0", 9.0), evaluation("grid/gated/seed-12/checkpoints/best", 2.0), evaluation("/home/me/grid/softmax/seed-0", 1.0),
        evaluation("runs/alone", 3.0), evaluation("/home/me/grid/softmax/seed-0", 4.0, length=1024),
        evaluation("grid/gated/seed-1", 0.5, key="accuracy_by_depth", data="passkey in /home/me/code", flags=" --data.depth 0.3", found=0.5),
        evaluation("grid/gated/seed-1", 0.25, key="accuracy_by_depth", data="passkey in /home/me/code")])
    collect(tmp_path, "positions", "long", tmp_path / "kept")
    first, *rows = rows_of(tmp_path / "long.jsonl")
    assert (first["point"], first["trained_length"]) == ("gated", 8192)
    # The newest of equal evaluations counts; a run outside an ablation has its own name.
    assert [(row["point"], row["seed"], row["length"], row["loss"]) for row in rows] == [("softmax", 0, 512, 1.0), ("gated", 12, 512, 2.0), ("alone", None, 512, 3.0), ("softmax", 0, 1024, 4.0)]
    assert all(row["data"] == "code" and row["trained_length"] == 256 and row["loss_by_position"][0]["to"] == 127 for row in rows)
    collect(tmp_path, "depths", "keys", tmp_path / "kept")
    rows = rows_of(tmp_path / "keys.jsonl")
    assert [(row["point"], row["seed"], row.get("depth"), row["data"], row["accuracy_by_depth"][0]["found"]) for row in rows] == [
        ("gated", 1, 0.3, "passkey in code", 0.5), ("gated", 1, None, "passkey in code", 0.25)]
    assert "/home" not in (tmp_path / "long.jsonl").read_text() + (tmp_path / "keys.jsonl").read_text()


def test_rows_of_several_folders_without_places_of_a_disk(tmp_path):
    machine = {"type": "machine", "command": "linformer benchmark --out '/home/me/build/memory' --forms softmax --fields a=1/2"}
    for name in ("one", "two"):
        write(tmp_path / name / "benchmark.jsonl", [machine, {"type": "point", "form": name}])
        write(tmp_path / name / "table.jsonl", [{"type": "ablation-row", "point": name}])
    collect(tmp_path, "memory", "long", tmp_path / "one", tmp_path / "two")
    rows = rows_of(tmp_path / "long.jsonl")
    assert [row.get("form") for row in rows] == [None, "one", None, "two"]
    assert rows[0]["command"] == "linformer benchmark --out 'memory' --forms softmax --fields a=1/2"
    collect(tmp_path, "recall", "pairs", tmp_path / "one", tmp_path / "two")
    assert [row["point"] for row in rows_of(tmp_path / "pairs.jsonl")] == ["one", "two"]


def test_what_can_not_be_collected(tmp_path):
    write(tmp_path / "kept/evaluate.jsonl", [evaluation("grid/softmax/seed-0", 1.0), evaluation("grid/softmax/seed-0", 1.0, data="austen")])
    assert "of austen and of code" in collect(tmp_path, "positions", "long", tmp_path / "kept", status=2)
    assert "no line with accuracy_by_depth" in collect(tmp_path, "depths", "long", tmp_path / "kept", status=2)
    assert "table.jsonl: No such file" in collect(tmp_path, "ablation", "long", tmp_path / "kept", status=2)
    for words in (["octaves", "long", tmp_path / "kept"], ["positions", "long"], ["positions"], ["positions", "a/b", tmp_path / "kept"]):
        assert "expected KIND NAME FOLDER" in collect(tmp_path, *words, status=2)
    assert not list(tmp_path.glob("*.jsonl"))


def drawn(path):
    """Titles of the picture's lines, in their order, all its words, and the number of its dots and corners."""
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    words = ["".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")]
    return [node for node in root.iter("{http://www.w3.org/2000/svg}g") if re.fullmatch(r"gnuplot_plot_\d+", node.get("id", ""))], words


def octaves(*losses):
    return [{"from": 0 if i == 0 else 64 << i, "to": (128 << i) - 1, "loss": loss, "tokens": 10} for i, loss in enumerate(losses)]


@needs_gnuplot
def test_a_picture_of_loss_by_position(tmp_path):
    row = {"seed": 0, "length": 1024, "trained_length": 256}
    rows = [row | {"point": "softmax", "loss_by_position": octaves(2.0, 1.5, 7.0, 9.0)}, row | {"point": "gated_x", "loss_by_position": octaves(2.0, 1.75, 1.75, 1.5)},
            row | {"point": "window-alone", "loss_by_position": octaves(1.75, 1.75, 1.75, 1.75)}, row | {"point": "alone", "seed": 1, "loss_by_position": octaves(1, 1, 1, 1)}]
    results.draw_positions(rows, tmp_path / "picture.svg")
    lines, words = drawn(tmp_path / "picture.svg")
    assert len(lines) == 2 and {"softmax", "gated_x", "trained at 256", "position, tokens", "128", "1024"} <= set(words) and not {"window-alone", "alone"} & set(words)
    assert "loss minus the window alone's, nats a token" in words
    # Though softmax leaves it, differences can be seen: at most twice as high as what lies within the trained length.
    ticks = [float(word) for word in words if re.fullmatch(r"-?\d(\.\d+)?", word)]
    assert len(ticks) > 3 and max(ticks) <= 0.8 and min(ticks) >= -0.5
    picture = (tmp_path / "picture.svg").read_text()
    results.pictures.lines(tmp_path / "bare.svg", {"a": [(1, -1), (2, 1)]}, "x", "y")
    results.pictures.lines(tmp_path / "zero.svg", {"a": [(1, -1), (2, 1)]}, "x", "y", zero=True)
    assert (tmp_path / "zero.svg").read_text().count("<path") > (tmp_path / "bare.svg").read_text().count("<path")
    assert "rgb( 70,  81,  93)" in picture and "rgb( 34,  87, 207)" in picture  # the Transformer is grey


@needs_gnuplot
def test_a_picture_of_memory_against_length(tmp_path):
    point = {"type": "point", "task": "train", "status": "ok", "form": "softmax", "resident_peak_bytes": 1 << 30}
    chunked = point | {"form": "running", "fields": "attention.projection=periodic+train.chunk=4096", "resident_peak_bytes": 1 << 28}
    rows = [{"type": "machine"}, *(point | {"length": length} for length in (1024, 4096)), *(chunked | {"length": length} for length in (1024, 4096, 1 << 20)),
            {**point, "length": 1 << 24, "status": "memory"}, point | {"length": 1024, "task": "generate", "form": "block"}]
    results.draw_memory(rows, tmp_path / "it's.svg")
    lines, words = drawn(tmp_path / "it's.svg")
    assert len(lines) == 2 and {"Transformer", "Linformer: running, periodic, chunk 4096", "N, tokens", "1024", "1048576"} <= set(words)
    assert {"256", "1024"} <= set(words) and not any("block" in word for word in words) and "16777216" not in words
