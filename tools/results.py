#!/usr/bin/env python3
"""Writes the tables of docs/RESULTS.md from the JSON lines in docs/results, so that each figure there has its row.

A table stands between `<!-- KIND NAME -->` and `<!-- end -->`; tools/result_tables.py and tools/evaluation_tables.py have the kinds, and
NAME.jsonl holds the rows. `corpora` takes several names, GRID-TEXT, and sets texts side by side. Rows come from the folders that the program wrote:

  tools/results.py --collect ablation context-code build/ablations/context-code       its table.jsonl
  tools/results.py --collect positions positions-code build/context-code              evaluate.jsonl: lines of `evaluate --by-position --out`
  tools/results.py --collect depths passkey build/context-code                        evaluate.jsonl: lines of `evaluate --data.source passkey --out`
  tools/results.py --collect memory memory-long build/memory-long                     its benchmark.jsonl

A model that was evaluated as …/POINT/seed-S is a seed of that point. --check changes nothing and ends with 1 if the page and the rows differ;
--pictures draws the pictures of the README from the same rows.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pictures
from evaluation_tables import differences_of
from result_tables import TABLES, form_of
from table_cells import mean

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARKED = re.compile(rf"(<!-- ({'|'.join(TABLES)}) ([\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


class UserError(Exception):
    pass


def rows_of(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def written(page, folder):
    def fill(match):
        opening, kind, names, end = match.groups()
        rows = {name: rows_of(folder, name) for name in names.split()}
        if kind != "corpora" and len(rows) > 1:
            raise UserError(f"<!-- {kind} {names} -->: expected one name; only corpora takes several")
        return opening + TABLES[kind](rows if kind == "corpora" else next(iter(rows.values()))) + end
    return MARKED.sub(fill, page)


def left_by(kind):
    """The file of a folder that holds rows for this kind of table, and what a line of them must have."""
    if kind in ("positions", "differences", "depths"):
        return "evaluate.jsonl", "accuracy_by_depth" if kind == "depths" else "loss_by_position"
    if kind in ("ablation", "corpora", "recall", "biases"):
        return "table.jsonl", "point"
    return ("inspect.jsonl" if kind == "spectrum" else "benchmark.jsonl"), "type"


def without_places(text):
    """Absolute paths say where someone's disk has a file; of them the last name is left."""
    return re.sub(r"(?<![\w.-])/\S*/([^/\s']+)", r"\1", text)


def evaluation_row(line, key):
    """What a table needs of a line of evaluate.jsonl, with its point and seed."""
    parts = pathlib.PurePath(line["model"]).parts
    at = next((i for i in reversed(range(1, len(parts))) if re.fullmatch(r"seed-\d+", parts[i])), None)
    depth = re.search(r"--data\.depth[ =]'?([\d.]+)", line["command"])
    row = {"type": "evaluation", "point": parts[at - 1] if at else parts[-1], "seed": int(parts[at].removeprefix("seed-")) if at else None,
           "data": re.sub(r"\S*/", "", line["data"]), "length": line["length"], "trained_length": line["config"]["model"]["length"]}
    if depth:
        row["depth"] = float(depth[1])
    return row | {name: line[name] for name in ("loss", "bits_per_byte", "accuracy", "found", "tokens", key, "version") if name in line}


def collect(kind, name, folders, rows):
    file, key = left_by(kind)
    found = []
    for folder in folders:
        lines = [json.loads(line) for line in (folder / file).read_text().splitlines()]
        found += [line for line in lines if key in line and (kind == "depths" or "accuracy_by_depth" not in line)]
    if file == "evaluate.jsonl":
        made = (evaluation_row(line, key) for line in found)
        found = list({tuple(str(row.get(part)) for part in ("point", "seed", "data", "trained_length", "length", "depth")): row for row in made}.values())  # the newest counts
        if len(texts := sorted({row["data"] for row in found})) > 1:
            raise UserError(f"{', '.join(map(str, folders))}: holds evaluations of {' and of '.join(texts)}, which are no rows of one table; give each text a folder (--out)")
    if not found:
        raise UserError(f"{file} of {', '.join(map(str, folders))} has no line with {key}, which the kind {kind} needs")
    for row in found:
        row.update({part: without_places(row[part]) for part in ("command", "model", "text") if isinstance(row.get(part), str)})
    (rows / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in found))


