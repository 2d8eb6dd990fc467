"""tools/report.py, what `make report` runs, on models that take seconds: every part arrives, and a second start keeps what is there."""

import json
import os
import pathlib
import re
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
PROGRAM = pathlib.Path(os.environ["LINFORMER_BINARY_DIR"]) / "linformer"
GRID = """
title = "Tiny"
seeds = [0]
base = "softmax"
model = {length = 64, width = 16, layers = 1, heads = 2}
attention = {window = 8, slots = 8}
train = {steps = 4, batch = 2, dtype = "float32"}
point = [{name = "softmax", attention = {kind = "softmax"}}, {name = "running"}]
"""


def make(folder):
    command = [sys.executable, SOURCE / "tools/report.py", "--program", PROGRAM, "--out", folder / "out", "--corpus", folder / "text.txt", "--grid",
               folder / "grid.toml", "--lengths", "64", "--width", "64", "--threads", "1"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    return result


def test_every_part_arrives_and_is_kept(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    (tmp_path / "text.txt").write_text("It was a dark and stormy night; the rain fell in torrents. " * 400)
    make(tmp_path)
    out = tmp_path / "out"
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', (out / "report.html").read_text(), re.S)
    document = json.loads(data[1])
    assert [len(document[part]) for part in ("runs", "benchmarks", "ablations", "inspections", "remarks")] == [2, 1, 1, 2, 0]
    told = {sample["text"] for run in document["runs"] for sample in run["samples"]}
    for point in ("softmax", "running"):
        run = out / "ablation" / point / "seed-0"
        assert json.loads((run / "audit.json").read_text())["verdict"] == "clean"
        sample = json.loads((run / "samples.jsonl").read_text())
        assert sample["text"] in told
    rows = [json.loads(line) for line in (out / "benchmark/benchmark.jsonl").read_text().splitlines()]
    assert {(row["task"], row["form"]) for row in rows if row["type"] == "point"} >= {(t, f) for t in ("train", "generate") for f in ("softmax", "running")}
    kept = [out / "ablation/running/seed-0/metrics.jsonl", out / "books/tokens.bin"]
    before = [path.stat().st_mtime_ns for path in kept]
    make(tmp_path)
    assert [path.stat().st_mtime_ns for path in kept] == before
    points = [line for line in (out / "benchmark/benchmark.jsonl").read_text().splitlines() if json.loads(line)["type"] == "point"]
    assert len(points) == sum(row["type"] == "point" for row in rows)
