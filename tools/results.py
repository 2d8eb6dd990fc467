#!/usr/bin/env python3
"""Writes the tables of docs/RESULTS.md from the JSON lines in docs/results, so that each figure there has its row.

A table stands between `<!-- KIND NAME -->` and `<!-- end -->`; NAME.jsonl is what `linformer ablate` (table.jsonl) or `linformer benchmark`
(benchmark.jsonl) left. --check changes nothing and ends with 1 if the page and the rows differ; --pictures draws the pictures of the README
from the same rows.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def mean(values):
    return sum(values) / len(values)


def spread(figure, digits=3, factor=1):
    if figure is None:
        return "–"
    middle, low, high = (f"{figure[key] * factor:.{digits}f}" for key in ("mean", "low", "high"))
    return middle if low == high else f"{middle} ({low}–{high})"


def three_digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def of_seeds(row, key):
    return [seed[key] for seed in row["seeds"] if seed.get(key) is not None]


def parameters(row):
    return f"{row['parameters']:,}" + (" *" if row.get("parameters_differ") else "")


INEQUALITIES = {  # of a point and the base, by the key that says so
    "parameters_differ": ("\\*", "more than 10 % more or fewer parameters than the base"),
    "tokens_differ": ("†", "another number of tokens than the base"),
    "vocabulary_differs": ("‡", "another vocabulary than the base: compare bits per byte"),
}


def point(row):
    return " ".join([row["point"], *(INEQUALITIES[key][0] for key in ("tokens_differ", "vocabulary_differs") if row.get(key))])


def ablation(rows):
    columns = {
        "point": point,
        "parameters": parameters,
        "seeds": lambda row: len(row["seeds"]),
        "validation loss": lambda row: spread(row["validation_loss"]),
        "bits per byte": lambda row: spread(row.get("bits_per_byte")),
        "perplexity": lambda row: f"{math.exp(row['validation_loss']['mean']):.2f}",
        "at equal time": lambda row: spread((row.get("equal_time") or {}).get("validation_loss")),
        "tokens/s": lambda row: f"{mean(of_seeds(row, 'tokens_per_second')):,.0f}",
        "state, bytes": lambda row: f"{of_seeds(row, 'state_bytes')[0]:,}",
    }
    if any(row.get("bits_per_byte") for row in rows):
        del columns["perplexity"]
    else:  # masked models: they predict some of the bytes from all others, so that their loss is no rate of compression; and nothing is decoded
        del columns["bits per byte"], columns["state, bytes"]
    lines = [[of(row) for of in columns.values()] for row in rows]
    notes = [f"\n{mark} {what}.\n" for key, (mark, what) in INEQUALITIES.items() if any(row.get(key) for row in rows)]
    return table(list(columns), lines) + "".join(notes)


def recall(rows):
    lines = [[row["point"], len(row["seeds"]), spread(row["accuracy"], 1, 100), f"{of_seeds(row, 'state_bytes')[0]:,}"] for row in rows]
    return table(["point", "seeds", "queries answered, %", "state, bytes"], lines)


def distance(rows):
    """Accuracy against the distance of the pair, in four ranges."""
    longest = max(part["last"] for row in rows for seed in row["seeds"] for part in seed["accuracy_by_distance"])
    edges = [0, 8, 16, 32, longest + 1]
    lines = []
    for row in rows:
        cells = []
        for low, high in zip(edges, edges[1:]):
            parts = [part for seed in row["seeds"] for part in seed["accuracy_by_distance"] if low <= part["first"] < high]
            queries = sum(part["queries"] for part in parts)
            cells.append(f"{100 * sum(part['queries'] * part['accuracy'] for part in parts) / queries:.0f}" if queries else "–")
        lines.append([row["point"], *cells])
    return table(["point", *(f"{low} to {high - 1} back, %" for low, high in zip(edges, edges[1:]))], lines)


def biases(rows):
    lines = []
    for row in rows:
        layers = of_seeds(row, "slot_bias")
        if layers and layers[0]:
            by_layer = zip(*[[mean(heads) if heads else None for heads in seed] for seed in layers])
            lines.append([row["point"], *(f"{mean(values):.2f}" if None not in values else "–" for values in by_layer)])
    return table(["point", *(f"layer {layer}" for layer in range(len(lines[0]) - 1))], lines)


def spectrum(rows):
    """The paper's Figure 1 in one figure a layer: the share of all singular values that the largest K of N hold, mean over heads."""
    spectra = [row for row in rows if row["type"] == "spectrum"]
    layers = max(row["layers"] for row in spectra)
    lines = [[row["model"], "causal" if row["causal"] else "both ways", f"{row['slots']} of {row['length']}",
              *(f"{mean(heads):.3f}" for heads in row["at_slots"]), *["–"] * (layers - row["layers"])] for row in spectra]
    return table(["model", "sees", "K of N", *(f"layer {layer}" for layer in range(layers))], lines)


