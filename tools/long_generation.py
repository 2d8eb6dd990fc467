#!/usr/bin/env python3
"""Lets a model of bytes write for a long time, and notes how fast it writes and how much memory it takes.

  .venv/bin/python tools/long_generation.py --model run --tokens 300000 --out build/long

writes build/long/text.txt (what was written), generation.jsonl (a line each second: tokens, seconds, resident_bytes) and, where gnuplot is
installed, generation.svg. The model must read texts without end: see docs/maths.md 8.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import pictures
from table_cells import mean

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 2**20

PICTURE = """\
set xlabel "tokens written"
set format x "%.0f"
set ylabel "tokens a second"
set y2label "memory of the process, MiB"
set border 11
set y2tics
set yrange [0:{speed}]
set y2range [0:{memory}]
set key bottom right
plot $written using 1:2 with lines lc rgb "{colours[0]}" lw 2 title "speed", $written using 1:3 axes x1y2 with lines lc rgb "{colours[1]}" lw 2 title "memory"
"""


def resident_bytes(process):
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    return None  # it has ended


def samples_of(command, text, every):
    """Runs the command, whose output goes to `text` too. A byte of a model of bytes is a token."""
    start, written, found = time.monotonic(), 0, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process, open(text, "wb") as file:
        due = every
        while piece := os.read(process.stdout.fileno(), 65536):
            file.write(piece)
            written += len(piece)
            seconds = time.monotonic() - start
            if seconds < due:
                continue
            due = seconds + every
            memory = resident_bytes(process.pid)
            if memory is not None:
                found.append({"tokens": written, "seconds": round(seconds, 3), "resident_bytes": memory})
                print(f"\r{written:,} tokens, {memory / MIB:,.0f} MiB", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if process.returncode != 0:
        sys.exit(process.returncode)  # the program said why
    return found


def speeds_of(samples):
    """Tokens a second between each sample and the next: (tokens, speed, MiB)."""
    pairs = zip(samples, samples[1:])
    return [(b["tokens"], (b["tokens"] - a["tokens"]) / (b["seconds"] - a["seconds"]), b["resident_bytes"] / MIB) for a, b in pairs]


def draw(points, out):
    script = PICTURE.format(colours=pictures.COLOURS, speed=1.2 * max(p[1] for p in points), memory=1.2 * max(p[2] for p in points))
    pictures.run(pictures.data("written", points) + script, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="run or checkpoint folder of a model of bytes")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for text, lines and picture")
    parser.add_argument("--tokens", type=int, default=300_000, help="to write; default: %(default)s")
    parser.add_argument("--prompt", default="The ", help="text to begin with; default: %(default)s")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="between two lines")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/linformer", help="default: build/release/linformer of this folder")
    options, more = parser.parse_known_args()  # the rest is for generate, such as --temperature 0.8
    wanted = pathlib.Path(options.model) / "tokenizer.json"
    for file, what in (wanted, "--model is the folder of a run or a checkpoint"), (options.program, "`make build` builds it; --program names another"):
        if not file.is_file():
            print(f"long_generation: error: {file} is not there; {what}", file=sys.stderr)
            return 2
    tokenizer = json.loads(wanted.read_text())
    if tokenizer.get("kind") != "bytes":
        print(f"long_generation: error: the tokenizer of {options.model} is {tokenizer.get('kind')}, expected bytes, of which each is a token", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    command = [options.program, "generate", "--model", options.model, "--prompt", options.prompt, "--max-tokens", str(options.tokens), *more]
    samples = samples_of(command, options.out / "text.txt", options.every)
    (options.out / "generation.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    points = speeds_of(samples)
    if len(points) < 4:
        print("long_generation: error: it ended too soon to tell a speed; use more --tokens or a shorter --every", file=sys.stderr)
        return 2
    part = max(1, len(points) // 4)
    print(json.dumps({"tokens": samples[-1]["tokens"], "seconds": samples[-1]["seconds"],
                      "first_quarter": {"tokens_per_second": mean([p[1] for p in points[:part]]), "resident_mib": points[0][2]},
                      "last_quarter": {"tokens_per_second": mean([p[1] for p in points[-part:]]), "resident_mib": points[-1][2]}}))
    try:
        draw(points, options.out / "generation.svg")
    except FileNotFoundError:
        print("long_generation: gnuplot is not installed, so there is no picture", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
