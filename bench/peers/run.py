"""`make peers`: this project side by side with what a user would run instead. See docs/performance.md, which this writes.

    python bench/peers/run.py [--quick] [--only PATTERN] [--rounds N] [--budget SECONDS] [--compile] [--new] [--report]

Rounds of the entrants take turns (A B C A B C …), each entrant in a process of its own, with the same threads and the same memory
settings. A run that was killed, or whose budget ended, goes on where it stopped when it is started again.
"""

import argparse
import os
import pathlib
import platform
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import cases as plan  # noqa: E402
import report  # noqa: E402
from children import EntrantError, Pool  # noqa: E402
from environment import prepare, say  # noqa: E402
from results import Results  # noqa: E402

PARITY = 0.02


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few shapes, 2 rounds: about ten minutes")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases whose name holds or matches this, such as train-S or 'generate-*-3800'")
    parser.add_argument("--rounds", type=int, help="counted rounds of each entrant")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="start no round after this; 690 with --quick")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compile", action="store_true", help="also the Transformer under torch.compile")
    parser.add_argument("--new", action="store_true", help="start anew, even if the last run did not finish")
    parser.add_argument("--report", action="store_true", help="write docs/performance.md from what was measured, and stop")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="where CMake built")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/peers")
    return parser.parse_args(arguments)


def torch_site():
    """The folder of packages that the project's own environment has."""
    if os.environ.get("TORCH_DIR"):
        return pathlib.Path(os.environ["TORCH_DIR"]).resolve().parent
    found = sorted((ROOT / ".venv").glob("lib/python*/site-packages"))
    if not found:
        sys.exit("peers: no .venv: run `make setup` first, or set TORCH_DIR")
    return found[0]