def seconds_of(point):
    return "{} ({}–{})".format(*(three_digits(point[key]) for key in ("seconds", "low", "high")))


def timing(rows):
    """Seconds of each point, against the Transformer's of the same length, batch and decoding."""
    points = [row for row in rows if row["type"] == "point"]
    lines = []
    for point in points:
        base = next((other for other in points if other["form"] == "softmax" and other["status"] == "ok" and
                     all(other.get(key) == point.get(key) for key in ("length", "batch", "decode"))), None)
        name = [point["length"], point["batch"], point["form"], point.get("slots") or "–", point.get("decode", "–")]
        if point["status"] != "ok":
            lines.append([*name, point["status"], "–", "–"])
            continue
        ratio = f"{base['seconds'] / point['seconds']:.2f}" if base else "–"
        lines.append([*name, seconds_of(point), ratio, f"{point['resident_peak_bytes'] / 2**20:,.0f}"])
    return table(["N", "batch", "form", "K", "decoding", "seconds", "times faster than softmax", "peak MiB"], lines)


def saving(rows):
    """Table 3 of the paper: time and memory saved against fused attention and against softmax(QKᵀ)V."""
    savings = [row for row in rows if row["type"] == "saving"]
    slots = sorted({row["slots"] for row in savings})
    text = ""
    for key, title in (("time_saved", "Time"), ("memory_saved", "Memory")):
        for against, name in (("softmax", "fused attention"), ("softmax-plain", "all N×N weights written out")):
            found = {(row["length"], row["slots"]): row.get(key) for row in savings if row["against"] == against}
            if not any(found.values()):
                continue
            lines = [[length, *(f"{found[length, k]:.2g}" if found.get((length, k)) else "–" for k in slots)]
                     for length in sorted({length for length, _ in found})]
            text += f"{title} saved against {name}:\n\n" + table(["N", *(f"K {k}" for k in slots)], lines) + "\n"
    return text


def crossover(rows):
    lines = [[row["task"], row["form"], *(row.get(key) or f"not up to {row['longest_tried']}" for key in ("time_length", "time_length_clear", "memory_length"))]
             for row in rows if row["type"] == "crossover"]
    return table(["task", "form", "faster from N", "ranges apart from N", "smaller from N"], lines)


def scaling(rows):
    """Figure 2 of the paper: seconds of a forward pass against N at a constant number of tokens."""
    points = [row for row in rows if row["type"] == "point"]
    columns = list(dict.fromkeys(row["slots"] for row in points))
    found = {(row["length"], row["slots"]): row for row in points}

    def cell(point):
        if point is None:
            return "–"
        return seconds_of(point) if point["status"] == "ok" else point["status"]
    lines = [[length, batch, *(cell(found.get((length, slots))) for slots in columns)]
             for length, batch in dict.fromkeys((row["length"], row["batch"]) for row in points)]
    return table(["N", "batch", *(f"K {slots}, s" if slots else "softmax, s" for slots in columns)], lines)