def draw_positions(rows, out):
    """Loss minus that of the window alone against position, a line a point, each dot at the end of its octave. What is far above all of the trained length is cut off."""
    found = {name: [(end + 1, mean(values)) for (_, end), values in sorted(of.items())] for name, (of, _) in differences_of(rows).items() if of}
    ends = sorted({row["trained_length"] for row in rows})
    every = [value for points in found.values() for _, value in points] + [0]
    inside = [value for points in found.values() for end, value in points if end <= ends[-1]] + [0]
    pictures.lines(out, found, x="position, tokens", y="loss minus the window alone's, nats a token", zero=True,
                   uprights=[(end, f"trained at {end:,}") for end in ends], top=min(max(every), max(inside) + (max(inside) - min(every))))


def draw_memory(rows, out):
    """Peak memory of a training step against N."""
    named = {}
    for row in rows:
        if row["type"] == "point" and row["task"] == "train" and row["status"] == "ok":
            named.setdefault("Transformer" if row["form"] == "softmax" else "Linformer: " + form_of(row), {})[row["length"]] = row["resident_peak_bytes"] / 2**20
    pictures.lines(out, {name: sorted(points.items()) for name, points in named.items()}, x="N, tokens", y="peak memory of a training step, MiB", log_y=True)


# The pictures of the README: what `linformer report --pictures` makes of rows, and what is drawn here.
REPORTED = {"ablation-kind-and-form": "kind_and_form-shakespeare", "ablation-recall-accuracy": "recall", "time-forward-paper-table3": "paper-table3"}
DRAWN = {"loss-by-position": (draw_positions, "positions-austen"), "memory-against-length": (draw_memory, "memory-long")}


def draw(program, rows, out):
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        for name in REPORTED.values():
            folder, lines = place / name, rows_of(rows, name)
            folder.mkdir()
            if lines[0]["type"] == "ablation-row":
                (folder / "ablation.json").write_text(json.dumps({"type": "ablation", "name": name.removesuffix("-shakespeare"), "base": lines[0]["point"]}))
            shutil.copy(rows / f"{name}.jsonl", folder / ("table.jsonl" if lines[0]["type"] == "ablation-row" else "benchmark.jsonl"))
        command = [program, "report", *(place / name for name in REPORTED.values()), "--out", place / "report.html", "--pictures", place / "pictures"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for picture in REPORTED:
            shutil.copy(place / "pictures" / f"{picture}.svg", out)
    for picture, (make, name) in DRAWN.items():
        if (rows / f"{name}.jsonl").exists():
            make(rows_of(rows, name), out / f"{picture}.svg")
        else:
            print(f"results: {picture}.svg is not drawn, since {name}.jsonl is missing in {rows}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/RESULTS.md")
    parser.add_argument("--rows", type=pathlib.Path, default=ROOT / "docs/results")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if the page and the rows differ")
    parser.add_argument("--collect", nargs="+", metavar=("KIND NAME", "FOLDER"), help="make NAME.jsonl of what the program left in these folders, and no page")
    parser.add_argument("--pictures", type=pathlib.Path, metavar="PROGRAM", help="draw the README's pictures with this linformer program, into the folder pictures beside the page")
    options = parser.parse_args()
    try:
        if options.collect:
            kind, name, *folders = [*options.collect, "", ""][:max(2, len(options.collect))]
            if kind not in TABLES or not re.fullmatch(r"[\w-]+", name) or not folders:
                raise UserError(f"--collect {' '.join(options.collect)}: expected KIND NAME FOLDER…, with a kind of {', '.join(TABLES)}")
            collect(kind, name, [pathlib.Path(folder) for folder in folders], options.rows)
            return 0
        if options.pictures:
            draw(options.pictures, options.rows, options.page.parent / "pictures")
        page = options.page.read_text()
        new = written(page, options.rows)
    except OSError as error:
        print(f"results: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"results: error: {error}", file=sys.stderr)
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
