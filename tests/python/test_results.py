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
    for rows in (SOURCE / "docs/results").glob("*.jsonl"):
        assert f" {rows.stem} -->" in page, rows
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
    assert names == sorted(path.name for path in (SOURCE / "docs/pictures").iterdir()) and len(names) == 3
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


def test_memory_is_a_table_for_each_task(tmp_path):
    page, rows = tmp_path / "page.md", tmp_path / "rows"
    rows.mkdir()
    lines = [{"type": "machine"}, point("train", "softmax", 1024, 100), point("train", "block", 1024, 3000), point("train", "softmax", 2048, 0, "memory"),
             point("generate", "softmax", 1024, 60), point("generate", "softmax", 1024, 80) | {"state_bytes": 3 << 20}]  # measured once more: the newest counts
    (rows / "memory.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page.write_text("<!-- memory memory -->\n<!-- end -->\n")
    assert check(page, rows).returncode == 0
    train, generate, held = page.read_text().split("MiB:")[1:]
    assert "| N | softmax | block |" in train and "| 1024 | 100 | 3,000 |" in train and "| 2048 | does not fit | – |" in train
    assert "| 1024 | 80 | – |" in generate and "2048" not in generate
    assert "| 1024 | 43 | – |" in held


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
