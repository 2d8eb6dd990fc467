"""docs/performance.md: what was measured, against the targets."""

import operators
import reasons
from tables import cell, table
from targets import Measured, all_targets

FAMILIES = [  # title, metric, unit, prefix of the cases, what the columns are called
    ("Training, shape S", "tokens_per_second", "tokens/s", "train-S-", "n {}"),
    ("Training, reference setting", "tokens_per_second", "tokens/s", "train-reference", "n 512"),
    ("Training, long sequences (activations checkpointed)", "tokens_per_second", "tokens/s", "train-long-", "N {}"),
    ("Generation, d 384, batch 1", "tokens_per_second", "tokens/s", "generate-d384-b1-", "after {}"),
    ("Generation, d 512, batch 1", "tokens_per_second", "tokens/s", "generate-d512-b1-", "after {}"),
    ("Generation, d 384, batch 16", "tokens_per_second", "tokens/s", "generate-d384-b16-", "after {}"),
    ("Generation, d 512, batch 16", "tokens_per_second", "tokens/s", "generate-d512-b16-", "after {}"),
    ("Prompt reading, d 384", "prompt_tokens_per_second", "tokens/s", "generate-d384-b1-", "{} tokens"),
    ("Prompt reading, d 512", "prompt_tokens_per_second", "tokens/s", "generate-d512-b1-", "{} tokens"),
    ("Generation at any length", "tokens_per_second", "tokens/s", "generate-endless-", "after {}"),
    ("Generation, N 4096, against reading the window again", "tokens_per_second", "tokens/s", "generate-again", "after 4000"),
    ("Tokenizing, GPT-2's vocabulary", "mb_per_second", "MB/s", "tokenize-", "threads: {}"),
]

NOTES = """\
- **Protocol.** Rounds of the entrants take turns, each entrant in a process of its own, with the same threads; large buffers are
  kept by glibc's allocator (ours by the program's own setting, which gives those above 256 MiB back). A first round of each is not counted. Cells: median (lowest–highest) over the rounds.
  Where bfloat16 has at least twice the products of float32, float32 gets two rounds from n 8192 on; at n 32768 bidirectional entrants are left out.
- **Same work.** Parameters without the tables of the length (positions, projections) agree within 2 %, tokens a step too; checked before
  an entrant's first round. A step is forward, mean cross-entropy, backward and AdamW; ours also measures and clips the gradient norm.
- **Shape S**: d 384, 4 layers, 6 heads, K 64, vocabulary 256. **Reference**: d 384, 6 layers, K 64, vocabulary 50257.
- **Generation**: GPT-2 of random weights, 6 layers, vocabulary 50257, 4096 positions, tied output, greedy; ours: window 64 and 64 running
  slots, sampling included. A batch is one prompt several times; all but CTranslate2 read it once. `float cache`: flash attention off,
  cache in float32. The weight-stream bound takes the fastest reading of the output layer's float32 weights in the case, by the engine's
  matrix–vector product or by our decode step's. Prompt reading counts until the first token; with 8-bit weights ours reads
  prompts in the faster of float32 and bfloat16, as `generate` does.
"""


def family(measured, title, metric, unit, prefix, column):
    cases = [case for case in measured.runs if case.startswith(prefix)]
    cases.sort(key=lambda case: (len(case), case))
    columns = {case: measured.series(case, metric) for case in cases}
    entrants = list(dict.fromkeys(entrant for numbers in columns.values() for entrant in numbers))
    if not entrants:
        return ""
    head = [unit] + [column.format(case.removeprefix(prefix)) for case in cases]
    rows = [[entrant] + [cell(columns[case].get(entrant)) for case in cases] for entrant in entrants]
    return f"### {title}\n{table(head, rows)}\n"


def memory(measured):
    cases = [case for case in measured.runs if case.startswith("train-")]
    peaks = {}
    for case in cases:
        for event in measured.results.find("round", measured.runs[case], case):
            if "tokens_per_second" in event["metrics"]:
                of_case = peaks.setdefault(event["entrant"], {})
                of_case[case] = max(of_case.get(case, 0), event["peak_bytes"])
    if not peaks:
        return ""
    rows = [[entrant] + [f"{of_case[case] / 2**30:.2f}" if case in of_case else "–" for case in cases] for entrant, of_case in peaks.items()]
    return "### Peak memory of training processes\n" + table(["GiB"] + [case.removeprefix("train-") for case in cases], rows) + "\n"


