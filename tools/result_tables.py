"""The tables of docs/RESULTS.md: each function makes one kind of them from rows that `linformer` left (docs/formats.md)."""

import math

from evaluation_tables import depths, differences, positions
from table_cells import mean, spread, table, three_digits


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


def notes(rows):
    return "".join(f"\n{mark} {what}.\n" for key, (mark, what) in INEQUALITIES.items() if any(row.get(key) for row in rows))


def equal_time(row):
    return spread((row.get("equal_time") or {}).get("validation_loss"))


def ablation(rows):
    columns = {
        "point": point,
        "parameters": parameters,
        "seeds": lambda row: len(row["seeds"]),
        "validation loss": lambda row: spread(row["validation_loss"]),
        "bits per byte": lambda row: spread(row.get("bits_per_byte")),
        "perplexity": lambda row: f"{math.exp(row['validation_loss']['mean']):.2f}",
        "at equal time": equal_time,
        "tokens/s": lambda row: f"{mean(of_seeds(row, 'tokens_per_second')):,.0f}",
        "state, bytes": lambda row: f"{of_seeds(row, 'state_bytes')[0]:,}",
    }
    if any(row.get("bits_per_byte") for row in rows):
        del columns["perplexity"]
    else:  # masked models: they predict some of the bytes from all others, so that their loss is no rate of compression; and nothing is decoded
        del columns["bits per byte"], columns["state, bytes"]
    lines = [[of(row) for of in columns.values()] for row in rows]
    return table(list(columns), lines) + notes(rows)


def corpora(rows_of_name):
    """Grids that were run on several texts, side by side: {"GRID-TEXT": rows, …}."""
    grids = list(dict.fromkeys(name.rpartition("-")[0] for name in rows_of_name))
    texts = list(dict.fromkeys(name.rpartition("-")[2] for name in rows_of_name))
    rows = {(*name.rpartition("-")[::2], row["point"]): row for name, those in rows_of_name.items() for row in those}
    points = list(dict.fromkeys((grid, point) for one in grids for grid, _, point in rows if grid == one))
    same_seeds = len({len(row["seeds"]) for row in rows.values()}) == 1
    decoded = any(of_seeds(row, "state_bytes") for row in rows.values())
    timed = not any(row.get("tokens_differ") for row in rows.values())  # else the shortest training would be the time of all

    def losses(row):
        return [spread(row["validation_loss"]) if row else "–", *([equal_time(row) if row else "–"] if timed else [])]

    def line(grid, name):
        found = [rows.get((grid, text, name)) for text in texts]
        there = [row for row in found if row]
        states = [of_seeds(row, "state_bytes") for row in there][0]
        return [*([grid] if len(grids) > 1 else []), point(there[0]), parameters(there[0]),
                *([] if same_seeds else ["/".join(str(len(row["seeds"])) if row else "–" for row in found)]),
                *(cell for row in found for cell in losses(row)),
                f"{mean([speed for row in there for speed in of_seeds(row, 'tokens_per_second')]):,.0f}",
                *([f"{states[0]:,}" if states else "–"] if decoded else [])]
    head = [*(["grid"] if len(grids) > 1 else []), "point", "parameters", *([] if same_seeds else ["seeds"]),
            *(title for text in texts for title in (f"{text.capitalize()}: loss", *(["at equal time"] if timed else []))), "tokens/s", *(["state, bytes"] if decoded else [])]
    return table(head, [line(*one) for one in points]) + notes(rows.values())


def recall(rows):
    """Share of queries that were answered: of all, and by how far back the pair stood, all seeds together."""
    longest = max(part["last"] for row in rows for seed in row["seeds"] for part in seed["accuracy_by_distance"])
    edges = [0, *(8 << i for i in range(16) if 8 << i <= longest), longest + 1]
    same_steps = len({seed.get("steps") for row in rows for seed in row["seeds"]}) == 1
    lines = []
    for row in rows:
        cells = []
        for low, high in zip(edges, edges[1:]):
            parts = [part for seed in row["seeds"] for part in seed["accuracy_by_distance"] if low <= part["first"] < high]
            queries = sum(part["queries"] for part in parts)
            cells.append(f"{100 * sum(part['queries'] * part['accuracy'] for part in parts) / queries:.0f}" if queries else "–")
        steps = [] if same_steps else [f"{of_seeds(row, 'steps')[0]:,}"]
        lines.append([row["point"], len(row["seeds"]), *steps, spread(row["accuracy"], 1, 100), *cells, f"{of_seeds(row, 'state_bytes')[0]:,}"])
    head = ["point", "seeds", *([] if same_steps else ["steps"]), "answered, %", *(f"{low} to {high - 1} back" for low, high in zip(edges, edges[1:])), "state, bytes"]
    return table(head, lines)


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


