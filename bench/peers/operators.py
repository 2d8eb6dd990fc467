"""What `make bench` left of the operators alone: Google Benchmark's JSON, as tables. N length."""

import json

from environment import say
from results import Series
from tables import cell, number, table

NOTE = """\
Milliseconds, median (lowest–highest) over the repetitions, whose order is random; {shape}, {threads} threads, {isa}, {date}. *Products*:
the bare matrix products that the form is made of, in the same dtype, with as many columns as a query sees on average, operands that stay in
the caches, no softmax, no copies and no memory of their own; with backward, two more for each. Backward's second making of the scores is
not counted there. *Composed*: the same form from the engine's operations. Softmax and `prefix` have no kernel: the first is the engine's
fused attention. A path is timed once it agrees with the reference.
"""
DIRECTIONS = ("forward", "forward_backward")


def measured(path):
    """(context, {(form, path, dtype, direction, n): Series}); None where `make bench` has not run."""
    try:
        told = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        say(f"{path.name} is not whole ({error}): its section is left out; run `make bench` again")
        return None
    times = {}
    for entry in told["benchmarks"]:
        if entry.get("run_type") == "iteration" and "error_message" not in entry:
            form, way, dtype, direction, n = entry["run_name"].split("/")[:5]  # the rest says how time was taken
            times.setdefault((form, way, dtype, direction, int(n)), []).append(entry["real_time"])
    return told["context"], {key: Series(values) for key, values in times.items()}


def rows_of(times, dtype):
    for form, n in sorted({(form, n) for form, _, of, _, n in times if of == dtype}):
        row = [form, str(n)]
        for direction in DIRECTIONS:
            products, kernel, composed = (times.get((form, way, dtype, direction, n)) for way in ("products", "kernel", "composed"))
            row += [cell(products), cell(kernel), cell(composed)]
            for slow, fast in ((composed, kernel), (kernel or composed, products)):
                row.append(number(slow.median / fast.median) if slow and fast else "–")
        yield row


def section(path):
    """The forms by length, a table a dtype; empty where there is nothing."""
    found = measured(path)
    if found is None or not found[1]:
        return ""
    context, times = found
    note = NOTE.format(**{key: context.get(key, "?") for key in ("shape", "threads", "isa")}, date=context["date"][:10])
    columns = ["products", "kernel", "composed", "composed / kernel", "ours / products"]
    head = ["form", "N", *columns, *(f"{column}, with backward" for column in columns)]
    text = f"## Operators\n{note}\n"
    for dtype in sorted({key[2] for key in times}, reverse=True):
        text += f"### {dtype}\n{table(head, rows_of(times, dtype))}\n"
    return text
