"""`linformer benchmark`: tiny grids in real processes, and what a kill leaves."""

import json
import os
import signal
import subprocess

import pytest

from waiting import wait_until

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
GRID = ["--forms", "softmax,running,bidirectional", "--lengths", "32,64", "--slots", 8, "--windows", 8, "--widths", 16, "--layers", 1, "--rounds", 2]


def run(*arguments, status=0):
    result = subprocess.run([PROGRAM, "benchmark", "--threads", "1", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == status, result.stderr
    return result


def lines_of(folder, kind="point"):
    with open(folder / "benchmark.jsonl", encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["type"] == kind]


def key(line):
    return tuple(line[name] for name in ("task", "form", "length", "slots", "batch"))


def test_a_grid_measures_and_is_not_measured_again(tmp_path):
    first = run("--out", tmp_path, "--tasks", "forward,train", *GRID)
    points = lines_of(tmp_path)
    assert len(points) == 2 * 2 * 3 and len(set(map(key, points))) == len(points)
    for point in points:
        assert point["status"] == "ok" and len(point["rounds"]) == 2
        assert point["low"] <= point["seconds"] <= point["high"]
        assert point["tokens"] == point["length"] and point["gemm_gflops"] > 0 and point["mfu"] > 0
        assert point["resident_peak_bytes"] > 0 and point["allocator_peak_bytes"] > point["allocator_base_bytes"] > 0
    assert first.stdout.count("running") == 4 and "12 points measured" in first.stderr
    machine = lines_of(tmp_path, "machine")
    assert len(machine) == 1 and machine[0]["command"].startswith("linformer benchmark --threads 1 --out")
    again = run("--out", tmp_path, "--tasks", "forward,train", *GRID, "--json")
    assert lines_of(tmp_path) == points and "0 points measured now, 12 kept" in again.stderr
    assert [json.loads(line) for line in again.stdout.splitlines()] == points
    run("--out", tmp_path, "--new", "--forms", "softmax", "--lengths", 16, "--widths", 16, "--rounds", 1)
    assert [point["length"] for point in lines_of(tmp_path)] == [16]


@pytest.mark.perf
def test_no_point_is_faster_than_the_matrix_products_that_it_is_compared_with(tmp_path):
    run("--out", tmp_path, "--tasks", "forward,train", *GRID)
    assert all(0 < point["mfu"] < 1.5 for point in lines_of(tmp_path))


def wait_for_points(folder, count):
    file = folder / "benchmark.jsonl"
    wait_until(lambda: file.exists() and file.read_text().count('"type":"point"') >= count, pause=0.02)


def children_of(process):
    with open(f"/proc/{process}/task/{process}/children", encoding="utf-8") as file:
        return list(map(int, file.read().split()))


def test_a_killed_grid_goes_on(tmp_path):
    grid = ["--out", tmp_path, "--forms", "softmax,running", "--lengths", "32,48,64", "--slots", 8, "--windows", 8, "--widths", 16, "--rounds", 4]
    process = subprocess.Popen([PROGRAM, "benchmark", "--threads", "1", *map(str, grid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_points(tmp_path, 2)
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = lines_of(tmp_path)
    with open(tmp_path / "benchmark.jsonl", "a", encoding="utf-8") as file:
        file.write('{"type":"point","task":"forw')
    result = run(*grid)
    assert "was cut off" in result.stderr
    points = lines_of(tmp_path)
    assert points[:len(before)] == before and len(points) == 6 and len(set(map(key, points))) == 6
    for child in children:
        assert not os.path.exists(f"/proc/{child}") or open(f"/proc/{child}/stat", encoding="utf-8").read().split()[2] == "Z"


def test_a_signal_ends_it_with_what_is_finished(tmp_path):
    grid = ["--out", tmp_path, "--forms", "softmax", "--lengths", ",".join(str(n) for n in range(32, 96)), "--widths", 16, "--rounds", 3]
    process = subprocess.Popen([PROGRAM, "benchmark", "--threads", "1", *map(str, grid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_points(tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert 1 <= len(lines_of(tmp_path)) < 64


def test_what_does_not_fit_is_recorded_as_that(tmp_path):
    flags = ["--out", tmp_path, "--forms", "bidirectional-softmax-plain,bidirectional", "--lengths", 4096, "--slots", 16, "--widths", 64, "--heads", 4, "--layers", 1, "--rounds", 1]
    run(*flags, "--budget-memory", 0.25)  # 4 heads of 4096² weights: 256 MiB at once
    status = {point["form"]: point["status"] for point in lines_of(tmp_path)}
    assert status == {"bidirectional-softmax-plain": "memory", "bidirectional": "ok"}
    plain = lines_of(tmp_path)[0]
    assert "allocate" in plain["reason"] and "seconds" not in plain and plain["budget_bytes"] == 1 << 28
    assert "2 kept" in run(*flags, "--budget-memory", 0.25).stderr
    run(*flags, "--budget-memory", 2)
    assert lines_of(tmp_path)[-1]["status"] == "ok" and len(lines_of(tmp_path)) == 3


def test_a_smaller_budget_measures_again_what_took_more(tmp_path):
    flags = ["--out", tmp_path, "--forms", "softmax,running", "--lengths", 64, "--slots", 8, "--windows", 8, "--widths", 512, "--layers", 4, "--rounds", 1]
    run(*flags, "--budget-memory", 1)  # 48 MiB of weights
    assert [point["status"] for point in lines_of(tmp_path)] == ["ok", "ok"]
    assert "2 kept" in run(*flags, "--budget-memory", 0.5).stderr
    run(*flags, "--budget-memory", 0.02)
    assert [point["status"] for point in lines_of(tmp_path)] == ["ok", "ok", "memory", "memory"]
    run(*flags, "--budget-memory", 1)
    run(*flags, "--budget-memory", 0.02)  # finds what it found before, which has to be the newest again
    assert [point["status"] for point in lines_of(tmp_path)][-4:] == ["ok", "ok", "memory", "memory"]
    assert "2 kept" in run(*flags, "--budget-memory", 0.02).stderr


def test_absurd_sizes_are_not_built(tmp_path):
    run("--out", tmp_path, "--forms", "softmax", "--tasks", "forward,train", "--widths", 4096, "--layers", 4096, "--lengths", 64, "--rounds", 1)
    assert [point["status"] for point in lines_of(tmp_path)] == ["memory", "memory"]
    assert "weights alone take" in lines_of(tmp_path)[0]["reason"] and "moments alone take" in lines_of(tmp_path)[1]["reason"]


def test_a_file_of_another_build_or_with_damaged_lines(tmp_path):
    flags = ["--out", tmp_path, "--forms", "softmax", "--lengths", 32, "--widths", 16, "--layers", 1, "--rounds", 1]
    run(*flags)
    file = tmp_path / "benchmark.jsonl"
    lines = file.read_text()
    file.write_text(lines.replace('"status":"ok"', '"status":7'))
    result = run(*flags)
    assert "other types" in result.stderr and "1 points measured now" in result.stderr
    machine = json.loads(lines.splitlines()[0])
    for name in ("isa", "libtorch"):
        file.write_text(json.dumps(machine | {name: "other"}) + "\n")
        error = run(*flags, status=2).stderr
        assert "another machine" in error and name in error


def test_generation_streams_and_reads_again(tmp_path):
    run("--out", tmp_path, "--tasks", "generate", "--forms", "softmax,running", "--decodes", "stream,reread", "--lengths", 32, "--slots", 8,
        "--windows", 8, "--widths", 16, "--batches", 2, "--tokens", 48, "--rounds", 1)
    points = lines_of(tmp_path)
    assert len(points) == 4 and all(point["tokens"] == 96 for point in points)
    for point in points:
        assert point["prompt"] == 16 and point.get("scaled", False) == (point["decode"] == "reread")
        assert ("state_bytes" in point) == (point["decode"] == "stream")
    cache = next(point for point in points if (point["form"], point["decode"]) == ("softmax", "stream"))
    assert cache["state_bytes"] >= 4 * 2 * 32 * 16 * cache["layers"] * 2  # keys and values of all positions, float32, two sequences


def test_dry_run_lists_and_writes_nothing(tmp_path):
    text = run("--preset", "paper-table3", "--dry-run").stdout
    assert "N=65536 K=2048" in text and "50 points in 8 groups" in text
    objects = [json.loads(line) for line in run("--preset", "seed-inference", "--dry-run", "--json").stdout.splitlines()]
    assert {(o["length"], o["batch"], o["generated"]) for o in objects} == {(4096, 1, 1000), (256, 16, 1000)}
    assert "5 searches" in run("--preset", "seed-memory", "--dry-run").stdout
    assert not list(tmp_path.iterdir())


def test_the_smallest_searches_find_a_size(tmp_path):
    result = run("--out", tmp_path, "--preset", "seed-memory", "--quick", "--budget-memory", 0.05, "--max-length", 1024)
    found = {(line["form"], line.get("fields"), line["what"]): line["value"] for line in lines_of(tmp_path, "largest")}
    assert len(found) == 5
    assert all(line.get("at_least") for line in lines_of(tmp_path, "largest") if line["what"] == "length" and line["value"] == 1024)
    assert all("at_least" not in line for line in lines_of(tmp_path, "largest") if line["what"] == "length" and line["value"] < 1024)
    trials = lines_of(tmp_path)
    for (form, fields, what), value in found.items():
        sizes = {point[what]: point["status"] for point in trials
                 if point["form"] == form and point.get("fields") == fields and (what == "width") == (point["width"] % 64 == 0)}
        assert value == max([size for size, status in sizes.items() if status == "ok"], default=0)
    assert "largest that trains" in result.stdout
    run("--out", tmp_path, "--preset", "seed-memory", "--quick", "--budget-memory", 0.05, "--max-length", 1024)
    assert lines_of(tmp_path) == trials


def test_a_search_that_ends_before_the_memory_says_so(tmp_path):
    result = run("--out", tmp_path, "--preset", "seed-memory", "--quick", "--budget-memory", 0.25, "--max-length", 128)
    lengths = [line for line in lines_of(tmp_path, "largest") if line["what"] == "length"]
    assert len(lengths) == 3 and all(line["value"] == 128 and line["at_least"] for line in lengths) and "≥ 128" in result.stdout


def test_mistakes_are_named(tmp_path):
    def error(*arguments):
        return run(*arguments, status=2).stderr

    assert "paper-table3" in error("--preset", "table3", "--out", tmp_path)
    assert "--lengths" in error("--preset", "crossover", "--lengths", 32, "--out", tmp_path)
    assert "--out" in error("--lengths", 32)
    assert "softmax-plain" in error("--forms", "soft", "--out", tmp_path)
    assert "--dtypes" in error("--dtype", "bfloat16", "--out", tmp_path)
    assert "GiB of memory" in error("--preset", "seed-memory", "--budget-memory", 100000, "--out", tmp_path)
    assert "--seed" in error("--seed", 1, "--out", tmp_path)
    (tmp_path / "file").write_text("")
    assert "can't be made" in error("--forms", "softmax", "--lengths", 32, "--widths", 16, "--out", tmp_path / "file")
