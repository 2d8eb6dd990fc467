"""bench/peers with fake entrants: the protocol, turns, parity, memory, going on after a kill, the page. No rival, no network."""

import dataclasses
import io
import json
import os
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
sys.path.insert(0, str(SOURCE / "bench/peers"))

import cases as plan  # noqa: E402
import entrant as protocol  # noqa: E402
import environment  # noqa: E402
import reasons  # noqa: E402
import report  # noqa: E402
import run as program  # noqa: E402
import targets  # noqa: E402
from children import MALLOC, Pool  # noqa: E402
from results import Results, Series  # noqa: E402

FAKE = """
import json, os, sys, time
setup = None
for line in sys.stdin:
    command = json.loads(line)
    if command["command"] == "setup":
        setup = command["setup"]
        reply = setup.get("told", {})
    elif "die" in setup:
        os._exit(setup["die"])
    elif "sleep" in setup:
        time.sleep(setup["sleep"])
    elif "error" in setup:
        reply = {"error": setup["error"]}
    else:
        with open(setup["journal"], "a") as file:
            file.write(f"{setup['name']}:{command['work'].get('tag', '')}:{os.getpid()}\\n")
        held = b"x" * setup.get("hold", 0)
        metrics = {"tokens_per_second": setup["speed"], "env": os.environ.get("MALLOC_MMAP_MAX_"), "threads": os.environ["OMP_NUM_THREADS"]}
        reply = {"metrics": metrics, "peak_bytes": 1 << 30}
    print(json.dumps(reply), flush=True)
"""


@pytest.fixture
def world(tmp_path):
    (tmp_path / "fake.py").write_text(FAKE)
    return World(tmp_path)


class World:
    def __init__(self, folder):
        self.folder, self.journal = folder, folder / "journal"
        self.command = [sys.executable, str(folder / "fake.py")]
        self.results = Results(folder / "out/results.jsonl")

    def setup(self, name, speed=100.0, **more):
        return dict(name=name, speed=speed, journal=str(self.journal), **more)

    def run(self, cases, run="r1", deadline=float("inf"), **pool):
        with (self.folder / "log").open("ab") as log:
            pool = Pool(2, log, **pool)
            try:
                return program.Run(self.results, run, pool, lambda name: self.command, deadline).all(cases)
            finally:
                pool.keep_only([])

    def turns(self):
        return [line.rsplit(":", 1)[0] for line in self.journal.read_text().split()]


def case_of(entrants, rounds=2, **more):
    return plan.Case("train-S-512", entrants, dict(tag="w"), rounds, warm_up=dict(tag="warm"), **more)


def test_rounds_take_turns_and_the_first_does_not_count(world):
    assert world.run([case_of({"a": world.setup("a"), "b": world.setup("b")})])
    assert world.turns() == ["a:warm", "a:w", "b:warm", "b:w", "a:w", "b:w"]
    rounds = world.results.find("round", "r1", "train-S-512")
    assert [(e["entrant"], e["round"]) for e in rounds] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert all(e["metrics"]["env"] == MALLOC["MALLOC_MMAP_MAX_"] and e["metrics"]["threads"] == "2" for e in rounds)
    assert world.results.events[-1]["event"] == "end"