def kind_of(start):
    """A: products are faster in bfloat16; B: in float32."""
    rates = start["rates"]
    return "A" if rates.get("bfloat16_gflops", 0) > rates["float32_gflops"] and not rates.get("bfloat16_hopeless") else "B"


def describe_kind(start, kind):
    rates = start["rates"]
    how = "faster" if kind == "A" else "slower"
    if rates.get("bfloat16_hopeless"):
        how = f"hopeless ({rates['bfloat16_gflops']:.1f} GFLOP/s), so that it was left out"
    features = ", ".join(start["machine"]["features"]) or "none of AVX2 and AVX-512"
    exact = {"A": "AMD" in start["machine"]["processor"] and "avx512f" in start["machine"]["features"],
             "B": "Intel" in start["machine"]["processor"] and "avx512f" in start["machine"]["features"]}[kind]
    other = "" if exact else f" It is neither of the two kinds that the targets were written for; column {kind} is the one that fits its dtypes."
    return (f"Processor: {start['machine']['processor']} ({features}), {start['identity']['threads']} threads. Products of 2048×2048: float32 "
            f"{rates['float32_gflops']:.0f} GFLOP/s, a matrix–vector product reads {rates['float32_read_gbps']:.1f} GB/s; bfloat16 is {how}. "
            f"Kind of machine: {kind}.{other}")


def targets_table(targets, kind):
    rows = []
    for target in targets:
        verdict = "not measured" if target.value is None else "**missed**" if target.missed(kind) else "met"
        rows.append([target.what, target.wanted("A"), target.wanted("B"), target.shown(), verdict, target.detail])
    return table(["ratio", "on A", "on B", "measured", f"on {kind}", "what was compared"], rows)


def explained(missed, kind):
    """One entry a reason, with all that it explains; last what has none."""
    by_reason = {}
    for target in missed:
        by_reason.setdefault(reasons.reason_of(target.what), []).append(f"{target.what} ({target.shown()}, wanted {target.wanted(kind)})")
    unexplained = by_reason.pop(None, [])
    lines = [f"- {'; '.join(names)}.\n  {reason}" for reason, names in by_reason.items()]
    lines += [f"- **Not explained yet**: {name}." for name in unexplained]
    return "## Missed, and why\n" + "\n".join(lines) + "\n" if lines else ""


def absent(measured):
    lines = []
    for case, run in measured.runs.items():
        for event in measured.results.find("failed", run, case):
            lines.append(f"- {case}: {event['entrant']}: {event['reason']}")
    return "### Absent\n" + "\n".join(lines) + "\n" if lines else ""


def paths(measured):
    """Which of our implementations made the tokens."""
    found = {event["metrics"]["path"] for case, run in measured.runs.items() for event in measured.results.find("round", run, case)
             if "path" in event["metrics"]}
    return "Ours generated by: " + "; ".join(sorted(found)) + ".\n" if found else ""


def runs_table(measured):
    rows = []
    for run, start in measured.starts.items():
        cases = [case for case, of in measured.runs.items() if of == run]
        load = f"{start['load']:.1f}"
        rows.append([run, start["identity"]["code"], "quick" if start["identity"]["quick"] else "full", load, ", ".join(cases)])
    return table(["run", "code", "size", "load at its start", "cases"], rows)


def page_of(results):
    measured = Measured(results)
    if not measured.runs:
        return None
    last = list(measured.starts.values())[-1]
    kind = kind_of(last)
    targets = list(all_targets(measured))
    missed = [target for target in targets if target.missed(kind)]
    parts = ["# Performance\n",
             "Written by `make peers` (`bench/peers/`) from `build/peers/results.jsonl`, operators from what `make bench` left; do not edit.\n",
             describe_kind(last, kind) + "\n", "## Targets", f"Missed: {len(missed)}. Each entrant at its best dtype unless one is named.\n",
             targets_table(targets, kind), explained(missed, kind), "## How it was measured", NOTES, "## Results"]
    parts += [family(measured, *entry) for entry in FAMILIES]
    parts += [paths(measured), memory(measured), absent(measured), "### Runs", runs_table(measured)]
    parts += [operators.section(results.path.with_name("operators.json"))]
    return "\n".join(part for part in parts if part)


def write(results, path):
    page = page_of(results)
    if page is not None:
        path.write_text(page)