def saving(rows):
    """Table 3 of the paper: time and memory saved against fused attention and against softmax(QKᵀ)V."""
    savings = [row for row in rows if row["type"] == "saving"]
    slots = sorted({row["slots"] for row in savings})
    text = ""
    for against, name in (("softmax", "fused attention"), ("softmax-plain", "all N×N weights written out")):
        found = {(row["length"], row["slots"]): row for row in savings if row["against"] == against}

        def cell(row):
            saved = [row and row.get(key) for key in ("time_saved", "memory_saved")]
            return " · ".join(f"{ratio:.2g}" if ratio else "–" for ratio in saved) if any(saved) else "–"
        lines = [[length, *(cell(found.get((length, k))) for k in slots)] for length in sorted({length for length, _ in found})]
        text += f"Time · memory saved against {name}:\n\n" + table(["N", *(f"K {k}" for k in slots)], [line for line in lines if set(line[1:]) != {"–"}]) + "\n"
    return text


def crossover(rows):
    """The lengths from which on a form is faster than its Transformer · faster with ranges apart · smaller, a column for each task."""
    found = {(row["form"], row["task"]): row for row in rows if row["type"] == "crossover"}
    tasks, forms = (list(dict.fromkeys(key[i] for key in found)) for i in (1, 0))

    def cell(row):
        lengths = (row.get(key) or f"> {row['longest_tried']}" for key in ("time_length", "time_length_clear", "memory_length")) if row else "–"
        return " · ".join(map(str, lengths))
    return table(["form", *tasks], [[form, *(cell(found.get((form, task))) for task in tasks)] for form in forms])


def scaling(rows):
    """Seconds against N, a column for each K; Figure 2 of the paper at a constant number of tokens."""
    points = [row for row in rows if row["type"] == "point"]
    columns = sorted({row.get("slots") or 0 for row in points})
    found = {(row["length"], row["batch"], row.get("decode"), row.get("slots") or 0): row for row in points}
    forms = {}
    for row in points:
        if row.get("slots"):
            forms[row["length"], row["batch"], row.get("decode")] = row["form"]
    several, decoded = len(set(forms.values())) > 1, any("decode" in row for row in points)

    def cell(point):
        if point is None:
            return "–"
        return seconds_of(point) if point["status"] == "ok" else point["status"]
    lines = [[length, batch, *([decode] if decoded else []), *([forms.get((length, batch, decode), "–")] if several else []),
              *(cell(found.get((length, batch, decode, slots))) for slots in columns)]
             for length, batch, decode in dict.fromkeys((row["length"], row["batch"], row.get("decode")) for row in points)]
    return table(["N", "batch", *(["decoding"] if decoded else []), *(["form"] if several else []), *(f"K {slots}, s" if slots else "softmax, s" for slots in columns)], lines)


def form_of(row):
    """The form of a benchmark's row with its other fields: words by their value, numbers by name and value."""
    fields = [field.rpartition("=") for field in row.get("fields", "").split("+") if field]
    return ", ".join([row["form"], *(value if value[:1].isalpha() else f"{name.rpartition('.')[2]} {value}" for name, _, value in fields)])


def largest(rows):
    """What trains within a budget of memory: the longest and the widest model of each form."""
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
    points = {(row["task"], row["length"], form_of(row)): row for row in rows if row["type"] == "point"}
    figures = [(task, task, lambda point: point["resident_peak_bytes"]) for task in dict.fromkeys(task for task, _, _ in points)]
    if any(task == "generate" for task, _, _ in points):
        figures.append(("kept", "generate", lambda point: point["allocator_base_bytes"] + point.get("state_bytes", 0)))
    columns = [(name, task, form, bytes_of) for name, task, bytes_of in figures for form in dict.fromkeys(form for of, _, form in points if of == task)]

    def cell(point, bytes_of):
        if point is None:
            return "–"
        return f"{bytes_of(point) / 2**20:,.0f}" if point["status"] == "ok" else "does not fit" if point["status"] == "memory" else point["status"]
    lines = [[length, *(cell(points.get((task, length, form)), bytes_of) for _, task, form, bytes_of in columns)] for length in sorted({length for _, length, _ in points})]
    return table(["N", *(f"{name}, MiB: {form}" for name, _, form, _ in columns)], lines)


TABLES = {make.__name__: make for make in (ablation, corpora, recall, biases, positions, differences, depths, spectrum, saving, crossover, scaling, largest, memory)}
