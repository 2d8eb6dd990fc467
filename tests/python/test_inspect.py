"""`linformer inspect` against forward passes in plain PyTorch: ours by the oracle of test_logits.py, BERT's written out here.

Texts are shorter than a map's bins, so that the maps of attention are the weights themselves. Shape letters: N positions, H heads, D head width,
K slots, W window.
"""

import base64
import hashlib
import json
import math

import numpy as np
import pytest
import torch

from test_logits import HEADS, LAYERS, Oracle, full_config, make_model, run, write_safetensors

LENGTH = 24
TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. However"
# Attention is computed in float32 and printed with six digits.
TOLERANCE = 1e-5


class Recorder(Oracle):
    """Keeps the weights of every softmax, in the order layer, head, position."""

    def weights(self, ids):
        self.rows = []
        self.logits(ids)
        n = len(ids)
        return [[self.rows[(layer * self.heads + head) * n : (layer * self.heads + head + 1) * n] for head in range(self.heads)] for layer in range(LAYERS)]

    def mix(self, q, keys, values, bias=None):
        logits = keys @ q / math.sqrt(self.head_width)
        self.rows.append(torch.softmax(logits if bias is None else logits + bias, 0))
        return self.rows[-1] @ values


def byte_model(folder, model=None, attention=None):
    config = full_config({"vocabulary": 256, **(model or {})}, attention)
    ranks = "".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256))
    config["tokenizer"] = {"name": "bytes", "hash": hashlib.sha256(ranks.encode()).hexdigest()}
    make_model(folder, config, seed=7)
    (folder / "tokenizer.json").write_text(json.dumps({"format_version": 1, "name": "bytes", "kind": "bytes"}))
    return folder


def inspect(folder, tmp_path, *arguments, text=TEXT):
    (tmp_path / "text.txt").write_text(text)
    result = run("inspect", "--model", folder, "--data", tmp_path / "text.txt", "--threads", 1, "--json", *arguments)
    return [json.loads(line) for line in result.stdout.decode().splitlines()]


def of_type(lines, name):
    return [line for line in lines if line["type"] == name]


def matrix(rows, width):
    padded = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row.numpy()
    return padded


def cumulative(weights):
    values = np.linalg.svd(weights, compute_uv=False)
    return np.cumsum(values) / values.sum()


