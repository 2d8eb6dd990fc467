"""`linformer audit`: catches models that see what comes after, from PyPI and hand-made, and passes those that don't.

The files are TorchScript, as a user of any PyTorch model would save them. Shape letters: B batch, N length, V vocabulary, d width, K slots.
"""

import json
import math
import os
import subprocess
import sys
import types

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
VOCABULARY, WIDTH, LENGTH = 37, 12, 48


def audit(*arguments, status):
    result = subprocess.run([PROGRAM, "audit", "--threads", "1", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == status, result.stdout + result.stderr
    return result


def verdict(file, *arguments, status):
    found = json.loads(audit("--model", file, "--json", *arguments, status=status).stdout)
    assert found["type"] == "audit" and found["verdict"] == ("leaks" if status else "clean")
    return found


class Model(nn.Module):
    """Embedding, a mixer of positions, an output layer; the mixers below make it causal or not."""

    def __init__(self, mixer):
        super().__init__()
        torch.manual_seed(1)
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.mixer, self.output = mixer, nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.size(1)))
        return self.output(x + self.mixer(x))


def masked_softmax(scores, later):
    return torch.softmax(scores.masked_fill(later, -math.inf), -1)


class Softmax(nn.Module):
    """Causal attention, which is clean, with a share of the mean over the whole text."""

    def __init__(self, leak: float = 0.0):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.leak = leak

    def forward(self, x):
        n = x.size(1)
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        out = masked_softmax(self.query(x) @ self.key(x).transpose(1, 2) / math.sqrt(x.size(2)), later) @ self.value(x)
        return out + self.leak * x.mean(1, keepdim=True)


class MaskedSlots(nn.Module):
    """Slots of the whole text behind a triangular mask (docs/maths.md, 2)."""

    def __init__(self, slots: int = 8):
        super().__init__()
        self.projection = nn.Parameter(torch.randn(slots, LENGTH) / math.sqrt(slots))

    def forward(self, x):
        slots = self.projection[:, : x.size(1)] @ x
        later = torch.ones(x.size(1), slots.size(1), dtype=torch.bool).tril().logical_not()
        return masked_softmax(x @ slots.transpose(1, 2), later) @ slots


class BlockMeans(nn.Module):
    """Means of blocks of 8, each given back to the whole of its block. Clean between blocks."""

    def forward(self, x):
        n = x.size(1)
        blocks = F.pad(x, (0, 0, 0, (8 - n % 8) % 8)).view(x.size(0), -1, 8, x.size(2))
        return blocks.mean(2, keepdim=True).expand_as(blocks).reshape(x.size(0), -1, x.size(2))[:, :n]


class ChunkSlot(nn.Module):
    """Causal attention in chunks of 8, with the mean of the current chunk as one more key."""

    def forward(self, x):
        n, chunk = x.size(1), 8
        mean = torch.cat([part.mean(1, keepdim=True).expand_as(part) for part in x.split(chunk, 1)], 1)
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        scores = torch.cat([(x @ x.transpose(1, 2)).masked_fill(later, -math.inf), (x * mean).sum(2, keepdim=True)], 2)
        weights = torch.softmax(scores / math.sqrt(x.size(2)), -1)
        return weights[:, :, :n] @ x + weights[:, :, n:] * mean


