"""docs/RESULTS.md says what its rows say: tools/results.py."""

import json
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
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


def test_missing_rows_are_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- ablation nowhere -->\n<!-- end -->\n")
    done = check(page, tmp_path)
    assert done.returncode == 2 and "nowhere.jsonl" in done.stderr
