"""`linformer train` for tests: its fields, its start, what it leaves in a run's folder."""

import json
import os
import resource
import subprocess

from waiting import wait_until

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
STEPS = 120
MODEL = {"model.length": 24, "model.width": 12, "model.layers": 2, "model.heads": 2, "model.dropout": 0.1, "attention.window": 4,
         "attention.slots": 5}
TRAIN = {"train.batch": 3, "train.dtype": "float32", "train.learning_rate": 0.003}
BASE = {**MODEL, **TRAIN, "train.steps": STEPS, "train.save_every": 8, "train.evaluate_every": 40}
# For tests that stop a run on its way: with many steps after the one that they wait for.
LONG = {**BASE, "train.steps": 200, "train.evaluate_every": 50}
TRIES = 5  # for a machine so busy that the run ends before the test comes to stop it
WEIGHTS = 45_000  # bytes of model.safetensors, roughly


def command(*arguments, **fields):
    return [PROGRAM, "train", "--threads", "1", *map(str, arguments), *(str(x) for name, value in fields.items() for x in ("--" + name, value))]


def train(*arguments, status=0, limit=None, **fields):
    def limit_files():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = subprocess.run(command(*arguments, **fields), capture_output=True, text=True, timeout=60, preexec_fn=limit_files)
    assert result.returncode == status, result.stderr
    return result


def start(*arguments, **fields):
    return subprocess.Popen(command(*arguments, **fields), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def metrics_of(run):
    """Whole lines; a run that is being written may end with half a line."""
    try:
        text = (run / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_for_step(process, run, step):
    """Until the run has made `step`, or has ended."""
    def reached():
        return process.poll() is not None or ((lines := metrics_of(run)) and lines[-1]["step"] >= step)

    wait_until(reached)


def steps_of(run):
    folder = run / "checkpoints"
    return sorted(int(path.name[5:]) for path in folder.glob("step-*")) if folder.exists() else []


def temporaries_of(run):
    return [path for path in run.rglob("*") if ".tmp-" in path.name]


def weights_of(run):
    return (run / "model.safetensors").read_bytes()


def flip(path, place=0.7):
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)


def prepare_text(folder, name, text, *arguments, tokenizer="bytes"):
    (folder / f"{name}.txt").write_text(text)
    subprocess.run([PROGRAM, "prepare", "--input", folder / f"{name}.txt", "--out", folder / name, "--tokenizer", tokenizer, *arguments], check=True,
                   capture_output=True)
    return folder / name
