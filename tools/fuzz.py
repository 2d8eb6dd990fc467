#!/usr/bin/env python3
"""Runs every fuzzer of a build (the preset asan) for some seconds, from the seeds in fuzz/corpus.

A finding ends that fuzzer; the input that made it is kept, and the command that shows it again is printed. Inputs that
reach new code are kept in the build folder, so that the next run starts from them.
"""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# An input is small, so what takes more memory or time than this is a finding.
LIMITS = ["-max_len=16384", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-timeout=10"]


def run(fuzzer, seconds, build):
    """(inputs tried, files of findings) of one fuzzer."""
    name = fuzzer.name.removeprefix("fuzz_")
    kept, findings = build / "corpus" / name, build / "findings" / name
    kept.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    result = subprocess.run([fuzzer, f"-max_total_time={seconds}", *LIMITS, "-print_final_stats=1", f"-artifact_prefix={findings}/",
                             kept, ROOT / "fuzz/corpus" / name], capture_output=True, text=True, errors="replace")
    tried = re.search(r"number_of_executed_units: *(\d+)", result.stderr)
    found = sorted(set(findings.iterdir()) - before)
    if result.returncode != 0:
        sys.stderr.write(result.stderr[-6000:])
        for file in found:
            print(f"finding: {fuzzer} {file}")
        found = found or [fuzzer]
    return int(tried[1]) if tried else 0, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/asan", help="folder of the build")
    parser.add_argument("--seconds", type=int, default=60, help="for each fuzzer")
    parser.add_argument("--jobs", type=int, default=1, help="fuzzers at a time")
    parser.add_argument("--only", default="", help="names of fuzzers, with commas between")
    options = parser.parse_args()
    fuzzers = sorted(path for path in (options.build / "fuzz").glob("fuzz_*") if path.is_file())
    wanted = [name for name in options.only.split(",") if name]
    unknown = set(wanted) - {path.name.removeprefix("fuzz_") for path in fuzzers}
    if unknown or not fuzzers:
        sys.exit(f"{options.build} holds no fuzzer {', '.join(sorted(unknown))}; `make fuzz` builds them")
    chosen = [path for path in fuzzers if not wanted or path.name.removeprefix("fuzz_") in wanted]
    findings = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = pool.map(lambda fuzzer: run(fuzzer, options.seconds, options.build), chosen)
        for fuzzer, (tried, found) in zip(chosen, runs):
            findings += len(found)
            name = fuzzer.name.removeprefix("fuzz_")
            print(f"{name}: {tried} inputs in {options.seconds} s, {len(found)} findings", flush=True)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
