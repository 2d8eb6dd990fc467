"""What the README and the demo say is so: every command and code block in the README runs, and so does every file in configs/."""

import json
import os
import pathlib
import random
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

# One thread: on a machine that does other things too, many threads wait for each other and small models take minutes.
os.environ["OMP_NUM_THREADS"] = "1"
SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
BINARY = pathlib.Path(os.environ["LINFORMER_BINARY_DIR"])
README = (SOURCE / "README.md").read_text(encoding="utf-8")
FLAGS = ["--train.steps", "2", "--train.batch", "2", "--train.accumulate", "1", "--model.vocabulary", "256", "--train.dtype", "float32"]

# How a command of the README is shortened: nothing else about it changes. `make` targets build, or would run this test again;
# what they run is tested on its own (test_make_targets_exist, test_demo).
SHORTER = {"train": ["--train.steps", "2"], "generate": ["--max-tokens", "5"]}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.M | re.S)


def commands():
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def run(command, folder, status=0):
    result = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, errors="replace", timeout=300)
    assert result.returncode == status, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def shortened(words):
    """The command with the flags that SHORTER names: replaced where the README gives them, appended where not."""
    words = list(words)
    flags = SHORTER.get(words[1], [])
    for flag, value in zip(flags[::2], flags[1::2]):
        if flag in words:
            words[words.index(flag) + 1] = value
        else:
            words += [flag, value]
    return words


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that looks like the top of the source tree, for commands that write where they stand."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("data", "configs"):
        (folder / name).symlink_to(SOURCE / name)
    (folder / "build").mkdir()
    (folder / "build/release").symlink_to(BINARY)
    return folder


def test_the_first_model(place):
    ran = []
    for command in commands():
        words = shlex.split(command)
        if words[0] != "make":
            ran.append(words[1])
            output = run(shortened(words), place)
            if "--prompt" in words:
                assert output.startswith(words[words.index("--prompt") + 1])
    assert ran == ["prepare", "train", "generate", "train", "generate", "generate", "evaluate", "audit", "inspect", "report"]


