#!/usr/bin/env python3
"""Makes a small but complete report: trains a grid of models, audits, inspects and samples them, times Linformer and Transformer against the
length, and puts all into one page.

Needs what `make build` leaves. What is finished is kept, so that a killed run goes on where it stopped: --new starts over. Results stand in
build/report, the page is build/report/report.html.
"""

import argparse
import pathlib
import shutil
import sys
import tomllib

from demo import PROMPT, ROOT, SAMPLING, Program, say, shown, stop

LENGTHS = "256,512,1024,2048,4096,8192"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/linformer")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/report")
    parser.add_argument("--corpus", type=pathlib.Path, default=ROOT / "data/corpora/austen.txt")
    parser.add_argument("--grid", type=pathlib.Path, default=ROOT / "configs/ablations/quick.toml")
    parser.add_argument("--lengths", default=LENGTHS, help="of the timings")
    parser.add_argument("--width", type=int, default=256, help="of the timed models")
    parser.add_argument("--threads", type=int, help="default: all processors")
    parser.add_argument("--new", action="store_true", help="start over")
    options = parser.parse_args()
    for name in ("program", "out", "corpus", "grid"):  # the program runs at the top of the tree
        setattr(options, name, getattr(options, name).resolve())
    return options


def look_at(program, options, point):
    """Audit, samples and inspection of one model of the grid: the folders to report."""
    run = next(iter(sorted((options.out / "ablation" / point).glob("seed-*"))), None)
    if run is None or not (run / "model.safetensors").exists():
        return []
    program.run("audit", "--model", run, "--data", options.out / "books", statuses=(0, 1))
    line, _ = program.run("generate", "--json", "--model", run, "--prompt", PROMPT, "--max-tokens", 200, "--overflow", "slide", *SAMPLING,
                          "--seed", 1)
    (run / "samples.jsonl").write_bytes(line.strip() + b"\n")
    seen = options.out / f"inspection-{point}"
    program.run("inspect", "--model", run, "--data", options.out / "books", "--out", seen)
    return [run, seen]


def main():
    options = arguments()
    for needed in (options.program, options.corpus, options.grid):
        if not needed.exists():
            stop(f"{shown(needed)} is missing: run `make build` first")
    if options.new and options.out.exists():
        shutil.rmtree(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    program = Program(options.program, options.threads)
    books, ablation, speed = (options.out / name for name in ("books", "ablation", "benchmark"))
    if not (books / "tokens.bin").exists():
        program.run("prepare", "--input", options.corpus, "--out", books, "--tokenizer", "bytes", "--validation", 0.02)
    program.run("ablate", "--grid", options.grid, "--data", books, "--out", ablation)
    points = [point["name"] for point in tomllib.loads(options.grid.read_text())["point"]]
    folders = [folder for point in points if point in ("softmax", "running") for folder in look_at(program, options, point)]
    program.run("benchmark", "--out", speed, "--lengths", options.lengths, "--slots", 64, "--forms", "softmax,running", "--tasks", "train,generate",
                "--widths", options.width, "--layers", 2, "--rounds", 3)
    page, pictures = options.out / "report.html", ["--pictures", options.out / "pictures"] if shutil.which("gnuplot") else []
    program.run("report", *folders, ablation, speed, "--out", page, *pictures)
    say(f"\nthe page: {shown(page)}" + ("" if pictures else "; pictures for papers need gnuplot (apt-get install gnuplot-nox)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
