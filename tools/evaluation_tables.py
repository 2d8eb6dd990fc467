"""Tables of docs/RESULTS.md from evaluations: loss by position, and keys found by depth. Rows are those of `tools/results.py --collect`."""

from table_cells import range_of, spread, table


def by_name(rows):
    """Rows of evaluations by the name of their point, which also says at what length it was trained and read where the point has several."""
    def of(key):
        return {point: {row.get(key) for row in rows if row["point"] == point} for point in {row["point"] for row in rows}}
    several = {key: of(key) for key in ("trained_length", "length")}
    groups = {}
    for row in rows:
        more = [f"{word} {row[key]:,}" for key, word in (("trained_length", "trained at"), ("length", "N")) if len(several[key][row["point"]]) > 1]
        groups.setdefault(", ".join([row["point"], *more]), []).append(row)
    return groups


def octave_losses(rows):
    """{(from, to): losses of the seeds} of rows of one point."""
    losses = {}
    for row in rows:
        for octave in row["loss_by_position"]:
            losses.setdefault((octave["from"], octave["to"]), []).append(octave["loss"])
    return dict(sorted(losses.items()))


def by_octave(of_points, cell):
    """A row a point of {name: ({(from, to): values}, trained length)}; ‖ stands before the first octave that goes past the trained length."""
    spans = sorted({span for found, _ in of_points.values() for span in found})
    lines = []
    for name, (found, trained) in of_points.items():
        border = next((span for span in spans if span[1] >= trained), None)
        lines.append([name, *(("‖ " if span == border else "") + cell(range_of(found.get(span))) for span in spans)])
    ends = sorted({trained for _, trained in of_points.values()})
    return table(["point", *(f"{low:,}–{high:,}" for low, high in spans)], lines) + f"\n‖ here the trained length ends: {', '.join(f'{length:,}' for length in ends)} tokens."


def positions(rows):
    """Loss by octaves of position, as means over seeds."""
    def windows(row):
        first = row["loss_by_position"][0]
        whole, rest = divmod(row.get("tokens", 0), row["length"])
        count = whole or round(first["tokens"] / (first["to"] + 1))
        return f"{count:,} window{'s' if count > 1 else ''} of {row['length']:,} tokens" + (f" and {rest:,} of another" if whole and rest else "")
    read = [text for _, text in sorted({(row["length"], windows(row)) for row in rows})]
    return by_octave({name: (octave_losses(those), those[0]["trained_length"]) for name, those in by_name(rows).items()}, spread) + \
        f" Read: {'; '.join(read)}.\n"


WINDOW = "window-alone"  # what more context is measured against


def window_of(point, points):
    """The window alone that was trained as `point` was: of "more-gated" it is "more-window"."""
    own = point.split("-")[0] + "-window"
    return own if own in points else WINDOW


def differences_of(rows):
    """{name: ({(from, to): loss minus that of the window alone, by seed}, trained length)}. Both read the same windows, so that what
    differs from octave to octave is not which text stands there. A point whose seed has no window alone with the same lengths has none."""
    points = {row["point"] for row in rows}

    def read(row, point=None):
        return point or row["point"], row["seed"], row["length"], row["trained_length"]

    def octaves(row):
        return {(octave["from"], octave["to"], octave["tokens"]): octave["loss"] for octave in row["loss_by_position"]}
    losses = {read(row): octaves(row) for row in rows}
    found = {}
    for name, those in by_name([row for row in rows if row["point"] != window_of(row["point"], points)]).items():
        differences = {}
        for row in those:
            base = losses.get(read(row, window_of(row["point"], points)), {})
            for octave, loss in octaves(row).items():
                if octave in base:
                    differences.setdefault(octave[:2], []).append(loss - base[octave])
        found[name] = (differences, those[0]["trained_length"])
    return found


def signed(figure):
    if figure is None:
        return "–"
    middle, low, high = (f"{figure[key]:+.3f}".replace("-", "−") for key in ("mean", "low", "high"))
    return middle if low == high else f"{middle} ({low} to {high})"


def differences(rows):
    """Loss by octaves of position minus that of the window alone, as means over seeds: below 0, more context helps."""
    found = differences_of(rows)
    without = [name for name, (differences, _) in found.items() if not differences]
    return by_octave({name: those for name, those in found.items() if those[0]}, signed) + (f" No {WINDOW} to compare with: {', '.join(without)}." if without else "") + "\n"


def depths(rows):
    """Keys of a passkey test that were found, by the depth at which they were hidden, all seeds together."""
    rows = [{"point": row["point"], "length": 0} | seed for row in rows for seed in row.get("seeds", [row])]  # rows of evaluations, or of an ablation
    cells = {}
    for name, those in by_name(rows).items():
        for row in those:
            for part in row["accuracy_by_depth"]:
                column = (row["depth"],) if row.get("depth") is not None else (part["from"], part["to"])
                sums = cells.setdefault(name, {}).setdefault(column, [0, 0, 0])
                for i, count in enumerate((1, part["found"], part["accuracy"])):
                    sums[i] += part["keys"] * count
    columns = sorted({column for found in cells.values() for column in found})

    def cell(sums):
        return "–" if sums is None else "{:.0f} ({:.0f})".format(*(100 * count / sums[0] for count in sums[1:]))
    keys = [sums[0] for found in cells.values() for sums in found.values()]
    counts = f"{min(keys):,}" if min(keys) == max(keys) else f"{min(keys):,} to {max(keys):,}"
    head = ["point", *("–".join(f"{100 * edge:g}" for edge in column) + " %" for column in columns)]
    return table(head, [[name, *(cell(found.get(column)) for column in columns)] for name, found in cells.items()]) + \
        f"\nKeys found, %; in brackets, tokens of keys that were the likeliest, %. {counts} keys a cell.\n"