def largest(rows):
    """What trains within a budget of memory: the longest and the widest model of each form."""
    def form_of(row):
        return ", ".join((row["form"], *row.get("fields", "").split("+"))).removesuffix(", ")
    found = {(row["budget_bytes"], row["what"], form_of(row)): row for row in rows if row["type"] == "largest"}  # the newest counts
    forms = list(dict.fromkeys(form for _, _, form in found))
    names = {"length": "longest N", "width": "largest d"}

    def cell(budget, what, form):
        row = found.get((budget, what, form))
        return "–" if row is None else f"{'≥ ' if row.get('at_least') else ''}{row['value']:,}"  # more may fit
    lines = [[f"{budget / 2**30:g}", names[what], *(cell(budget, what, form) for form in forms)] for budget, what in dict.fromkeys((b, w) for b, w, _ in found)]
    return table(["within, GiB", "", *forms], lines)


def memory(rows):
    """Most memory of a process against N; of generation also what has to stay: weights and the state of its sequence."""
    points = {(row["task"], row["length"], row["form"]): row for row in rows if row["type"] == "point"}
    forms = list(dict.fromkeys(form for _, _, form in points))

    def of_task(task, bytes_of, title):
        def cell(length, form):
            point = points.get((task, length, form))
            if point is None:
                return "–"
            return f"{bytes_of(point) / 2**20:,.0f}" if point["status"] == "ok" else "does not fit" if point["status"] == "memory" else point["status"]
        lengths = sorted({length for of, length, _ in points if of == task})
        return f"{title}, MiB:\n\n" + table(["N", *forms], [[length, *(cell(length, form) for form in forms)] for length in lengths]) + "\n"

    titles = {"forward": "A forward pass", "train": "A training step", "generate": "Reading a prompt and generating"}
    text = "".join(of_task(task, lambda point: point["resident_peak_bytes"], titles[task]) for task in dict.fromkeys(task for task, _, _ in points))
    if any(task == "generate" for task, _, _ in points):
        text += of_task("generate", lambda point: point["allocator_base_bytes"] + point.get("state_bytes", 0), "Weights and state of a generation")
    return text


TABLES = {make.__name__: make for make in (ablation, recall, distance, biases, spectrum, timing, saving, crossover, scaling, largest, memory)}
MARKED = re.compile(rf"(<!-- ({'|'.join(TABLES)}) ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rows_of(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def written(page, folder):
    def fill(match):
        opening, kind, name, end = match.groups()
        return opening + TABLES[kind](rows_of(folder, name)) + end
    return MARKED.sub(fill, page)


PICTURES = {"ablation-kind-and-form": "kind_and_form-shakespeare", "ablation-recall-accuracy": "recall", "time-forward-paper-table3": "paper-table3"}


def draw(program, rows, pictures):
    """What `linformer report --pictures` makes of these rows."""
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        for name in PICTURES.values():
            folder, lines = place / name, rows_of(rows, name)
            folder.mkdir()
            if lines[0]["type"] == "ablation-row":
                (folder / "ablation.json").write_text(json.dumps({"type": "ablation", "name": name.removesuffix("-shakespeare"), "base": lines[0]["point"]}))
            shutil.copy(rows / f"{name}.jsonl", folder / ("table.jsonl" if lines[0]["type"] == "ablation-row" else "benchmark.jsonl"))
        command = [program, "report", *(place / name for name in PICTURES.values()), "--out", place / "report.html", "--pictures", place / "pictures"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for picture in PICTURES:
            shutil.copy(place / "pictures" / f"{picture}.svg", pictures)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/RESULTS.md")
    parser.add_argument("--rows", type=pathlib.Path, default=ROOT / "docs/results")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if the page and the rows differ")
    parser.add_argument("--pictures", type=pathlib.Path, metavar="PROGRAM", help="draw the README's pictures with this linformer program, into the folder pictures beside the page")
    options = parser.parse_args()
    try:
        if options.pictures:
            draw(options.pictures, options.rows, options.page.parent / "pictures")
        page = options.page.read_text()
        new = written(page, options.rows)
    except OSError as error:
        print(f"results: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError:  # the program said why
        return 2
    if options.check:
        if new != page:
            print("results: the tables of the page are not those of the rows; run tools/results.py", file=sys.stderr)
        return int(new != page)
    options.page.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