def prepared(program, out, name, tokenizer):
    folder = out / name
    if not (folder / "tokens.bin").exists():
        command = [str(program), "prepare", "--input", str(ROOT / "data/corpora/austen.txt"), "--tokenizer", tokenizer, "--out", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(folder)


def machine():
    processor, flags = platform.processor() or "unknown", set()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            processor = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    found = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return dict(processor=processor, features=found, memory_bytes=memory)


def code_version():
    try:
        return subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def parity_error(own, other):
    """Why `other` would not do the same work, if so."""
    for name in ("matched", "tokens"):
        if name in own and name in other and abs(other[name] - own[name]) > PARITY * own[name]:
            return f"not the same work: {other[name]} {'parameters' if name == 'matched' else name}, ours {own[name]}"
    return None


class Run:
    def __init__(self, results, run, pool, command_of, deadline=float("inf")):
        self.results, self.run, self.pool, self.command_of, self.deadline = results, run, pool, command_of, deadline

    def fail(self, case, entrant, reason):
        say(f"{case.name}: {entrant}: {reason}")
        self.results.add("failed", run=self.run, case=case.name, entrant=entrant, reason=reason)

    def check_parity(self, case, entrant, told):
        if self.results.find("setup", self.run, case.name, entrant):
            return
        first = next(iter(case.entrants))
        own = self.results.find("setup", self.run, case.name, first)
        problem = parity_error(own[0]["told"], told) if own else None
        if problem:
            raise EntrantError(problem)
        self.results.add("setup", run=self.run, case=case.name, entrant=entrant, told=told, setup=case.entrants[entrant])

    def round(self, case, entrant, number):
        command, setup = self.command_of(entrant), case.entrants[entrant]
        child, told = self.pool.ready(command, setup, case.seconds)
        child.told = told if told is not None else child.told
        self.check_parity(case, entrant, child.told)
        if case.name not in child.warm:
            self.pool.round(command, setup, case.warm_up or case.work, case.seconds)
            child.warm.add(case.name)
        reply = self.pool.round(command, setup, case.work, case.seconds)
        self.results.add("round", run=self.run, case=case.name, entrant=entrant, round=number, metrics=reply["metrics"],
                         peak_bytes=reply["peak_bytes"])

    def case(self, case):
        """False when the time ran out before all was measured."""
        self.pool.keep_only([self.pool.key(self.command_of(entrant), setup) for entrant, setup in case.entrants.items()])
        out = {event["entrant"] for event in self.results.find("failed", self.run, case.name)}
        for number in range(case.rounds):
            for entrant in case.entrants:
                if entrant in out or number >= case.rounds_of(entrant) or number in self.results.rounds(self.run, case.name, entrant):
                    continue
                if time.monotonic() > self.deadline:
                    return False
                try:
                    self.round(case, entrant, number)
                except EntrantError as error:
                    out.add(entrant)
                    self.fail(case, entrant, str(error))
        return True

    def all(self, cases):
        for number, case in enumerate(cases, 1):
            say(f"{number} of {len(cases)}: {case.name}")
            if not self.case(case):
                say("the time is up; start again to go on from here")
                return False
        self.results.add("end", run=self.run)
        return True


def usable_dtypes(pool, command, threads, log):
    """What a quick probe says: float32, and bfloat16 unless it is hopeless."""
    setup = dict(task="probe", threads=threads)
    pool.ready(command, setup, 600)
    rates = pool.round(command, setup, dict(dtypes=["float32", "bfloat16"]), 600)["metrics"]
    pool.keep_only([])
    hopeless = rates.get("bfloat16_hopeless", False)
    if hopeless:
        log(f"bfloat16 is skipped: {rates['bfloat16_gflops']:.1f} GFLOP/s against {rates['float32_gflops']:.0f} in float32")
    return ("float32",) if hopeless else ("float32", "bfloat16"), rates


def start(options, results, dtypes, rates):
    """The run to go on with, or a new one."""
    described = machine()
    identity = dict(quick=options.quick, threads=options.threads, dtypes=list(dtypes), processor=described["processor"], only=options.only,
                    rounds=options.rounds, compile=options.compile, code=code_version())
    run = None if options.new else results.unfinished(identity)
    if run:
        say(f"going on with run {run}")
        return run
    run = time.strftime("%Y%m%d-%H%M%S")
    results.add("start", run=run, identity=identity, machine=described, rates=rates, load=os.getloadavg()[0], date=time.strftime("%Y-%m-%d"))
    return run


def main(arguments=None):
    options = parse_arguments(arguments)
    results, page = Results(options.out / "results.jsonl"), ROOT / "docs/performance.md"
    if options.report:
        report.write(results, page)
        return 0
    began = time.monotonic()
    entrant = options.build / "bench/peers_entrant"
    program = options.build / "linformer"
    for built in (entrant, program):
        if not built.exists():
            sys.exit(f"peers: {built} is missing: run `make build` first")
    python = prepare(options.out.parent / "peers-venv", torch_site())
    folders = dict(bytes=prepared(program, options.out, "bytes", "bytes"), gpt2=prepared(program, options.out, "gpt2", str(ROOT / "data/gpt2")),
                   vocabulary=str(ROOT / "data/gpt2"), text=str(ROOT / "data/corpora/austen.txt"), models=str(options.out / "models"))
    rival = [str(python), str(HERE / "entrant.py")]
    with (options.out / "entrants.log").open("ab") as log:
        pool = Pool(options.threads, log)
        dtypes, rates = usable_dtypes(pool, rival, options.threads, say)
        fast = rates.get("bfloat16_gflops", 0) > 2 * rates["float32_gflops"]
        settings = plan.Settings(options.threads, options.quick, options.rounds, dtypes, folders, options.compile, fast)
        run = start(options, results, dtypes, rates)
        budget = options.budget or (690 if options.quick else float("inf"))
        try:
            Run(results, run, pool, lambda name: [str(entrant)] if name.startswith("ours") else rival,
                       began + budget).all(plan.all_cases(settings, options.only))
        finally:
            pool.keep_only([])
            report.write(results, page)
    say(f"wrote {page.relative_to(ROOT)} and {options.out / 'results.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