def test_a_killed_run_goes_on_where_it_stopped(world):
    cases = [case_of({"a": world.setup("a"), "b": world.setup("b")}, rounds=3)]
    identity = dict(threads=2)
    world.results.add("start", run="r1", identity=identity)
    assert world.results.unfinished(identity) == "r1"
    world.run(cases)
    lines = world.results.path.read_text().splitlines(keepends=True)
    rounds = [i for i, line in enumerate(lines) if '"round"' in line and '"event": "round"' in line]
    world.results.path.write_text("".join(lines[:rounds[2]]) + lines[rounds[2]][:20])  # killed while it wrote the third round
    world.journal.unlink()
    world.results = Results(world.results.path)
    assert world.results.unfinished(identity) == "r1" and world.results.unfinished(dict(threads=1)) is None
    world.run(cases)
    assert [turn for turn in world.turns() if turn.endswith(":w")] == ["a:w", "b:w", "a:w", "b:w"]
    assert {e: sorted(world.results.rounds("r1", "train-S-512", e)) for e in "ab"} == {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert world.results.unfinished(identity) is None
    assert all(json.loads(line) for line in world.results.path.read_text().splitlines())


def test_an_entrant_may_have_fewer_rounds(world):
    world.run([case_of({"a": world.setup("a"), "b": world.setup("b")}, rounds=3, fewer={"b": 1})])
    assert [turn for turn in world.turns() if turn.endswith(":w")] == ["a:w", "b:w", "a:w", "a:w"]


def test_no_round_starts_after_the_deadline(world):
    assert not world.run([case_of({"a": world.setup("a")})], deadline=0)
    assert not world.journal.exists() and not any(e["event"] == "end" for e in world.results.events)


@pytest.mark.parametrize("fault, reason", [(dict(error="no such thing"), "no such thing"), (dict(die=3), "ended with status 3"),
                                           (dict(sleep=60), "no answer in 3 s")])
def test_a_failing_entrant_is_named_and_the_others_go_on(world, fault, reason):
    world.run([case_of({"a": world.setup("a"), "bad": world.setup("bad", **fault), "b": world.setup("b")}, seconds=3.0)])
    failed = world.results.find("failed", "r1", "train-S-512")
    assert [(e["entrant"], e["reason"]) for e in failed] == [("bad", reason)]
    assert [turn for turn in world.turns() if turn.endswith(":w")] == ["a:w", "b:w", "a:w", "b:w"]


@pytest.mark.parametrize("told, good", [(dict(matched=1019, tokens=64), True), (dict(matched=1021, tokens=64), False),
                                        (dict(matched=979, tokens=64), False), (dict(matched=1000, tokens=32), False), ({}, True)])
def test_who_does_other_work_is_not_measured(world, told, good):
    own = dict(matched=1000, tokens=64)
    world.run([case_of({"ours": world.setup("ours", told=own), "rival": world.setup("rival", told=told)})])
    failed = [e["reason"] for e in world.results.find("failed", "r1", "train-S-512")]
    assert (failed == []) == good and (good or failed[0].startswith("not the same work"))
    assert bool(world.results.find("round", "r1", "train-S-512", "rival")) == good


def test_idle_children_make_room_and_are_warmed_again(world):
    entrants = {"a": world.setup("a"), "b": world.setup("b")}
    world.run([case_of(entrants)], memory=1, reserve=1)  # nothing may stay beside another
    assert world.turns() == ["a:warm", "a:w", "b:warm", "b:w"] * 2
    assert len({line.rsplit(":", 1)[1] for line in world.journal.read_text().split()}) == 4


def test_serve_answers_each_line_and_reports_errors():
    commands = [dict(command="setup", setup=dict(task="tokenize", entrant="nobody")), dict(command="round", work={})]
    replies = io.StringIO()
    protocol.serve(map(json.dumps, commands), replies)
    first, second = map(json.loads, replies.getvalue().splitlines())
    assert first == {"error": "KeyError: 'nobody'"} and "error" in second


def test_transformer_that_rivals_run_learns(tmp_path):
    """The PyTorch side is real code: its loss falls, and its parameters are counted without the tables of the length."""
    sizes = dict(length=24, width=16, layers=2, heads=2, vocabulary=11)
    header = bytearray(256)
    header[12:16], header[24:32] = (2).to_bytes(4, "little"), (300).to_bytes(8, "little")
    (tmp_path / "tokens.bin").write_bytes(header + b"".join((i % 11).to_bytes(2, "little") for i in range(300)))
    setup = dict(task="train", entrant="transformer", threads=1, batch=4, data=str(tmp_path), dtype="float32", model=sizes)
    replies = io.StringIO()
    rounds = [dict(command="round", work=dict(steps=1)), dict(command="round", work=dict(steps=40)), dict(command="round", work={})]
    protocol.serve(map(json.dumps, [dict(command="setup", setup=setup), *rounds]), replies)
    told, first, _, last = map(json.loads, replies.getvalue().splitlines())
    assert told["parameters"] - told["matched"] == 24 * 16 and told["tokens"] == 96
    assert last["metrics"]["loss"] < 0.9 * first["metrics"]["loss"] and last["metrics"]["tokens_per_second"] > 0


def settings(quick):
    folders = dict(bytes="b", gpt2="g", vocabulary="v", text="t", models="m")
    return plan.Settings(2, quick, None, ("float32",), folders)


def test_cases_have_names_of_their_own_and_every_target_a_case():
    names = [case.name for case in plan.all_cases(settings(False))]
    assert len(names) == len(set(names)) > 20
    for quick in (True, False):
        for case in plan.all_cases(settings(quick)):
            assert next(iter(case.entrants)).startswith("ours")
    assert [case.name for case in plan.all_cases(settings(True), "train-S-2048")] == ["train-S-2048"]
    assert len(plan.all_cases(settings(True), "generate-*-b1-*")) == 3


def test_the_longest_training_leaves_out_what_is_decided_before():
    fast = dataclasses.replace(settings(False), dtypes=("float32", "bfloat16"), fast_bfloat16=True)
    long, middle = (plan.all_cases(fast, f"train-S-{length}")[0] for length in (32768, 8192))
    assert {name.partition(" · ")[0] for name in long.entrants} == {"ours, window", "ours, bidirectional", "transformer", "linformer", "products"}
    assert {"ours, bidirectional · float32", "linformer-pytorch · bfloat16", "ours, Transformer · float32"} < set(middle.entrants)
    assert (long.rounds_of("transformer · float32"), long.rounds_of("transformer · bfloat16"), long.rounds_of("products")) == (2, 5, 5)
    short = plan.all_cases(fast, "train-S-512")[0]
    assert short.rounds_of("transformer · float32") == 5
    assert plan.all_cases(settings(False), "train-S-32768")[0].fewer == {}


START = dict(machine=dict(processor="P", features=["avx2"]), load=0.5, date="d",
             identity=dict(code="abc", quick=True, threads=2), rates=dict(float32_gflops=100.0, float32_read_gbps=20.0, bfloat16_gflops=0.3,
                                                                          bfloat16_hopeless=True))


def measured(results, run, case, speeds, metric="tokens_per_second", setup=None):
    for entrant, values in speeds.items():
        if setup:
            results.add("setup", run=run, case=case, entrant=entrant, **setup)
        for number, value in enumerate(values):
            results.add("round", run=run, case=case, entrant=entrant, round=number, metrics={metric: value}, peak_bytes=3 << 30)


def line_of(page, start):
    return next(line for line in page.splitlines() if line.startswith(f"| {start}"))


def test_page_has_medians_spread_ratios_and_verdicts(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    results.add("start", run="r1", **START)
    measured(results, "r1", "train-S-512", {"ours, window · float32": [1100, 1200, 1300], "transformer · float32": [1000, 990, 1100]})
    measured(results, "r1", "train-S-2048", {"ours, window · float32": [1000, 900], "transformer · float32": [1000, 1000]})
    results.add("failed", run="r1", case="train-S-512", entrant="linformer · float32", reason="gone")
    measured(results, "r1", "generate-again", {"ours, window · float32": ["decoder: avx2"]}, "path")
    page = report.page_of(results)
    met = line_of(page, "training, causal window against the fused-attention Transformer, n 512")
    assert "| ≥ 1.4 | ≥ 1.15 | 1.2 | met |" in met and "1200 against transformer · float32 1000" in met
    assert "| 0.95 | **missed** |" in line_of(page, "training, causal window against the fused-attention Transformer, n 2048")
    assert "| – | not measured |" in line_of(page, "training, causal window against the fused-attention Transformer, n 8192")
    assert "| ours, window · float32 | 1200 (1100–1300) | 950 (900–1000) |" in page
    assert "hopeless (0.3 GFLOP/s)" in page and "neither of the two kinds" in page
    assert "Ours generated by: decoder: avx2." in page
    assert "- train-S-512: linformer · float32: gone" in page


def test_page_takes_the_newest_run_of_each_case(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    for run, speed in (("r1", 10.0), ("r2", 40.0)):
        results.add("start", run=run, **START)
        measured(results, run, "train-S-512", {"ours, window · float32": [speed]})
        if run == "r1":
            measured(results, run, "tokenize-1", {"ours": [30.0], "tiktoken": [10.0]}, "mb_per_second")
    page = report.page_of(results)
    assert "| ours, window · float32 | 40 |" in page and "| 10 |" not in line_of(page, "ours, window")
    assert "| 3 | met |" in line_of(page, "`tokenize` against tiktoken, threads: 1")


def test_best_dtype_counts_unless_one_is_named(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    results.add("start", run="r1", **START)
    measured(results, "r1", "generate-d384-b1-16", {"ours, window · float32": [100.0], "ours, window · 8 bit": [300.0],
                                                    "llama.cpp · float32": [80.0], "ctranslate2 · float32": [90.0],
                                                    "llama.cpp · 8 bit": [200.0]})
    at = targets.Measured(results)
    case = "generate-d384-b1-16"
    assert targets.ratio(at, case, [targets.OURS], None)[0] == pytest.approx(1.5)
    assert targets.ratio(at, case, [targets.OURS], None, dtype="float32")[0] == pytest.approx(100 / 90)
    assert targets.ratio(at, case, [targets.OURS], ["nobody"]) == (None, "")


def test_utilisation_and_stream_bound_by_hand(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    results.add("start", run="r1", **START)
    sizes = dict(width=8, layers=2, vocabulary=10)
    entrant = "ours, bidirectional · float32"
    measured(results, "r1", "train-S-512", {entrant: [1e6]}, setup=dict(setup=dict(attention="bidirectional", model=sizes), told={}))
    measured(results, "r1", "train-S-512", {"products": [50.0, 40.0]}, "float32_gflops")
    work = 2 * (10 * 64 + 4 * 64 * 8) + 80  # two layers and the output layer
    assert targets.utilisation(targets.Measured(results), "train-S-512", "ours, bidirectional")[0] == pytest.approx(6 * work * 1e6 / 50e9)
    case = "generate-d384-b1-16"
    measured(results, "r1", case, {"ours, window · 8 bit": [500.0]}, setup=dict(setup={}, told=dict(matched=10_000_000)))
    measured(results, "r1", case, {"products": [10.0]}, "float32_read_gbps")
    assert targets.stream_bound(targets.Measured(results), case, "8 bit")[0] == pytest.approx(1000 / 500)


def test_series_and_optional_requirements():
    assert (Series([3, 1, 2]).median, Series([3, 1, 2]).low, Series([3, 1, 2]).high) == (2, 1, 3)
    needed, optional = environment.requirements()
    assert any(name.startswith("linformer==") for name in needed) and all("==" in name for name in needed + optional)
    assert [name.split("==")[0] for name in optional] == ["llama-cpp-python"]


def test_parity_error_names_both_numbers():
    assert program.parity_error(dict(matched=100), dict(matched=110)) == "not the same work: 110 parameters, ours 100"
    assert program.parity_error(dict(tokens=4), dict(tokens=4)) is None


def test_missed_targets_have_their_reason_or_none_yet(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    results.add("start", run="r1", **START)
    ours, rival = {"ours, window · float32": [1000.0]}, {"transformer · float32": [1000.0]}
    for length in (512, 2048):
        measured(results, "r1", f"train-S-{length}", {**ours, **rival})
    measured(results, "r1", "tokenize-1", {"ours": [10.0], "tiktoken": [9.0]}, "mb_per_second")
    measured(results, "r1", "tokenize-2", {"ours": [100.0], "tiktoken": [9.0]}, "mb_per_second")
    page = report.page_of(results)
    assert "Missed: 3." in page
    section = page.split("## Missed, and why\n")[1].split("## How it was measured")[0]
    why = reasons.reason_of("training, causal window against the fused-attention Transformer, n 512")
    assert section.count(why) == 1 and "n 512 (1, wanted ≥ 1.15); training" in section and "n 2048 (1, wanted ≥ 1.5).\n" in section
    assert "- **Not explained yet**: `tokenize` against tiktoken, threads: 1 (1.11, wanted ≥ 3)." in section
    assert "threads: 2" not in section and "reference setting" not in section
    assert page.index("## Targets") < page.index("## Missed, and why") < page.index("## How it was measured")


def test_no_section_of_missed_targets_where_all_are_met(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    results.add("start", run="r1", **START)
    measured(results, "r1", "train-S-512", {"ours, window · float32": [2000.0], "transformer · float32": [1000.0]})
    assert "Missed, and why" not in report.page_of(results)


def test_every_reason_is_of_a_target(tmp_path):
    results = Results(tmp_path / "r.jsonl")
    results.add("start", run="r1", **START)
    for width in (384, 512):
        measured(results, "r1", f"generate-d{width}-b1-16", {"ours, window · float32": [1.0]})
    names = [target.what for target in targets.all_targets(targets.Measured(results))]
    for patterns, text in reasons.REASONS:
        assert text.endswith(".") and "\n" not in text
        for pattern in patterns:
            assert any(reasons.fnmatch.fnmatchcase(name, pattern) for name in names), pattern


def timed(name, *milliseconds, **more):
    return [dict(name=name, run_name=f"{name}/real_time", run_type="iteration", real_time=value, **more) for value in milliseconds]


def operators_file(path):
    entries = [*timed("window_block/products/float32/forward/512", 2.0), *timed("window_block/kernel/float32/forward/512", 3.0, 1.0, 4.0),
               *timed("window_block/composed/float32/forward/512", 6.0), *timed("window_block/kernel/float32/forward_backward/512", 9.0),
               *timed("window_block/kernel/float32/forward/2048", 12.0),
               *timed("window_block/composed/float32/forward/2048", 0.0, error_occurred=True, error_message="left out"),
               *timed("prefix/products/float32/forward/512", 0.5), *timed("prefix/composed/float32/forward/512", 1.0),
               *timed("window_block/kernel/bfloat16/forward/512", 0.25),
               dict(timed("window_block/kernel/float32/forward/512", 99.0)[0], run_type="aggregate")]
    entries.reverse()  # their order is random
    context = dict(date="2026-11-24T10:00:00+00:00", host_name="secret", threads="2", shape="B 1", isa="avx2")
    path.write_text(json.dumps(dict(context=context, benchmarks=entries)))


def test_operators_are_a_table_a_dtype_in_the_page(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    results.add("start", run="r1", **START)
    measured(results, "r1", "train-S-512", {"ours, window · float32": [1.0]})
    assert "## Operators" not in report.page_of(results)
    operators_file(tmp_path / "operators.json")
    page = report.page_of(results)
    section = page.split("## Operators\n")[1]
    assert "B 1, 2 threads, avx2, 2026-11-24" in section.replace("\n", " ") and "secret" not in page
    assert "| window_block | 512 | 2 | 3 (1–4) | 6 | 2 | 1.5 | – | 9 | – | – | – |" in section
    assert "| window_block | 2048 | – | 12 | – | – | – | – | – | – | – | – |" in section
    assert section.index("### float32") < section.index("| prefix |") < section.index("| window_block | 512 |") < section.index("| window_block | 2048 |")
    assert "| prefix | 512 | 0.5 | – | 1 | – | 2 | – | – | – | – | – |" in section
    assert "| window_block | 512 | – | 0.25 |" in section.split("### bfloat16")[1]


def test_a_broken_file_of_operators_is_told_and_left_out(tmp_path, capsys):
    results = Results(tmp_path / "results.jsonl")
    results.add("start", run="r1", **START)
    measured(results, "r1", "train-S-512", {"ours, window · float32": [1.0]})
    (tmp_path / "operators.json").write_text('{"context": {')
    assert "## Operators" not in report.page_of(results)
    assert "operators.json is not whole" in capsys.readouterr().err
