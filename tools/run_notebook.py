#!/usr/bin/env python3
"""Runs a notebook of Python cells, and writes what it shows into the file, as Jupyter would; it needs only Python.

    PYTHONPATH=build/release/python .venv/bin/python tools/run_notebook.py examples/linformer.ipynb
"""

import ast
import contextlib
import io
import json
import os
import pathlib
import sys


def run_cell(source, names, place):
    """What a code cell shows: the printed text, and its last line, if that is an expression that has a value."""
    printed = io.StringIO()
    lines = ast.parse(source, place)
    last = lines.body.pop() if lines.body and isinstance(lines.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(lines, place, "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), place, "eval"), names)
    outputs = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": [repr(value)]}
        if hasattr(value, "_repr_svg_"):
            data = {"image/svg+xml": value._repr_svg_().splitlines(keepends=True), "text/plain": [f"<{type(value).__name__}>"]}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    return outputs


def run_notebook(notebook):
    """Fills in outputs and numbers of the code cells, in order."""
    names = {"__name__": "__main__"}
    for number, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1):
        cell["outputs"] = run_cell("".join(cell["source"]), names, f"cell {number}")
        cell["execution_count"] = number


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = pathlib.Path(sys.argv[1]).resolve()
    notebook = json.loads(path.read_text(encoding="utf-8"))
    os.chdir(path.parent)
    run_notebook(notebook)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
