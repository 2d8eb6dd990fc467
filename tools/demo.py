#!/usr/bin/env python3
"""Trains, evaluates and samples a causal Linformer and a standard Transformer on the same novels, and compares them.

Needs what `make build` leaves, and nothing else: standard library only, no network. A rerun replaces the results of the last one
in build/demo: demo.md (the tables), demo.json (every figure) and the two runs.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {"linformer": "Linformer", "softmax": "Transformer"}
VERDICTS = {"clean": "no output sees what comes after it", "leaks": "LEAKS: outputs see what comes after them"}
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"
PROMPT = "It was a"
SAMPLING = ["--temperature", "0.7", "--top-k", "40"]
WEIGHTS = ["--dtype", "float32"]  # `auto` may take bfloat16 weights for one model and not for the other
GENERATED = 200  # tokens
TIMINGS = 3      # of generation; the median counts


def say(text):
    print(text, file=sys.stderr, flush=True)


def stop(text):
    say(f"demo: error: {text}")
    sys.exit(2)


def shown(path):
    """A path as a reader would type it."""
    path = pathlib.Path(path)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


class Program:
    """The linformer program: runs a verb, and keeps the memory that each run took."""

    def __init__(self, path, threads):
        self.path, self.threads = path, threads

    def run(self, verb, *flags, capture=True, statuses=(0,)):
        """What the verb printed on standard output (None where it went to the terminal) and its peak memory in bytes."""
        command = [str(self.path), verb, *map(str, flags)]
        if self.threads:
            command += ["--threads", str(self.threads)]
        say("\n$ " + shlex.join([shown(self.path), *(shown(f) if os.path.isabs(f) else f for f in command[1:])]))
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE if capture else None)
        output = process.stdout.read() if capture else None
        _, status, usage = os.wait4(process.pid, 0)  # not process.wait(): this one tells the memory of this child alone
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in statuses:
            stop(f"`linformer {verb}` ended with status {process.returncode}; its message is above")
        return output, usage.ru_maxrss * 1024

    def json(self, verb, *flags, **options):
        output, memory = self.run(verb, "--json", *flags, **options)
        return json.loads(output), memory


def measured(program, kind, options, data):
    """Trains, evaluates, samples and times one model."""
    say(f"\n=== {KINDS[kind]}: training")
    run = options.out / kind
    flags = ["--config", options.config, "--attention.kind", kind, "--data", data, "--out", run, "--overwrite", "--seed", options.seed]
    if options.steps:
        flags += ["--train.steps", options.steps]
    train, train_memory = program.json("train", *flags)

    say(f"\n=== {KINDS[kind]}: evaluation on the last tenth of the text, which it has not seen")
    evaluation, _ = program.json("evaluate", "--model", run, "--data", data)

    say(f"\n=== {KINDS[kind]}: does it see what comes after? (audit; the loss above means something only if not)")
    audit, _ = program.json("audit", "--model", run, "--data", data, "--seed", options.seed, statuses=(0, 1))
    say(f"{KINDS[kind]}: {VERDICTS[audit['verdict']]}")

    say(f"\n=== {KINDS[kind]}: a sample")
    request = ["--model", run, "--prompt", PROMPT, "--max-tokens", GENERATED, "--seed", options.seed, *SAMPLING, *WEIGHTS]
    program.run("generate", *request, capture=False)
    timings = [program.json("generate", *request) for _ in range(TIMINGS)]
    return {
        "steps": train["steps"], "parameters": train["parameters"], "train_loss": train["loss"],
        "train_seconds": train["seconds"], "train_tokens_per_second": train["tokens_per_second"],
        "train_peak_memory_bytes": train_memory,
        "validation_loss": evaluation["loss"], "bits_per_byte": evaluation["bits_per_byte"],
        "generate_tokens_per_second": statistics.median(result["tokens_per_second"] for result, _ in timings),
        "generate_peak_memory_bytes": max(memory for _, memory in timings),
        "audit": {key: audit[key] for key in ("verdict", "first_leak", "largest_change", "threshold", "dtype")},
        "sample": PROMPT + timings[0][0]["text"],
    }


def long_prompt(program, options, data, tokens):
    """A file with a text of exactly so many tokens."""
    def tokenize(text, *flags):
        command = [program.path, "tokenize", "--tokenizer", data / "tokenizer.json", *flags]
        return subprocess.run(command, cwd=ROOT, check=True, input=text.encode(), stdout=subprocess.PIPE).stdout
    ids = json.loads(tokenize(options.corpus.read_text(encoding="utf-8")[: 8 * tokens], "--json"))["ids"]
    path = options.out / "long-prompt.txt"
    path.write_bytes(tokenize(" ".join(map(str, ids[:tokens])), "--decode"))
    return path


def measured_long(program, kind, options, data):
    """Times a few steps, and generation at the end of the context. Nothing is learnt in so few steps: only the cost counts."""
    length, generated = options.long_length, 64
    say(f"\n=== {KINDS[kind]} at {length} tokens of context: cost only")
    run = options.out / f"long-{kind}"
    train, memory = program.json(
        "train", "--config", options.config, "--attention.kind", kind, "--model.length", length, "--train.batch", 1, "--train.steps",
        options.long_steps, "--data", data, "--out", run, "--overwrite", "--seed", options.seed)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speeds = [step["tokens_per_second"] for step in steps if "tokens_per_second" in step]
    generation, generate_memory = program.json("generate", "--model", run, "--prompt-file", long_prompt(program, options, data, length - generated),
                                               "--max-tokens", generated, "--seed", options.seed, *WEIGHTS)
    shutil.rmtree(run)  # an untrained model
    return {
        "length": length, "steps": train["steps"],
        # The first step also warms caches up.
        "train_tokens_per_second": statistics.median(speeds[1:] or speeds), "train_peak_memory_bytes": memory,
        "prompt_tokens": generation["prompt_tokens"], "prompt_seconds": generation["prompt_seconds"],
        "generate_tokens_per_second": generation["tokens_per_second"], "state_bytes": generation["state_bytes"],
        "generate_peak_memory_bytes": generate_memory,
    }


def table(title, rows, results):
    lines = [f"| {title} | Linformer | Transformer |", "|---|---:|---:|"]
    for name, value in rows:
        lines.append(f"| {name} | " + " | ".join(value(results[kind]) for kind in KINDS) + " |")
    return "\n".join(lines)


def megabytes(value):
    return f"{value / 1e6:,.{0 if value >= 1e7 else 1}f} MB"


def compared(linformer, transformer):
    """'12.0 % lower than' or '3.0 % higher than'."""
    change = (linformer / transformer - 1) * 100
    return f"{abs(change):.1f} % {'lower' if change < 0 else 'higher'} than"


def speed(linformer, transformer):
    """How fast the Linformer is; both ways round, whichever is the faster."""
    return f"{linformer / transformer:.2f} times as fast as"


def report(document):
    """The tables in Markdown, with what they say in words."""
    machine, short = document["machine"], document["results"]
    lin, soft = short["linformer"], short["softmax"]
    flags = f" DEMO_FLAGS=\"{shlex.join(document['flags'])}\"" if document.get("flags") else ""
    busy = f" (load {machine['load_at_start']:.1f} at the start, so the speeds may be too low)" if is_busy(machine) else ""
    text = [
        f"`make demo{flags}` on {machine['processor']}, {machine['cores']} cores{busy}; {document['date']}; {lin['steps']} steps, "
        f"seed {document['seed']}, {document['length']} tokens of context (`{document['config']}`), weights in float32.", "",
        table(f"{document['length']} tokens of context", [
            ("validation loss (nats a token)", lambda r: f"{r['validation_loss']:.3f}"),
            ("bits per byte", lambda r: f"{r['bits_per_byte']:.3f}"),
            # Figures of older demos have none.
            *([("sees what comes after (`audit`)", lambda r: "no" if r["audit"]["verdict"] == "clean" else "**YES**")] if "audit" in lin else []),
            ("training, tokens/s", lambda r: f"{r['train_tokens_per_second']:,.0f}"),
            ("training, peak memory", lambda r: megabytes(r["train_peak_memory_bytes"])),
            ("generation, tokens/s", lambda r: f"{r['generate_tokens_per_second']:,.0f}"),
            ("generation, peak memory", lambda r: megabytes(r["generate_peak_memory_bytes"])),
            ("parameters", lambda r: f"{r['parameters']:,}"),
        ], short), "",
        f"After equal steps the Linformer's validation loss is {compared(lin['validation_loss'], soft['validation_loss'])} the "
        f"Transformer's. At this length it trains {speed(lin['train_tokens_per_second'], soft['train_tokens_per_second'])} the "
        f"Transformer and generates {speed(lin['generate_tokens_per_second'], soft['generate_tokens_per_second'])} it.",
    ]
    if long := document.get("long"):
        lin, soft = long["linformer"], long["softmax"]
        text += ["", table(f"{lin['length']} tokens of context, cost only", [
            ("training, tokens/s", lambda r: f"{r['train_tokens_per_second']:,.0f}"),
            ("training, peak memory", lambda r: megabytes(r["train_peak_memory_bytes"])),
            ("reading a prompt, tokens/s", lambda r: f"{r['prompt_tokens'] / r['prompt_seconds']:,.0f}"),
            ("generation after it, tokens/s", lambda r: f"{r['generate_tokens_per_second']:,.0f}"),
            ("state kept while generating", lambda r: megabytes(r["state_bytes"])),
        ], long), "",
            f"At {lin['length']} tokens the Linformer trains {speed(lin['train_tokens_per_second'], soft['train_tokens_per_second'])} the "
            f"Transformer, with a peak memory {compared(lin['train_peak_memory_bytes'], soft['train_peak_memory_bytes'])} its, and generates "
            f"{speed(lin['generate_tokens_per_second'], soft['generate_tokens_per_second'])} it."]
    return "\n".join(text) + "\n"


def update_readme(path, text):
    readme = path.read_text(encoding="utf-8")
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        stop(f"{path} must hold {BEGIN} and {END}, once each and in this order: the tables go between them")
    before, after = readme.split(BEGIN)[0], readme.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")
    say(f"demo: {shown(path)} has the new tables")


def machine():
    processor = platform.processor() or platform.machine()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    except OSError:
        pass
    return {"processor": processor, "cores": len(os.sched_getaffinity(0)), "load_at_start": os.getloadavg()[0]}


def shown_flags(flags):
    """What a reader would put into DEMO_FLAGS to repeat this: not what the Makefile adds, nor where the tables go."""
    shown = []
    for before, flag in zip([""] + flags, flags):
        if before != "--program" and not flag.startswith(("--program", "--update-readme")):
            shown.append(flag)
    return shown


def is_busy(about):
    return about["load_at_start"] > 0.5 * about["cores"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/linformer")
    parser.add_argument("--corpus", type=pathlib.Path, default=ROOT / "data/corpora/austen.txt", help="the text to learn")
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "configs/demo.toml")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/demo")
    parser.add_argument("--steps", type=int, help="training steps of each model, instead of the config's")
    parser.add_argument("--long-length", type=int, default=8192, help="context of the second table; 0: leave it out")
    parser.add_argument("--long-steps", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--update-readme", nargs="?", type=pathlib.Path, const=ROOT / "README.md", metavar="FILE",
                        help="put the tables into the README, between its two markers")
    parser.add_argument("--no-run", action="store_true", help="use the figures of the last run again")
    options = parser.parse_args()
    for name in ("program", "corpus", "config", "out"):
        setattr(options, name, getattr(options, name).resolve())
    return options


def run_demo(options):
    started = time.monotonic()
    for path, remedy in ((options.program, "make build"), (options.corpus, "make setup")):
        if not path.is_file():
            stop(f"{shown(path)} is missing: run `{remedy}` first")
    about = machine()
    if is_busy(about):
        say(f"demo: the machine is busy (load {about['load_at_start']:.1f} on {about['cores']} cores): the speeds will be too low")
    options.out.mkdir(parents=True, exist_ok=True)
    program = Program(options.program, options.threads)

    say("=== Preparing the text: GPT-2's tokens, of which it uses a third")
    data = options.out / "data"
    prepared, _ = program.json("prepare", "--input", options.corpus, "--out", data, "--tokenizer", "gpt2", "--vocabulary", "corpus",
                               "--overwrite")
    document = {"date": datetime.date.today().isoformat(), "machine": about, "config": shown(options.config), "seed": options.seed,
                "flags": shown_flags(sys.argv[1:]),
                "results": {kind: measured(program, kind, options, data) for kind in KINDS}}
    document["length"] = json.loads((options.out / "linformer/config.json").read_text())["model"]["length"]
    if options.long_length:
        # A small validation part: the pass over it at the end of training is not what is timed.
        long_data = options.out / "long-data"
        share = 2.5 * options.long_length / (prepared["train_tokens"] + prepared["validation_tokens"])
        program.json("prepare", "--input", options.corpus, "--out", long_data, "--tokenizer", data / "tokenizer.json", "--validation",
                    f"{share:.4f}", "--overwrite")
        document["long"] = {kind: measured_long(program, kind, options, long_data) for kind in KINDS}
    document["seconds"] = round(time.monotonic() - started)
    (options.out / "demo.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def main():
    options = arguments()
    if options.no_run:
        path = options.out / "demo.json"
        if not path.is_file():
            stop(f"{shown(path)} is missing: run `make demo` first")
        document = json.loads(path.read_text(encoding="utf-8"))
    else:
        document = run_demo(options)
    text = report(document)
    (options.out / "demo.md").write_text(text, encoding="utf-8")
    print("\n" + text)
    if options.update_readme:
        update_readme(options.update_readme.resolve(), text)
    say(f"demo: finished after {document['seconds'] // 60} min {document['seconds'] % 60} s; the tables are in "
        f"{shown(options.out / 'demo.md')}, every figure in {shown(options.out / 'demo.json')}, the models in "
        f"{shown(options.out / 'linformer')} and {shown(options.out / 'softmax')}")


if __name__ == "__main__":
    main()
