"""Equal commands give equal bits, however busy the machine is: what changes a result never rests on a timing."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
REPEATS = 3
IDS = ",".join(map(str, range(60)))
QUIET_WAIT = {"OMP_WAIT_POLICY": "passive"}  # threads that spin for each other on a busy machine take minutes for a second's work
# Above four million parameters, from where `generate --dtype auto` may take short weights, and with products that are large enough
# for either library (nn/linear_product.cpp).
FIELDS = {"model.length": 64, "model.width": 256, "model.layers": 6, "model.heads": 4, "attention.window": 16, "attention.slots": 8,
          "train.steps": 2, "train.batch": 2}

# Loaded before the program: each reading is up to 50 ms further ahead than time is.
WILD_CLOCK = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned long long state, offset;  // nanoseconds

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = syscall(SYS_clock_gettime, clock, time);
  if (result != 0 || clock != CLOCK_MONOTONIC) return result;
  if (state == 0) state = strtoull(getenv("CLOCK_SEED"), NULL, 10);
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  unsigned long long jump = (state >> 33) % 50000000;
  unsigned long long now = time->tv_sec * 1000000000ULL + time->tv_nsec + __atomic_add_fetch(&offset, jump, __ATOMIC_RELAXED);
  time->tv_sec = now / 1000000000ULL;
  time->tv_nsec = now % 1000000000ULL;
  return 0;
}

__attribute__((destructor)) static void tell(void) { fprintf(stderr, "wild clock: %.9f s ahead\\n", offset * 1e-9); }
"""


def program(*arguments, **variables):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, env={**os.environ, **QUIET_WAIT, **variables})
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def train(work, run, *flags, fields=FIELDS, **variables):
    given = [text for name, value in fields.items() for text in (f"--{name}", value)]
    return program("train", "--data", work / "data", "--out", run, *given, *flags, **variables)


@pytest.fixture
def busy():
    """Two programs a processor that do nothing but run, some of the time: a timing inside the program meets them by chance."""
    loop = "import os, time\nparent = os.getppid()\nwhile os.getppid() == parent:\n    end = time.monotonic() + 0.03\n" \
           "    while time.monotonic() < end: pass\n    time.sleep(0.02)"
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        yield
        assert all(one.poll() is None for one in loops), "a loop ended, so that the machine was not busy"
    finally:
        for one in loops:
            one.kill()
        for one in loops:
            one.wait()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repeat")
    text = " ".join(f"{i * i % 97} of {i * 7 % 31} and" for i in range(2000))
    (folder / "text.txt").write_text(text)
    (folder / "part.txt").write_text(text[:6000])
    program("prepare", "--input", folder / "text.txt", "--out", folder / "data", "--tokenizer", "bytes", "--validation", 0.2)
    train(folder, folder / "run")
    return folder


def without_times(line):
    return {key: value for key, value in line.items() if "second" not in key and key != "time"}


