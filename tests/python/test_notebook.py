"""examples/linformer.ipynb runs from the first cell to the last, and the file holds what it shows."""

import json
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
NOTEBOOK = json.loads((SOURCE / "examples/linformer.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def pictures(cells):
    return ["".join(output["data"]["image/svg+xml"]) for cell in cells for output in cell["outputs"] if "image/svg+xml" in output.get("data", {})]


def expect_shown(cells):
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert len(pictures(cells)) == 3
    for picture in pictures(cells):
        root = xml.fromstring(picture)
        lines = root.findall(".//{*}polyline")
        names = [text.text for text in root.findall(".//{*}text") if text.get("x") == "532"]
        assert len(lines) == len(names) >= 1
        for line in lines:
            for x, y in (point.split(",") for point in line.get("points").split()):
                assert 59 <= float(x) <= 491 and 39 <= float(y) <= 261
    text = "\n".join(map(printed, cells))
    assert "largest change of a logit before token 40: 0.0e+00" in text
    assert all(name in printed(cells[-1]) for name in ("window and slots", "Transformer", "window ", "slots "))


def test_it_holds_what_it_shows():
    """As `tools/run_notebook.py examples/linformer.ipynb` wrote it, with the steps that it names."""
    expect_shown(CODE)
    steps = int(re.search(r"^STEPS = (\d+)$", "".join(CODE[0]["source"]), re.M)[1])
    losses = [float(loss) for loss in re.findall(rf"([\d.]+) nats after {steps} steps", printed(CODE[-1]))]
    assert len(losses) == 4 and losses[-1] == max(losses) < 3 and losses[1] > max(losses[0], losses[2])  # as the text says
    assert f"{steps} steps are a beginning" in "".join("".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")


def test_it_runs(tmp_path):
    """With few steps; nothing else is changed."""
    notebook = json.loads(json.dumps(NOTEBOOK))
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    first["source"] = [re.sub(r"^STEPS = \d+", "STEPS = 50", line) for line in first["source"]]
    for cell in notebook["cells"]:
        cell.update({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})
    (tmp_path / "examples").mkdir()
    (tmp_path / "data").symlink_to(SOURCE / "data")
    path = tmp_path / "examples/short.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.path.join(os.environ["LINFORMER_BINARY_DIR"], "python")}
    result = subprocess.run([sys.executable, SOURCE / "tools/run_notebook.py", path], capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    shown = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    expect_shown(shown)
    assert "50 steps in" in "\n".join(map(printed, shown))