def test_make_targets_exist():
    targets = {shlex.split(command)[1] for command in commands() if command.startswith("make ")}
    assert {"demo", "test"} <= targets
    told = {word for name in ("CONTRIBUTING.md", "SECURITY.md") for word in re.findall(r"`(?:PRESET=\w+ )?make ([\w-]+)", (SOURCE / name).read_text())}
    parts = re.search(r"parts=\((check[a-z -]+)\)", (SOURCE / ".ci/run").read_text())[1].split()
    assert "test" in parts and {*parts, "test-perf"} <= told
    for target in targets | told:
        dry = subprocess.run(["make", "-n", target], cwd=SOURCE, capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_code(number, place):
    run([sys.executable, "-c", blocks("python")[number]], place)


def test_every_verb_is_named():
    listed = set(re.findall(r"^\| `(\w+)` \|", README.split("## What the demo measured")[0], flags=re.M))
    told = run([BINARY / "linformer", "--help"], SOURCE).split("Subcommands:")[1]
    assert listed == set(re.findall(r"^  ([a-z]+)\s", told, flags=re.M))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/extending.md", "docs/architecture.md", "docs/RESULTS.md"])
def test_documents_name_what_exists(page):
    def headings(file):
        """As links name them: `## What `auto` takes` is #what-auto-takes."""
        return {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in file.read_text().splitlines() if line.startswith("#")}

    text = (SOURCE / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:src|include|cli|tests|docs|bench|cmake|examples|fuzz|tools|configs)/[\w/.-]*)`", text)
    missing = [path for path in paths if "NAME" not in path and not (SOURCE / path).exists()]
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, heading = target.partition("#")
        file = (SOURCE / page).parent / name if name else SOURCE / page
        if not file.exists() or (heading and heading not in headings(file)):
            missing.append(target)
    assert missing == []


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Enough bytes for the longest config: its validation part must hold a whole sequence."""
    folder = tmp_path_factory.mktemp("letters")
    words = random.Random(1).choices("the of and a to in he was that it her she had not be".split(), k=4000)
    (folder / "text.txt").write_text(" ".join(words))
    run([BINARY / "linformer", "prepare", "--input", folder / "text.txt", "--out", folder / "data", "--tokenizer", "bytes",
         "--validation", "0.4"], folder)
    return folder / "data"


@pytest.mark.parametrize("config", sorted((SOURCE / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_config_file(config, letters, tmp_path):
    flags = list(FLAGS)
    flags[flags.index("--train.batch") + 1] = "1"
    run([BINARY / "linformer", "train", "--config", config, "--data", letters, "--out", tmp_path / "run", *flags], tmp_path)
    made = json.loads((tmp_path / "run/config.json").read_text())
    overridden = set(flags[::2])
    compared = 0
    for section, fields in tomllib.loads(config.read_text()).items():
        for name, value in fields.items():
            if f"--{section}.{name}" not in overridden:
                assert made[section][name] == value, f"{section}.{name}"
                compared += 1
    assert compared > 5


def test_seed_config_is_what_the_stored_results_were_measured_with():
    seed = tomllib.loads((SOURCE / "configs/seed.toml").read_text())
    rows = [json.loads(line) for line in (SOURCE / "docs/results/seed-training.jsonl").read_text().splitlines()]
    points = {row["form"]: row for row in rows if row["type"] == "point"}
    assert set(points) == {"softmax", "running"}
    for point in points.values():
        assert {name: point[name] for name in seed["model"]} == seed["model"]
        assert point["batch"] == seed["train"]["batch"]
    assert {name: points["running"][name] for name in ("slots", "sharing")} == {name: seed["attention"][name] for name in ("slots", "sharing")}
    assert max(row["steps"] for row in rows if row["type"] == "steps") == seed["train"]["steps"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    corpus = folder / "text.txt"
    corpus.write_text((SOURCE / "data/corpora/austen.txt").read_text(encoding="utf-8")[:40_000], encoding="utf-8")
    readme = folder / "README.md"
    readme.write_text("before\n<!-- demo:begin -->\nold\n<!-- demo:end -->\nafter\n", encoding="utf-8")
    command = [sys.executable, SOURCE / "tools/demo.py", "--program", BINARY / "linformer", "--corpus", corpus, "--out", folder / "out",
               "--update-readme", readme]
    return folder, command, run([*command, "--steps", 2, "--long-length", 300, "--long-steps", 2], folder)


def test_demo(demo):
    folder, _, printed = demo
    document = json.loads((folder / "out/demo.json").read_text())
    table = (folder / "out/demo.md").read_text()
    assert table in printed and "It was a" in printed
    for kind in ("linformer", "softmax"):
        result = document["results"][kind]
        assert result["steps"] == 2 and result["sample"].startswith("It was a")
        assert f"{result['validation_loss']:.3f}" in table
        assert result["train_peak_memory_bytes"] > 20e6 and result["generate_tokens_per_second"] > 0
    assert document["long"]["linformer"]["prompt_tokens"] == 300 - 64
    # Constant state against one that grows with the text.
    assert document["long"]["linformer"]["state_bytes"] < document["long"]["softmax"]["state_bytes"]


def test_demo_writes_the_readme_between_its_markers(demo):
    folder, command, _ = demo
    readme = folder / "README.md"
    written = f"before\n<!-- demo:begin -->\n{(folder / 'out/demo.md').read_text()}<!-- demo:end -->\nafter\n"
    assert readme.read_text() == written
    run([*command, "--no-run"], folder)
    assert readme.read_text() == written
    readme.write_text("no markers")
    run([*command, "--no-run"], folder, status=2)
    assert readme.read_text() == "no markers"


def test_what_the_readme_says_of_the_demos_figures_follows_from_them():
    part = README.split("<!-- demo:begin -->")[1].split("<!-- demo:end -->")[0]
    short, long = part.split("tokens of context, cost only")
    said = 0
    for text, rows in (short, {"trains": "training", "generates": "generation", "loss is": "validation loss (nats a token)"}), \
                      (long, {"trains": "training", "generates": "generation after it"}):
        figures = {name: [float(value.replace(",", "")) for value in values] for name, *values in
                   re.findall(r"^\| ([^|]+?)(?:, tokens/s)? \| ([\d.,]+) \| ([\d.,]+) \|$", text, flags=re.M)}
        for verb, row in rows.items():
            ours, theirs = figures[row]
            if percent := re.search(rf"{verb} ([\d.]+) % (lower|higher) than", text):
                assert 100 * (ours / theirs - 1) == pytest.approx(float(percent[1]) * (1 if percent[2] == "higher" else -1), abs=0.1)
            else:
                assert ours / theirs == pytest.approx(float(re.search(rf"{verb} ([\d.]+) times as fast as", text)[1]), abs=0.006)
            said += 1
    assert said == 5