@pytest.mark.parametrize("causal", [True, False])
def test_spectrum(causal, tmp_path):
    folder = byte_model(tmp_path / "model", {"causal": causal}, {"kind": "softmax"})
    lines = inspect(folder, tmp_path, "--windows", 2, "--length", 23)
    spectrum, = of_type(lines, "spectrum")
    assert (spectrum["length"], spectrum["layers"], spectrum["heads"], spectrum["matrices"], spectrum["causal"]) == (23, LAYERS, HEADS, 2, causal)
    assert spectrum["positions"] == list(range(1, 24)) and spectrum["slots"] == 5
    ids = list(TEXT.encode())
    windows = [Recorder(folder).weights(ids[start : start + 23]) for start in (0, len(ids) // 23 // 2 * 23)]
    maps = of_type(lines, "attention")
    for layer in range(LAYERS):
        for head in range(HEADS):
            matrices = [matrix(window[layer][head], 23) for window in windows]
            expected = np.mean([cumulative(m) for m in matrices], 0)
            assert np.abs(np.array(spectrum["cumulative"][layer][head]) - expected).max() < TOLERANCE
            assert abs(spectrum["at_slots"][layer][head] - expected[4]) < TOLERANCE
            one = maps[layer * HEADS + head]
            assert (one["layer"], one["head"], one["over"]) == (layer, head, "positions")
            assert np.abs(np.array(one["values"]) - np.mean(matrices, 0)).max() < TOLERANCE
    values = np.array(spectrum["cumulative"])
    assert (np.diff(values, axis=-1) > -1e-9).all() and np.allclose(values[..., -1], 1)


FORMS = {
    "running": ({}, {"window": 4, "slot_bias": 0.5}),
    "running by head": ({}, {"window": 5, "slots": 7, "sharing": "none", "normalise": "both"}),
    "block": ({}, {"summary": "block", "slots": 12}),
    "block dynamic": ({}, {"summary": "block", "slots": 12, "projection": "dynamic"}),
    "gated": ({}, {"projection": "gated", "slot_bias": 0.5}),
    "cluster": ({}, {"projection": "cluster", "slot_bias": 0.5, "normalise": "none"}),
    "prefix": ({}, {"window": 0, "normalise": "none", "slot_bias": "none"}),
    "bidirectional": ({"causal": False}, {"window": 0, "normalise": "none", "slot_bias": "none", "sharing": "key-value"}),
    "bidirectional dynamic": ({"causal": False}, {"window": 0, "normalise": "none", "slot_bias": "none", "projection": "dynamic"}),
}


def slot_counts(name, attention, n):
    """How many of a row's weights are on slots; they come first."""
    if not attention["window"]:
        return [attention["slots"]] * n
    blocks = [max(t // attention["window"] - 1, 0) for t in range(n)]
    if attention["summary"] == "running":
        return [attention["slots"] if b else 0 for b in blocks]
    return [b * attention["slots"] * attention["window"] // LENGTH for b in blocks]


@pytest.mark.parametrize("name", FORMS)
def test_slots(name, tmp_path):
    folder = byte_model(tmp_path / "model", *FORMS[name])
    attention = full_config(*FORMS[name])["attention"]
    n = 23
    lines = inspect(folder, tmp_path, "--windows", 1, "--length", n)
    assert not of_type(lines, "spectrum")
    weights = Recorder(folder).weights(list(TEXT.encode()[:n]))
    counts = slot_counts(name, attention, n)
    maps, shares = of_type(lines, "attention"), of_type(lines, "weights")
    assert len(maps) == LAYERS * HEADS and len(shares) == (LAYERS * HEADS if attention["window"] else 0)
    for i, one in enumerate(maps):
        rows = [row[:count] for row, count in zip(weights[i // HEADS][i % HEADS], counts)]
        assert one["over"] == "slots"
        assert np.abs(np.array(one["values"]) - matrix(rows, one["columns"])).max() < TOLERANCE
        if shares:
            expected = np.array([row.sum() for row in rows])
            assert np.abs(np.array(shares[i]["by_position"]) - expected).max() < TOLERANCE
            seeing = expected[2 * attention["window"] :]
            assert seeing.min() > 0 and abs(shares[i]["slot_share"] - seeing.mean()) < TOLERANCE
            assert abs(shares[i]["slot_share"] + shares[i]["window_share"] - 1) < TOLERANCE


def test_hybrid(tmp_path):
    """A layer of softmax attention shows where it looks; the layer with slots shows these."""
    folder = byte_model(tmp_path / "model", {}, {"softmax_layers": [0], "slot_bias": 0.5})
    lines = inspect(folder, tmp_path, "--windows", 1, "--length", 23)
    weights = Recorder(folder).weights(list(TEXT.encode()[:23]))
    assert not of_type(lines, "spectrum")
    assert {one["layer"] for one in of_type(lines, "weights")} == {1} == {one["layer"] for one in of_type(lines, "projection")}
    for i, one in enumerate(of_type(lines, "attention")):
        assert one["over"] == ("positions" if i < HEADS else "slots")
        if i < HEADS:
            assert np.abs(np.array(one["values"]) - matrix(weights[0][i], 23)).max() < TOLERANCE


def test_projections(tmp_path):
    folder = byte_model(tmp_path / "model", *FORMS["running by head"])
    lines = of_type(inspect(folder, tmp_path, "--slots"), "projection")
    tensors = Recorder(folder).tensors
    assert [(line["layer"], line["which"], line["head"]) for line in lines] == [(i, w, h) for i in range(LAYERS) for w in ("key", "value") for h in range(HEADS)]
    for line in lines:
        expected = tensors[f"blocks.{line['layer']}.attention.projection_{line['which']}"][line["head"]].abs()
        assert (line["rows"], line["columns"]) == (7, LENGTH)
        assert np.abs(np.array(line["values"]) - expected.numpy()).max() < TOLERANCE
        evenly = (expected.sum(1) ** 2 / (expected**2).sum(1)).mean()
        assert abs(line["positions_read"] - evenly) < 1e-4


def test_dynamic_slots_read_what_their_scores_say(tmp_path):
    folder = byte_model(tmp_path / "model", *FORMS["bidirectional dynamic"])
    lines = of_type(inspect(folder, tmp_path, "--slots", "--windows", 1), "projection")
    oracle = Recorder(folder)
    ids = list(TEXT.encode()[:LENGTH])
    x = oracle.get("token_embedding.weight")[ids] + oracle.get("position_embedding.weight")[:LENGTH]
    scores = oracle.linear("blocks.0.attention.projection", oracle.norm("blocks.0.attention_norm", x))
    for head in range(HEADS):
        expected = torch.softmax(scores[:, head * 6 : head * 6 + 6], 0).T
        assert np.abs(np.array(lines[head]["values"]) - expected.numpy()).max() < TOLERANCE


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "on", "caf", "##e", ",", ".", "mat", "un", "##want", "##ed", "!", "—", "##a", "a"]
SENTENCE = "The CATS sat on the Café—unwanted,\tun!  zebra a mat."
PIECES = "the cat ##s sat on the caf ##e — un ##want ##ed , un ! [UNK] a mat .".split()
BERT = {"model_type": "bert", "hidden_act": "gelu", "num_hidden_layers": 2, "num_attention_heads": 3, "hidden_size": 12, "intermediate_size": 17,
        "max_position_embeddings": 30, "vocab_size": len(VOCABULARY), "type_vocab_size": 2, "layer_norm_eps": 1e-12}


def bert_tensors(prefix):
    generator = torch.Generator().manual_seed(11)
    d, hidden, tensors = BERT["hidden_size"], BERT["intermediate_size"], {}

    def put(name, *shape):
        tensors[prefix + name] = torch.randn(*shape, generator=generator) * 0.6 + (1 if name.endswith("LayerNorm.weight") else 0)

    def linear(name, wide, narrow):
        put(name + ".weight", wide, narrow)
        put(name + ".bias", wide)

    for name, count in (("word", len(VOCABULARY)), ("position", BERT["max_position_embeddings"]), ("token_type", 2)):
        put(f"embeddings.{name}_embeddings.weight", count, d)
    norms = ["embeddings.LayerNorm"]
    for layer in range(BERT["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{name}attention.{part}", d, d)
        linear(name + "intermediate.dense", hidden, d)
        linear(name + "output.dense", d, hidden)
        norms += [name + "attention.output.LayerNorm", name + "output.LayerNorm"]
    for norm in norms:
        put(norm + ".weight", d)
        put(norm + ".bias", d)
    return tensors


def bert_weights(tensors, ids):
    """P of each layer, (H,N,N): Devlin et al. 2019 in plain PyTorch, in float64."""
    get = lambda name: tensors[name].double()
    linear = lambda name, x: torch.nn.functional.linear(x, get(name + ".weight"), get(name + ".bias"))
    norm = lambda name, x: torch.nn.functional.layer_norm(x, x.shape[-1:], get(name + ".weight"), get(name + ".bias"), 1e-12)
    heads, n = BERT["num_attention_heads"], len(ids)
    x = get("embeddings.word_embeddings.weight")[ids] + get("embeddings.position_embeddings.weight")[:n] + get("embeddings.token_type_embeddings.weight")[0]
    x, all_weights = norm("embeddings.LayerNorm", x), []
    for layer in range(BERT["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        query, key, value = (linear(f"{name}attention.self.{part}", x).view(n, heads, -1).transpose(0, 1) for part in ("query", "key", "value"))
        weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), -1)
        all_weights.append(weights)
        x = norm(name + "attention.output.LayerNorm", x + linear(name + "attention.output.dense", (weights @ value).transpose(0, 1).reshape(n, -1)))
        x = norm(name + "output.LayerNorm", x + linear(name + "output.dense", torch.nn.functional.gelu(linear(name + "intermediate.dense", x))))
    return all_weights


def bert_folder(folder, prefix="", **changes):
    folder.mkdir()
    tensors = bert_tensors(prefix)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({**BERT, **changes}))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder, {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_bert_encoder(prefix, tmp_path):
    folder, tensors = bert_folder(tmp_path / "bert", prefix)
    n = len(PIECES) + 2
    lines = inspect(folder, tmp_path, "--length", n, "--rank", 3, text=SENTENCE)
    expected = bert_weights(tensors, [VOCABULARY.index(piece) for piece in ["[CLS]", *PIECES, "[SEP]"]])
    spectrum, = of_type(lines, "spectrum")
    assert spectrum["matrices"] == 1 and not spectrum["causal"]
    for line in of_type(lines, "attention"):
        assert np.abs(np.array(line["values"]) - expected[line["layer"]][line["head"]].numpy()).max() < TOLERANCE
    for layer, matrices in enumerate(expected):
        for head, weights in enumerate(matrices.numpy()):
            assert np.abs(np.array(spectrum["cumulative"][layer][head]) - cumulative(weights)).max() < TOLERANCE
            assert abs(spectrum["at_slots"][layer][head] - cumulative(weights)[2]) < TOLERANCE


def test_output_folder_and_table(tmp_path):
    folder = byte_model(tmp_path / "model", attention={"kind": "softmax"})
    (tmp_path / "text.txt").write_text(TEXT)
    arguments = ["inspect", "--model", folder, "--data", tmp_path / "text.txt", "--out", tmp_path / "made" / "here"]
    table = run(*arguments).stdout.decode()
    assert "largest 6 of 24" in table and str(tmp_path / "made" / "here" / "inspect.jsonl") in table
    lines = [json.loads(line) for line in (tmp_path / "made" / "here" / "inspect.jsonl").read_text().splitlines()]
    assert lines == [json.loads(line) for line in run(*arguments, "--json").stdout.decode().splitlines()]
    assert all(line["command"].startswith("linformer inspect --model ") and line["text"] == str(tmp_path / "text.txt") for line in lines)


def test_prepared_folder_gives_its_validation_part(tmp_path):
    folder = byte_model(tmp_path / "model", attention={"kind": "softmax"})
    (tmp_path / "all.txt").write_text("x" * 400 + TEXT[:100])
    run("prepare", "--input", tmp_path / "all.txt", "--out", tmp_path / "data", "--tokenizer", "bytes", "--validation", 0.2)
    prepared = run("inspect", "--model", folder, "--data", tmp_path / "data", "--spectrum", "--json").stdout
    direct = inspect(folder, tmp_path, "--spectrum", text=TEXT[:100])
    assert json.loads(prepared)["cumulative"] == direct[0]["cumulative"]


def test_what_is_not_there_is_a_remark_or_an_error(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    linformer, softmax = byte_model(tmp_path / "linformer"), byte_model(tmp_path / "softmax", attention={"kind": "softmax"})
    data = ["--data", tmp_path / "text.txt"]

    def complaint(folder, *arguments, status=2):
        return run("inspect", "--model", folder, *(data if "--data" not in arguments else []), *arguments, status=status).stderr.decode()

    assert "no N×N attention matrix" in complaint(linformer, "--spectrum", "--slots", status=0)
    assert "no slots in it" in complaint(softmax, "--slots", "--spectrum", status=0)
    assert "no query has any" in complaint(linformer, "--length", 8, status=0)
    assert "nothing of what was asked for" in complaint(linformer, "--spectrum")
    assert "length is 25; this model takes 1 to 24" in complaint(softmax, "--length", 25)
    assert "rank is 25" in complaint(softmax, "--rank", 25)
    (tmp_path / "short.txt").write_text("short")
    assert "the text has 5 tokens, a window 24" in complaint(softmax, "--data", tmp_path / "short.txt")
    assert "float32" in complaint(softmax, "--dtype", "bfloat16")
    for place in ("/dev/null/x", tmp_path / "text.txt"):
        assert f"--out {place}: the folder can't be made" in complaint(softmax, "--out", place)


def test_damaged_encoders(tmp_path):
    (tmp_path / "text.txt").write_text(SENTENCE)
    cases = {"act": ({"hidden_act": "relu"}, 'only "gelu" is known'), "wide": ({"intermediate_size": 18}, "config.json asks for"), "deep": ({"num_hidden_layers": 3}, "is missing"),
             "gone": ({"num_attention_heads": "three"}, "expected a number"), "odd": ({"num_attention_heads": 5}, "not a multiple"), "small": ({"vocab_size": 3}, "vocab.txt")}
    for name, (changes, expected) in cases.items():
        folder, _ = bert_folder(tmp_path / name, **changes)
        assert expected in run("inspect", "--model", folder, "--data", tmp_path / "text.txt", "--length", 9, status=2).stderr.decode()
    folder, _ = bert_folder(tmp_path / "unknown")
    (folder / "vocab.txt").write_text("the\ncat\n")
    assert "no [UNK]" in run("inspect", "--model", folder, "--data", tmp_path / "text.txt", status=2).stderr.decode()
