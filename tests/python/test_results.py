"""docs/RESULTS.md says what its rows say: tools/results.py."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
PROGRAM = pathlib.Path(os.environ["LINFORMER_BINARY_DIR"]) / "linformer"
TOOL = SOURCE / "tools/results.py"


def check(page, rows, *flags):
    command = [sys.executable, str(TOOL), "--page", str(page), "--rows", str(rows), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_every_table_is_that_of_its_rows():
    done = check(SOURCE / "docs/RESULTS.md", SOURCE / "docs/results", "--check")
    assert done.returncode == 0, done.stderr


def test_every_file_of_rows_is_in_the_page():
    page = (SOURCE / "docs/RESULTS.md").read_text(encoding="utf-8")
    named = {name for names in re.findall(r"^<!-- \w+ ([\w -]+) -->$", page, flags=re.M) for name in names.split()}
    for rows in (SOURCE / "docs/results").glob("*.jsonl"):
        assert rows.stem in named, rows
        for line in rows.read_text(encoding="utf-8").splitlines():
            json.loads(line)


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="pictures need gnuplot")
def test_the_pictures_of_the_readme_are_those_of_the_rows(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "page.md").write_text("")
    done = subprocess.run([sys.executable, SOURCE / "tools/results.py", "--pictures", PROGRAM, "--page", tmp_path / "page.md"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def words(folder, name):
        return re.findall(r"<text>(.*?)</text>", (folder / name).read_text(encoding="utf-8"), re.DOTALL)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == sorted(path.name for path in (SOURCE / "docs/pictures").iterdir()) and len(names) >= 3
    for name in names:
        assert f"docs/pictures/{name}" in (SOURCE / "README.md").read_text(encoding="utf-8")
        assert len(words(tmp_path / "pictures", name)) > 10 and words(tmp_path / "pictures", name) == words(SOURCE / "docs/pictures", name)


def test_a_changed_figure_is_found_and_mended(tmp_path):
    page, rows = tmp_path / "page.md", tmp_path / "rows"
    rows.mkdir()
    seed = {"seed": 0, "tokens_per_second": 1000.0, "state_bytes": 64}
    loss = {"mean": 2.5, "low": 2.25, "high": 2.75}
    row = {"type": "ablation-row", "point": "softmax", "parameters": 1234, "parameters_differ": False, "seeds": [seed, seed], "validation_loss": loss,
           "bits_per_byte": loss}
    (rows / "small.jsonl").write_text(json.dumps(row) + "\n")
    page.write_text("# Page\n<!-- ablation small -->\n<!-- end -->\nwords\n")
    assert check(page, rows, "--check").returncode == 1
    assert check(page, rows).returncode == 0
    assert "| softmax | 1,234 | 2 | 2.500 (2.250–2.750) | 2.500 (2.250–2.750) | – | 1,000 | 64 |" in page.read_text()
    assert page.read_text().startswith("# Page\n") and page.read_text().endswith("words\n")
    assert check(page, rows, "--check").returncode == 0
    page.write_text(page.read_text().replace("2.500 (", "2.400 ("))
    assert check(page, rows, "--check").returncode == 1


def test_masked_models_have_a_perplexity_and_no_bits_per_byte(tmp_path):
    loss = {"mean": 1.5, "low": 1.5, "high": 1.5}
    row = {"point": "slots-8", "parameters": 10, "seeds": [{"seed": 0, "tokens_per_second": 2000.0}], "validation_loss": loss,
           "equal_time": {"seconds": 3.0, "validation_loss": loss}}
    (tmp_path / "masked.jsonl").write_text(json.dumps(row) + "\n")
    page = tmp_path / "page.md"
    page.write_text("<!-- ablation masked -->\n<!-- end -->\n")
    assert check(page, tmp_path).returncode == 0
    assert "| slots-8 | 10 | 1 | 1.500 | 4.48 | 1.500 | 2,000 |\n" in page.read_text()
    assert "bits" not in page.read_text() and "state" not in page.read_text()


def test_unequal_points_are_marked(tmp_path):
    loss = {"mean": 1.5, "low": 1.5, "high": 1.5}
    row = {"parameters": 10, "seeds": [{"seed": 0, "tokens_per_second": 2000.0}], "validation_loss": loss}
    rows = (row | {"point": "base"}, row | {"point": "longer", "tokens_differ": True, "parameters_differ": True}, row | {"point": "words", "vocabulary_differs": True})
    (tmp_path / "unequal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = tmp_path / "page.md"
    page.write_text("<!-- ablation unequal -->\n<!-- end -->\n")
    assert check(page, tmp_path).returncode == 0
    text = page.read_text()
    assert "| base | 10 |" in text and "| longer † | 10 * |" in text and "| words ‡ | 10 |" in text
    assert "\n\\* more than 10 %" in text and "\n† another number" in text and "\n‡ another vocabulary" in text


def test_spectra_are_means_over_heads_beside_models_of_other_depth(tmp_path):
    rows = [{"type": "spectrum", "model": "a", "causal": True, "slots": 8, "length": 32, "layers": 1, "at_slots": [[0.5, 0.75]]},
            {"type": "attention"},
            {"type": "spectrum", "model": "b", "causal": False, "slots": 8, "length": 32, "layers": 2, "at_slots": [[0.9], [0.8]]}]
    (tmp_path / "rank.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = tmp_path / "page.md"
    page.write_text("<!-- spectrum rank -->\n<!-- end -->\n")
    assert check(page, tmp_path).returncode == 0
    assert "| a | causal | 8 of 32 | 0.625 | – |\n| b | both ways | 8 of 32 | 0.900 | 0.800 |\n" in page.read_text()


def test_missing_rows_are_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- ablation nowhere -->\n<!-- end -->\n")
    done = check(page, tmp_path)
    assert done.returncode == 2 and "nowhere.jsonl" in done.stderr


def point(task, form, length, mebibytes, status="ok"):
    sizes = {"resident_peak_bytes": mebibytes << 20, "allocator_base_bytes": mebibytes << 19} if status == "ok" else {"reason": "no room"}
    return {"type": "point", "task": task, "form": form, "length": length, "status": status, **sizes}


def page_of(folder, marker, rows):
    """What the tool makes of a page with this one marker."""
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = folder / "page.md"
    page.write_text(f"<!-- {marker} -->\n<!-- end -->\n")
    done = check(page, folder)
    assert done.returncode == 0, done.stderr
    return page.read_text().removeprefix(f"<!-- {marker} -->\n").removesuffix("<!-- end -->\n")


def test_memory_by_task_and_form(tmp_path):
    chunked = {"fields": "attention.projection=periodic+model.position=rotary+train.chunk=4096"}
    lines = [{"type": "machine"}, point("train", "softmax", 1024, 100), point("train", "running", 1024, 3000) | chunked, point("train", "softmax", 2048, 0, "memory"),
             point("generate", "softmax", 1024, 60), point("generate", "softmax", 1024, 80) | {"state_bytes": 3 << 20}]  # measured once more: the newest counts
    assert page_of(tmp_path, "memory memory", {"memory": lines}) == (
        "| N | train, MiB: softmax | train, MiB: running, periodic, rotary, chunk 4096 | generate, MiB: softmax | kept, MiB: softmax |\n"
        "| --- | --- | --- | --- | --- |\n| 1024 | 100 | 3,000 | 80 | 43 |\n| 2048 | does not fit | – | – | – |\n")


def ablated(name, loss, seeds=2, **more):
    seed = {"seed": 0, "tokens_per_second": 1000.0, "state_bytes": 64}
    return {"type": "ablation-row", "point": name, "parameters": 10, "seeds": [seed] * seeds, "validation_loss": {"mean": loss, "low": loss, "high": loss}, **more}


def test_texts_stand_side_by_side(tmp_path):
    rows = {"kinds-code": [ablated("softmax", 1.5), ablated("running", 1.25, parameters_differ=True)], "kinds-austen": [ablated("softmax", 2.5, seeds=1)]}
    assert page_of(tmp_path, "corpora kinds-code kinds-austen", rows) == (
        "| point | parameters | seeds | Code: loss | at equal time | Austen: loss | at equal time | tokens/s | state, bytes |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| softmax | 10 | 2/1 | 1.500 | – | 2.500 | – | 1,000 | 64 |\n| running | 10 * | 2/– | 1.250 | – | – | – | 1,000 | 64 |\n"
        "\n\\* more than 10 % more or fewer parameters than the base.\n")
    both = page_of(tmp_path, "corpora kinds-code other-code", rows | {"other-code": [ablated("softmax", 3.5)]})
    assert "| grid | point |" in both and "| kinds | softmax | 10 | 1.500 |" in both and "| other | softmax | 10 | 3.500 |" in both and "seeds" not in both
    (tmp_path / "page.md").write_text("<!-- ablation kinds-code kinds-austen -->\n<!-- end -->\n")
    done = check(tmp_path / "page.md", tmp_path)
    assert done.returncode == 2 and "only corpora" in done.stderr


def test_recall_by_distance(tmp_path):
    def row(name, steps, *parts):
        by_distance = [{"first": first, "last": first + 7, "queries": queries, "accuracy": accuracy} for first, queries, accuracy in parts]
        return {"point": name, "accuracy": {"mean": 0.5, "low": 0.25, "high": 0.75}, "seeds": [{"steps": steps, "state_bytes": 1024, "accuracy_by_distance": by_distance}]}
    rows = [row("softmax", 2400, (0, 10, 0.5), (16, 30, 1.0), (24, 10, 0.2), (40, 5, 0.4)), row("window", 1600, (0, 10, 0.1))]
    assert page_of(tmp_path, "recall pairs", {"pairs": rows}) == (
        "| point | seeds | steps | answered, % | 0 to 7 back | 8 to 15 back | 16 to 31 back | 32 to 47 back | state, bytes |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| softmax | 1 | 2,400 | 50.0 (25.0–75.0) | 50 | – | 80 | 40 | 1,024 |\n| window | 1 | 1,600 | 50.0 (25.0–75.0) | 10 | – | – | – | 1,024 |\n")


def evaluated(name, seed, losses, length=512, trained=256):
    ends = [127, 255, 511, 1023][: len(losses)]
    octaves = [{"from": 0 if end == 127 else (end + 1) // 2, "to": end, "loss": loss, "tokens": 3 * (128 if end == 127 else (end + 1) // 2)} for end, loss in zip(ends, losses)]
    return {"type": "evaluation", "point": name, "seed": seed, "length": length, "trained_length": trained, "loss_by_position": octaves}


def test_loss_by_position_shows_where_the_trained_length_ends(tmp_path):
    rows = [evaluated("softmax", 0, (2.0, 1.5, 4.0)), evaluated("softmax", 1, (2.5, 1.5, 5.0)), evaluated("gated", 0, (2.0, 1.75, 1.625))]
    assert page_of(tmp_path, "positions long", {"long": rows}) == (
        "| point | 0–127 | 128–255 | 256–511 |\n| --- | --- | --- | --- |\n"
        "| softmax | 2.250 (2.000–2.500) | 1.500 | ‖ 4.500 (4.000–5.000) |\n| gated | 2.000 | 1.750 | ‖ 1.625 |\n"
        "\n‖ here the trained length ends: 256 tokens. Read: 3 windows of 512 tokens.\n")
    longer = [*rows, evaluated("gated", 0, (2.0, 1.5, 1.5, 1.25), length=1024), evaluated("softmax", 0, (1.5, 1.5, 1.5), trained=200)]
    several = page_of(tmp_path, "positions long", {"long": longer})
    assert "| gated, N 512 | 2.000 | 1.750 | ‖ 1.625 | – |\n| gated, N 1,024 | 2.000 | 1.500 | ‖ 1.500 | 1.250 |\n" in several
    assert "| softmax, trained at 200 | 1.500 | ‖ 1.500 | 1.500 | – |\n" in several
    assert "ends: 200, 256 tokens. Read: 3 windows of 512 tokens; 3 windows of 1,024 tokens." in several
    cut = page_of(tmp_path, "positions long", {"long": [evaluated("softmax", 0, (2.0, 1.5)) | {"tokens": 512 + 100}]})
    assert "Read: 1 window of 512 tokens and 100 of another." in cut


def test_what_context_gives_is_the_difference_to_the_window_alone_of_the_same_seed(tmp_path):
    rows = [evaluated("gated", 0, (2.0, 1.5, 1.0)), evaluated("gated", 1, (3.0, 2.25, 2.25)), evaluated("window-alone", 1, (3.0, 2.5, 2.125)), evaluated("window-alone", 0, (2.0, 1.75, 1.5)),
            evaluated("softmax", 2, (1.0, 1.0, 1.0)), evaluated("gated", 0, (1.0, 1.0, 1.0, 1.0), length=1024)]
    assert page_of(tmp_path, "differences long", {"long": rows}) == (
        "| point | 0–127 | 128–255 | 256–511 |\n| --- | --- | --- | --- |\n"
        "| gated, N 512 | +0.000 | −0.250 | ‖ −0.188 (−0.500 to +0.125) |\n"
        "\n‖ here the trained length ends: 256 tokens. No window-alone to compare with: softmax, gated, N 1,024.\n")
    # Of another number of windows, it has read another text.
    rows[3]["loss_by_position"][2]["tokens"] += 1
    assert "‖ +0.125 |" in page_of(tmp_path, "differences long", {"long": rows})


def test_keys_found_by_depth(tmp_path):
    def keys(*parts):
        return {"accuracy_by_depth": [{"from": start, "to": round(start + 0.1, 1), "keys": count, "found": found, "accuracy": accuracy} for start, count, found, accuracy in parts]}
    two = [{"point": "gated", "seed": 0, "length": 512} | keys((0.0, 4, 0.5, 0.75), (0.9, 8, 1.0, 1.0)), {"point": "gated", "seed": 1, "length": 512} | keys((0.0, 4, 0.0, 0.25))]
    note = "\nKeys found, %; in brackets, tokens of keys that were the likeliest, %. {} keys a cell.\n"
    assert page_of(tmp_path, "depths keys", {"keys": two}) == "| point | 0–10 % | 90–100 % |\n| --- | --- | --- |\n| gated | 25 (50) | 100 (100) |\n" + note.format("8")
    # A depth that was asked for is the column, whichever range it rounds into; rows of an ablation do as well.
    fixed = [{"point": "gated", "seed": 0, "length": 512, "depth": depth} | keys((0.2, 4, found, found)) for depth, found in ((0.3, 0.5), (0.2, 0.25))]
    assert "| point | 20 % | 30 % |\n| --- | --- | --- |\n| gated | 25 (25) | 50 (50) |\n" in page_of(tmp_path, "depths keys", {"keys": fixed})
    trained = [{"type": "ablation-row", "point": "softmax", "seeds": [keys((0.1, 10, 0.1, 0.2)), keys((0.1, 30, 0.5, 0.6))]}]
    assert "| softmax | 40 (50) |\n" + note.format("40") in page_of(tmp_path, "depths keys", {"keys": trained})


def test_savings_crossovers_and_seconds_by_decoding(tmp_path):
    saved = {"type": "saving", "length": 512, "slots": 64, "against": "softmax", "time_saved": 1.26, "memory_saved": 0.96}
    rows = [saved, saved | {"length": 1024, "time_saved": None}, saved | {"against": "softmax-plain", "memory_saved": None}, saved | {"length": 1024, "against": "softmax-plain", "time_saved": None, "memory_saved": None}]
    text = page_of(tmp_path, "saving table", {"table": rows})
    assert "fused attention:\n\n| N | K 64 |\n| --- | --- |\n| 512 | 1.3 · 0.96 |\n| 1024 | – · 0.96 |\n" in text and text.endswith("| 512 | 1.3 · – |\n\n")
    ahead = {"type": "crossover", "task": "train", "form": "block", "time_length": 512, "time_length_clear": None, "memory_length": 128, "longest_tried": 4096}
    assert page_of(tmp_path, "crossover ahead", {"ahead": [ahead, ahead | {"task": "forward", "form": "prefix"}]}) == (
        "| form | train | forward |\n| --- | --- | --- |\n| block | 512 · > 4096 · 128 | – |\n| prefix | – | 512 · > 4096 · 128 |\n")
    point = {"type": "point", "form": "running", "length": 512, "batch": 4, "slots": 64, "status": "ok", "seconds": 2.0, "low": 1.5, "high": 2.25, "decode": "stream"}
    again = point | {"decode": "reread", "form": "bidirectional", "seconds": 300.0}
    assert page_of(tmp_path, "scaling decoding", {"decoding": [point | {"form": "softmax", "slots": 0, "seconds": 4.0}, point, again]}) == (
        "| N | batch | decoding | form | softmax, s | K 64, s |\n| --- | --- | --- | --- | --- | --- |\n"
        "| 512 | 4 | stream | running | 4 (1.5–2.25) | 2 (1.5–2.25) |\n| 512 | 4 | reread | bidirectional | – | 300 (1.5–2.25) |\n")


def test_time_against_length_and_what_fits(tmp_path):
    point = {"type": "point", "form": "bidirectional", "length": 512, "batch": 4, "slots": 64, "status": "ok", "seconds": 2.0, "low": 1.5, "high": 2.25}
    softmax = point | {"form": "bidirectional-softmax", "slots": 0, "status": "memory"}
    (tmp_path / "figure.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ({"type": "machine"}, softmax, point)))
    largest = {"type": "largest", "form": "softmax", "what": "length", "value": 12800, "budget_bytes": 2**32}
    (tmp_path / "most.jsonl").write_text(json.dumps(largest) + "\n" + json.dumps(largest | {"form": "running", "value": 11264, "at_least": True}) + "\n")
    page = tmp_path / "page.md"
    page.write_text("<!-- scaling figure -->\n<!-- end -->\n<!-- largest most -->\n<!-- end -->\n")
    assert check(page, tmp_path).returncode == 0
    assert "| N | batch | softmax, s | K 64, s |\n| --- | --- | --- | --- |\n| 512 | 4 | memory | 2 (1.5–2.25) |\n" in page.read_text()
    assert "| within, GiB |  | softmax | running |\n| --- | --- | --- | --- |\n| 4 | longest N | 12,800 | ≥ 11,264 |\n" in page.read_text()