def result_of_training(run):
    lines = [without_times(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return lines, hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def results(work, folder, **variables):
    """What each verb gives, without what is a time."""
    train(work, folder / "run", **variables)
    common = ("--model", work / "run")
    evaluated = program("evaluate", *common, "--data", work / "part.txt", "--json", **variables)
    made = json.loads(program("generate", *common, "--prompt", "and so " * 7, "--max-tokens", 8, "--seed", 3, "--json", **variables).stdout)
    return {"train": result_of_training(folder / "run"), "evaluate": without_times(json.loads(evaluated.stdout)),
            "generate": {key: made[key] for key in ("tokens", "text", "path")},
            "logits": logits_of(work, folder / "logits", **variables)[0]}


def expect_equal(quiet, others):
    for verb, expected in quiet.items():
        assert all(other[verb] == expected for other in others), f"{verb}: {expected}, {[other[verb] for other in others]}"


@pytest.fixture(scope="module")
def quiet(work, tmp_path_factory):
    return results(work, tmp_path_factory.mktemp("quiet"))


def test_equal_commands_give_equal_bits_under_load(work, quiet, busy, tmp_path):
    expect_equal(quiet, [results(work, tmp_path / str(repeat)) for repeat in range(REPEATS)])


def test_no_clock_decides_a_bit(work, quiet, tmp_path):
    """A load meets a timing by chance. Here every interval that the program measures is drawn at random, up to 50 ms long."""
    (tmp_path / "clock.c").write_text(WILD_CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", tmp_path / "clock.so", tmp_path / "clock.c"], check=True, timeout=60)
    wild = {"LD_PRELOAD": str(tmp_path / "clock.so"), "ASAN_OPTIONS": "verify_asan_link_order=0"}
    ahead = float(re.search(r"wild clock: ([0-9.]+) s", program("info", CLOCK_SEED="1", **wild).stderr)[1])
    assert ahead > 0.1, "the program has not read this clock"
    expect_equal(quiet, [results(work, tmp_path / str(seed), CLOCK_SEED=str(seed), **wild) for seed in range(1, 5)])


def test_what_auto_took_is_said_stored_and_pinned(work, tmp_path):
    said = train(work, tmp_path / "auto").stderr
    stored = json.loads((tmp_path / "auto/config.json").read_text())["train"]
    assert stored["dtype"] in ("float32", "bfloat16") and stored["products"] in ("libtorch", "onednn")
    line = next(line for line in said.splitlines() if line.startswith(f"linformer: dtype {stored['dtype']}") and "(auto: " in line)
    assert f"--train.dtype {stored['dtype']}" in line
    assert (f"--train.products {stored['products']}" in line) == (stored["dtype"] == "float32")
    pinned = train(work, tmp_path / "pinned", "--dtype", stored["dtype"], "--train.products", stored["products"]).stderr
    assert "auto" not in pinned
    assert result_of_training(tmp_path / "pinned") == result_of_training(tmp_path / "auto")
    info = json.loads(program("info", "--json").stdout)["auto"]
    assert (info["train.dtype"], info["products"]) == (stored["dtype"], stored["products"])


def test_a_resumed_run_keeps_its_choice_on_another_processor(work, tmp_path):
    other = "bfloat16" if json.loads((work / "run/config.json").read_text())["train"]["dtype"] == "float32" else "float32"
    small = {**FIELDS, "model.width": 32, "model.layers": 1}  # bfloat16 is slow where a processor lacks it
    train(work, tmp_path / "run", "--dtype", other, "--products", "libtorch", fields=small)
    config = tmp_path / "run/config.json"
    assert json.loads(config.read_text())["train"]["products"] == "libtorch"
    again = program("train", "--resume", "--out", tmp_path / "run", "--dtype", "auto", "--products", "auto",
                    LINFORMER_ISA="portable")
    assert json.loads(config.read_text())["train"]["dtype"] == other
    assert ("bfloat16 may be" in again.stderr and "LINFORMER_ISA" in again.stderr) == (other == "bfloat16")
    # Made by a program that stored no library: the table says which.
    stored = json.loads(config.read_text())
    del stored["train"]["products"]
    config.write_text(json.dumps(stored))
    program("train", "--resume", "--out", tmp_path / "run")
    assert json.loads(config.read_text())["train"]["products"] in ("libtorch", "onednn")


def test_a_forced_instruction_set_decides_what_auto_takes(work, tmp_path):
    train(work, tmp_path / "run", LINFORMER_ISA="portable")
    stored = json.loads((tmp_path / "run/config.json").read_text())["train"]
    assert (stored["dtype"], stored["products"]) == ("float32", "libtorch")
    said = program("evaluate", "--model", work / "run", "--data", work / "data", LINFORMER_ISA="portable").stderr
    assert "products libtorch (auto: LINFORMER_ISA takes this" in said and "--products libtorch" in said


def logits_of(work, out, *flags, **variables):
    said = program("logits", "--model", work / "run", "--ids", IDS, "--out", out, *flags, **variables).stderr
    return hashlib.sha256(out.read_bytes()).hexdigest(), said


def test_the_library_of_products_is_pinned(work, tmp_path):
    by = {library: logits_of(work, tmp_path / library, "--products", library) for library in ("auto", "libtorch", "onednn")}
    assert "auto" in by["auto"][1] and "auto" not in by["libtorch"][1] + by["onednn"][1]
    taken = json.loads(program("info", "--json").stdout)["auto"]["products"]
    assert by["auto"][0] == by[taken][0]
    assert by["libtorch"][0] != by["onednn"][0], "they round alike here, so that this test says nothing"
    assert logits_of(work, tmp_path / "forced", "--products", "onednn", LINFORMER_ISA="portable")[1] == ""


def test_generate_says_and_pins_each_choice(work):
    prompt = ("--model", work / "run", "--prompt", "and so " * 7, "--max-tokens", 8, "--json")
    automatic = program("generate", *prompt)
    said = next(line for line in automatic.stderr.splitlines() if "(auto: " in line)
    flags = said[said.index("pin "):].split(" with ")[1].split()
    pinned = program("generate", *prompt, *flags)
    assert "(auto: " not in pinned.stderr
    assert json.loads(pinned.stdout)["tokens"] == json.loads(automatic.stdout)["tokens"]
    assert json.loads(pinned.stdout)["path"] == json.loads(automatic.stdout)["path"]