class CircularFourier(nn.Module):
    """A causal filter, applied by a Fourier transform without padding: the end of the text comes round to its start."""

    def forward(self, x):
        n = x.size(1)
        taps = torch.exp(-torch.arange(n, dtype=x.dtype)).unsqueeze(1)
        return torch.fft.irfft(torch.fft.rfft(x, dim=1) * torch.fft.rfft(taps, dim=0), n=n, dim=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("audit")


def scripted(model, path):
    torch.jit.script(model.eval()).save(str(path))
    return path


LEAKY = {"masked_slots": MaskedSlots, "block_means": BlockMeans, "chunk_slot": ChunkSlot, "circular_fourier": CircularFourier}


@pytest.mark.parametrize("name", LEAKY)
def test_catches(name, folder):
    found = verdict(scripted(Model(LEAKY[name]()), folder / f"{name}.pt"), status=1)
    assert found["dtype"] == "float64" and found["first_leak"]["change"] > 1e-7
    assert 0 <= found["first_leak"]["seen_at"] < found["first_leak"]["changed"] < found["first_leak"]["length"] <= LENGTH
    assert found["gradient"]["largest"] > 1e-7 and found["gradient"]["output"] < found["gradient"]["input"]
    assert found["streaming"]["largest_difference"] > 1e-4
    distances = {entry["distance"]: entry["change"] for entry in found["by_distance"]}
    if name in ("block_means", "chunk_slot"):  # inside a block, and no further
        assert min(distances[d] for d in range(1, 8)) > 1e-6 and all(change < 1e-10 for d, change in distances.items() if d >= 8)


def peer_model():
    """PyPI linformer-pytorch, causal. Its module of plots wants matplotlib, which nothing here draws with."""
    for name in ("matplotlib", "matplotlib.colors", "matplotlib.pyplot"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["matplotlib"].colors, sys.modules["matplotlib"].pyplot = sys.modules["matplotlib.colors"], sys.modules["matplotlib.pyplot"]
    from linformer_pytorch import LinformerLM
    torch.manual_seed(0)
    return LinformerLM(num_tokens=VOCABULARY, input_size=32, channels=16, dim_k=8, dim_ff=32, nhead=2, depth=2, causal=True).eval()


@pytest.mark.filterwarnings("ignore")
def test_catches_the_causal_linformer_of_pypi(folder):
    torch.jit.trace(peer_model(), torch.randint(VOCABULARY, (1, 32))).save(str(folder / "peer.pt"))
    found = verdict(folder / "peer.pt", status=1)
    assert found["lengths"] == [32] and found["gradient"]["largest"] > 1e-6
    assert "32 ids only" in found["remarks"][0] and "filled up" in found["streaming"]["way"]
    text = audit("--model", folder / "peer.pt", status=1).stdout
    leak = found["first_leak"]
    assert f"changing token {leak['changed']} of 32 moves the output at position {leak['seen_at']}" in text


class Late(nn.Module):
    """Running means, which are clean, and from position 256 on a share of the end of the text. Takes any length."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.tokens, self.output = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        x = self.tokens(ids)
        mean = x.cumsum(1) / torch.arange(1, ids.size(1) + 1, dtype=x.dtype).unsqueeze(1)
        late = (torch.arange(ids.size(1)) >= 256).to(x.dtype).unsqueeze(1)
        return self.output(mean + late * 0.1 * x[:, -1:])


def test_finds_what_leaks_late_only_and_says_where_it_stopped(folder):
    file = scripted(Late(), folder / "late.pt")
    found = verdict(file, status=1)
    assert found["first_leak"]["seen_at"] >= 256 and max(found["lengths"]) == 512
    found = verdict(file, "--model.length", 200, status=0)
    assert any("at most 200 tokens were tried" in remark and "--model.length" in remark for remark in found["remarks"])
    assert "note: texts of at most 200 tokens" in audit("--model", file, "--model.length", 200, status=0).stdout


def test_a_text_that_is_too_short_is_told(folder):
    for name, words, tokens in (("empty.txt", "", 0), ("few.txt", "It", 2)):
        (folder / name).write_text(words)
        model = Model(Softmax())
        model.tokens, model.output = nn.Embedding(256, WIDTH), nn.Linear(WIDTH, 256)
        found = verdict(scripted(model, folder / "short.pt"), "--data", folder / name, "--tokenizer", "bytes", status=0)
        assert found["text"] == "random"
        assert any(f"{name} has {tokens} tokens, and the shortest text tried needs {min(found['lengths'])}" in remark for remark in found["remarks"])


def test_sees_a_millionth(folder):
    assert verdict(scripted(Model(Softmax(1e-6)), folder / "faint.pt"), status=1)["largest_change"] < 1e-5


def test_passes_softmax_and_its_text(folder):
    file = scripted(Model(Softmax()), folder / "softmax.pt")
    found = verdict(file, status=0)
    assert found["largest_change"] <= found["threshold"] == 1e-10 and found["gradient"]["largest"] < 1e-10
    assert found["streaming"]["way"] == "growing prefixes" and found["text"] == "random" and LENGTH >= max(found["lengths"]) > 30
    (folder / "letters.json").write_text(json.dumps({"ids": [1, 2]}))
    assert "--tokenizer" in audit("--model", file, "--data", folder / "letters.json", status=2).stderr
    assert "vocabulary ends at 36" in audit("--model", file, "--data", folder / "letters.json", "--tokenizer", "bytes", status=2).stderr


def test_reads_real_text(folder):
    model = Model(Softmax())
    model.tokens = nn.Embedding(256, WIDTH)
    model.output = nn.Linear(WIDTH, 256)
    (folder / "words.txt").write_text("It is a truth universally acknowledged. " * 9)
    found = verdict(scripted(model, folder / "bytes.pt"), "--data", folder / "words.txt", "--tokenizer", "bytes", status=0)
    assert found["text"].endswith("words.txt") and "--tokenizer bytes" in found["command"] and found["machine"]["threads"] == 1


@pytest.mark.filterwarnings("ignore")
def test_passes_the_encoder_of_torch(folder):
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, 2, 16, 0.0, batch_first=True), 2, enable_nested_tensor=False)

        def forward(self, x):
            later = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1)
            return self.layers(x, mask=later)

    torch.jit.trace(Model(Causal()).eval(), torch.randint(VOCABULARY, (2, 33)), check_trace=False).save(str(folder / "encoder.pt"))
    verdict(folder / "encoder.pt", "--model.length", 33, status=0)


@pytest.mark.filterwarnings("ignore")
def test_passes_gpt2_of_transformers(folder):
    from transformers import GPT2Config, GPT2LMHeadModel

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(2)
            config = GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
            self.model = GPT2LMHeadModel(config)

        def forward(self, ids):
            return self.model(ids, use_cache=False).logits

    torch.jit.trace(Logits().eval(), torch.randint(VOCABULARY, (2, 33))).save(str(folder / "gpt2.pt"))
    found = verdict(folder / "gpt2.pt", status=0)  # its output layer is tied, which must not pass for a leak
    assert found["dtype"] == "float64" and max(found["lengths"]) == 64 and "obstacle" not in found["gradient"]


def test_ids_with_one_embedding(folder):
    """Nearly all replacements do nothing; the leak is found all the same, and its first place is right."""
    model = Model(BlockMeans())
    with torch.no_grad():
        model.tokens.weight[:-4] = model.tokens.weight[0]
    assert verdict(scripted(model, folder / "twins.pt"), status=1)["first_leak"]["changed"] < 8


class InFloat32(nn.Module):
    def __init__(self, leak: float):
        super().__init__()
        self.mixer = Softmax(leak)

    def forward(self, x):
        return self.mixer(x) @ torch.eye(x.size(2), dtype=torch.float32)


def test_says_where_float64_does_not_run(folder):
    found = verdict(scripted(Model(InFloat32(0.0)), folder / "single.pt"), status=0)
    assert found["dtype"] == "float32" and "float64" in found["remarks"][0] and 1e-6 < found["threshold"] < 1e-4
    verdict(scripted(Model(InFloat32(1e-2)), folder / "single_leak.pt"), status=1)


class Restless(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.1, True)


@pytest.mark.parametrize("model, words", [
    (Restless(), ["other outputs", "eval mode"]), (nn.Linear(WIDTH, 3), ["fails on", "--model.length"]),
    (nn.Embedding(VOCABULARY, 2), ["2 ids"]), (nn.Embedding.from_pretrained(torch.ones(VOCABULARY, 5)), ["same outputs"]),
    (nn.Embedding.from_pretrained(torch.full((VOCABULARY, 5), math.nan)), ["NaN"]), (nn.Flatten(0), ["logits"]),
])
def test_models_that_can_not_be_audited(model, words, tmp_path):
    if isinstance(model, Restless):
        model = Model(model)
    file = scripted(model, tmp_path / "model.pt")
    error = audit("--model", file, status=2).stderr
    assert all(word in error for word in words), error


def test_files_that_are_no_model(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("not a model")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("weights.pt", "text.pt", "empty.pt"):
        error = audit("--model", tmp_path / name, status=2).stderr
        assert name in error and "torch.jit" in error and len(error.strip().splitlines()) <= 2
    assert "missing.pt" in audit("--model", tmp_path / "missing.pt", status=2).stderr
    assert "config.json" in audit("--model", tmp_path, status=2).stderr


@pytest.fixture(scope="module")
def books(folder):
    (folder / "text.txt").write_text("".join(f"Number {i} is followed by {i + 1}, as every child knows. " for i in range(400)))
    subprocess.run([PROGRAM, "prepare", "--input", folder / "text.txt", "--out", folder / "books", "--tokenizer", "bytes"], check=True)
    return folder / "books"


SLOTS = {"attention.window": 7, "attention.slots": 5}
BLOCK = {"attention.window": 6, "attention.summary": "block", "attention.slots": 18, "model.length": 54}
FORMS = {
    "softmax": {"attention.kind": "softmax"}, "prefix": {"attention.window": 0, "attention.slots": 5}, "running": SLOTS,
    "running_both": {**SLOTS, "attention.normalise": "both", "attention.slot_bias": "none", "attention.sharing": "none"},
    "running_layerwise": {**SLOTS, "attention.sharing": "layerwise", "model.tied": "true", "model.position": "none"},
    "running_gated": {**SLOTS, "attention.projection": "gated", "model.position": "rotary"},
    "running_cluster": {**SLOTS, "attention.projection": "cluster", "attention.sinks": 2},
    **{f"block_{kind}": {**BLOCK, "attention.projection": kind} for kind in ("linear", "dynamic", "convolution", "mean", "max")},
}


def train(books, run, **fields):
    fields = {"model.length": 61, "model.width": 12, "model.layers": 2, "model.heads": 2, "train.steps": 4, "train.batch": 3,
              "train.dtype": "float32", "train.learning_rate": 0.01, "train.evaluate_every": 0, **fields}
    flags = [str(word) for name, value in fields.items() for word in ("--" + name, value)]
    subprocess.run([PROGRAM, "train", "--threads", "1", "--data", books, "--out", run, *flags], check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("name", FORMS)
def test_passes_every_causal_form(name, books, tmp_path):
    train(books, tmp_path / "run", **FORMS[name])
    found = verdict(tmp_path / "run", status=0)
    assert [part["dtype"] for part in found["passes"]] == ["float64", "float32"] and found["layers_checked"] == 2
    assert found["text"] == str(books)  # the run says where its data is
    assert [way["way"] for way in found["passes"][1]["streaming_ways"]] == ["prefill and step", "chunks", "packed decoder"]
    kept = json.loads((tmp_path / "run/audit.json").read_text())
    assert kept == found


def test_wide_windows_are_audited_until_slots_are_seen(books, tmp_path):
    train(books, tmp_path / "run", **{"attention.window": 520, "attention.slots": 5, "model.length": 2000, "model.layers": 1, "train.batch": 1, "train.steps": 1})
    found = verdict(tmp_path / "run", status=0)
    assert max(found["lengths"]) == 3 * 520 + 260 + 1 and any("--model.length" in remark for remark in found["remarks"])


def test_run_folders(books, tmp_path):
    train(books, tmp_path / "run", **SLOTS, **{"model.causal": "true"})
    text = audit("--model", tmp_path / "run", "--model.length", 15, status=0).stdout
    assert "clean" in text and "float64" in text and "float32 (kernel)" in text and "texts of 13, 15 tokens" in text
    # A checkpoint is audited too, but its files are as they were saved.
    checkpoint = next((tmp_path / "run/checkpoints").glob("step-*"))
    before = sorted(os.listdir(checkpoint))
    verdict(checkpoint, "--model.length", 9, status=0)
    assert sorted(os.listdir(checkpoint)) == before
    assert "at most 61" in audit("--model", tmp_path / "run", "--model.length", 62, status=2).stderr
    assert "TorchScript" in audit("--model", tmp_path / "run", "--tokenizer", "bytes", status=2).stderr
    assert "float64" in audit("--model", tmp_path / "run", "--dtype", "bfloat16", status=2).stderr
    # Without its data a run is audited with random ids.
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["data"]["folder"] = str(tmp_path / "gone")
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    assert verdict(tmp_path / "run", "--model.length", 9, status=0)["text"] == "random"
    text = audit("--model", tmp_path / "run", "--data", books.parent / "text.txt", "--model.length", 9, status=0).stdout
    assert "clean" in text
