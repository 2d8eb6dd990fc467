"""`linformer logits` against a forward pass in plain PyTorch, written from the maths alone.

`Oracle` reads config.json and model.safetensors (docs/model_format.md) and computes in float64, position by position: no chunk, no block
tensor, no reassociation. Shape letters: N ids, d width, H heads, D head width, K slots, P model.length, W window, r slots a block.
"""

import json
import math
import os
import struct
import subprocess

import numpy as np
import pytest
import torch

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
VOCABULARY, LENGTH, WIDTH, HEADS, LAYERS = 37, 24, 12, 3, 2
# The program computes in float32, the oracle in float64; logits are of order 1.
TOLERANCE = 2e-5
torch.set_num_threads(1)  # the oracle's tensors are tiny


def read_safetensors(path):
    """Tensors by name, by hand: this is the check of what the program writes."""
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32"
        begin, end = entry["data_offsets"]
        tensors[name] = torch.from_numpy(np.frombuffer(raw[8 + size + begin : 8 + size + end], "<f4").copy().reshape(entry["shape"]))
    return tensors


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        content = tensor.to(torch.float32).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class Oracle:
    def __init__(self, folder):
        config = json.load(open(folder / "config.json"))
        assert config["format_version"] == 1
        self.model, self.attention = config["model"], config["attention"]
        self.tensors = {name: tensor.double() for name, tensor in read_safetensors(folder / "model.safetensors").items()}
        self.width, self.heads = self.model["width"], self.model["heads"]
        self.head_width = self.width // self.heads
        self.group = self.heads // (self.model["key_value_heads"] or self.heads)  # query heads for each head of keys

    def get(self, name):
        return self.tensors[name]

    def linear(self, name, x):
        product = x @ self.get(name + ".weight").T
        biased = self.model["bias"] or name.endswith("attention.gate")
        assert (name + ".bias" in self.tensors) == biased
        return product + self.get(name + ".bias") if biased else product

    def norm(self, name, x):
        if self.model["norm"] == "rms":
            assert name + ".bias" not in self.tensors
            return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-5) * self.get(name + ".weight")
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        normed = (x - mean) / torch.sqrt(variance + 1e-5) * self.get(name + ".weight")
        return normed + self.get(name + ".bias") if self.model["bias"] else normed

    def optional_norm(self, name, x):
        return self.norm(name, x) if name + ".weight" in self.tensors else x

    def logits(self, ids):
        n = len(ids)
        x = self.get("token_embedding.weight")[ids]
        if self.model["position"] == "learned":
            x = x + self.get("position_embedding.weight")[:n]
        elif self.model["position"] == "sinusoidal":
            x = x + torch.tensor([[self.sinusoid(p, c) for c in range(self.width)] for p in range(n)], dtype=torch.float64)
        for layer in range(self.model["layers"]):
            name = f"blocks.{layer}"
            x = x + self.attend(layer, self.norm(name + ".attention_norm", x))
            normed = self.norm(name + ".feed_forward_norm", x)
            hidden = self.linear(name + ".feed_forward.up", normed)
            if self.model["feed_forward_kind"] == "swiglu":
                gate = self.linear(name + ".feed_forward.gate", normed)
                hidden = gate / (1 + torch.exp(-gate)) * hidden
            else:
                hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
            x = x + self.linear(name + ".feed_forward.down", hidden)
        output = self.get("token_embedding.weight" if self.model["tied"] else "output.weight")
        return self.norm("final_norm", x) @ output.T

    def sinusoid(self, position, column):
        angle = position / 10000 ** (2 * (column // 2) / self.width)
        return math.sin(angle) if column % 2 == 0 else math.cos(angle)

    def attend(self, layer, x):
        name = f"blocks.{layer}.attention"
        query, key, value = (self.linear(f"{name}.{part}", x) for part in ("query", "key", "value"))
        outputs = []
        for head in range(self.heads):
            of = lambda number: slice(number * self.head_width, (number + 1) * self.head_width)
            own = of(head // self.group)
            outputs.append(self.head(layer, head, x, query[:, of(head)], key[:, own], value[:, own]))
        return self.linear(name + ".output", torch.cat(outputs, -1))

    def turned(self, x, first):
        """Rotary positions by complex numbers: rows of D stand at positions from `first` on."""
        if self.model["position"] != "rotary":
            return x
        half = self.head_width // 2
        base = self.model["rotary_base"] or 10000.0
        rows = []
        for row, vector in enumerate(x):
            angles = torch.tensor([(first + row) * base ** (-2 * i / self.head_width) for i in range(half)], dtype=torch.float64)
            turned = torch.complex(vector[:half], vector[half:]) * torch.polar(torch.ones(half, dtype=torch.float64), angles)
            rows.append(torch.cat([turned.real, turned.imag]))
        return torch.stack(rows)

    def mix(self, q, keys, values, bias=None):
        logits = keys @ q / math.sqrt(self.head_width)
        return torch.softmax(logits if bias is None else logits + bias, 0) @ values

    def head(self, layer, head, x, query, key, value):
        """One head over the whole sequence: each (N,D)."""
        n, causal, window = len(x), self.model["causal"], self.attention["window"]
        if self.is_softmax(layer):
            query, key = self.turned(query, 0), self.turned(key, 0)
            return torch.stack([self.mix(query[t], *((key[: t + 1], value[: t + 1]) if causal else (key, value))) for t in range(n)])
        slots = self.slots_of(layer)
        if not causal:
            slot_keys, slot_values = self.summarise(layer, head, x, key, value, slots, self.model["length"])
            return torch.stack([self.mix(query[t], slot_keys, slot_values) for t in range(n)])
        if not window:
            rows = [self.summarise(layer, head, x[: t + 1], key[: t + 1], value[: t + 1], slots, self.model["length"]) for t in range(n)]
            return torch.stack([self.mix(query[t], *rows[t]) for t in range(n)])
        return torch.stack([self.window_row(layer, head, x, query, key, value, t) for t in range(n)])

    def is_softmax(self, layer):
        return self.attention["kind"] == "softmax" or layer in self.attention.get("softmax_layers", [])

    def owner(self, layer):
        """Of the projection: with layerwise sharing the first layer that has slots."""
        first = min(layer for layer in range(self.model["layers"]) if not self.is_softmax(layer))
        return f"blocks.{first if self.attention['sharing'] == 'layerwise' else layer}.attention"

    def slots_of(self, layer):
        by_layer = self.attention["slots_by_layer"]
        return by_layer[layer] if by_layer else self.attention["slots"]

    def window_row(self, layer, head, x, query, key, value, t):
        """Position t of block c: exact keys of blocks c-1 and c up to t, slots of blocks 0..c-2."""
        name, window, slots = f"blocks.{layer}.attention", self.attention["window"], self.slots_of(layer)
        block = t // window
        near = slice(max(block - 1, 0) * window, t + 1)
        # What counts is the distance, so the query stays and keys are turned by it. Slots have no position.
        keys = self.turned(self.optional_norm(name + ".window_key_norm", key[near]), near.start - t)
        values = self.optional_norm(name + ".window_value_norm", value[near])
        # Sinks are seen exactly for ever. No slot takes them in, whose sums meet zeros in their place.
        sinks = self.attention.get("sinks", 0)
        if sinks and block >= 2:
            keys = torch.cat([self.turned(self.optional_norm(name + ".window_key_norm", key[:sinks]), -t), keys])
            values = torch.cat([self.optional_norm(name + ".window_value_norm", value[:sinks]), values])
        rest = (torch.arange(len(key)) >= sinks).double()[:, None]
        slot_keys, slot_values = self.window_slots(layer, head, x, key * rest, value * rest, slots, max(block - 1, 0))
        slot_keys = self.optional_norm(name + ".slot_key_norm", slot_keys)
        slot_values = self.optional_norm(name + ".slot_value_norm", slot_values)
        bias = torch.zeros(len(slot_keys) + len(keys), dtype=torch.float64)
        if name + ".slot_bias" in self.tensors:
            bias[: len(slot_keys)] = self.get(name + ".slot_bias")[head]
        if self.attention["projection"] == "cluster" and len(slot_keys):
            end = (block - 1) * window
            bias[: len(slot_keys)] += torch.log(self.cluster(self.owner(layer), head // self.group, key[:end], value[:end], slots)[2])
        return self.mix(query[t], torch.cat([slot_keys, keys]), torch.cat([slot_values, values]), bias)

    def window_slots(self, layer, head, x, key, value, slots, finished):
        """Slots of the first `finished` blocks; none before the first."""
        window = self.attention["window"]
        if finished == 0:
            return key[:0], value[:0]
        if self.attention["summary"] == "running":
            end = finished * window
            return self.summarise(layer, head, x[:end], key[:end], value[:end], slots, self.model["length"])
        per_block = slots * window // self.model["length"]
        parts = [slice(b * window, (b + 1) * window) for b in range(finished)]
        made = [self.summarise(layer, head, x[p], key[p], value[p], per_block, window, p.start) for p in parts]
        return torch.cat([m[0] for m in made]), torch.cat([m[1] for m in made])

    def summarise(self, layer, head, x, key, value, slots, length, first=0):
        """`slots` slot keys and values of M <= length positions, the first of which is `first`."""
        head = head // self.group  # slots are those of the head of keys
        projection, sharing = self.attention["projection"], self.attention["sharing"]
        owner = self.owner(layer)
        m = len(key)
        if projection == "dynamic":
            scores = self.linear(owner + ".projection", x)[:, head * slots : (head + 1) * slots]  # (M,K)
            if first < self.attention.get("sinks", 0):
                scores[: self.attention["sinks"] - first] = -math.inf
            weights = torch.softmax(scores, 0).T
            return weights @ key, weights @ value
        segment = length // slots
        parts = [slice(s, min(s + segment, m)) for s in range(0, m, segment)]
        if projection == "mean":
            return torch.stack([key[p].mean(0) for p in parts]), torch.stack([value[p].mean(0) for p in parts])
        if projection == "max":
            return torch.stack([key[p].amax(0) for p in parts]), torch.stack([value[p].amax(0) for p in parts])
        if projection == "periodic":
            return self.fade(layer, head, key, value, slots)
        if projection == "gated":
            slot_keys = slot_values = torch.zeros(slots, self.head_width, dtype=torch.float64)
            gates = torch.sigmoid(self.linear(owner + ".gate", x)[:, head * slots : (head + 1) * slots]) ** (1 / 8)
            for t in range(m):
                kept = gates[t][:, None]
                slot_keys = kept * slot_keys + (1 - kept) * key[t]
                slot_values = kept * slot_values + (1 - kept) * value[t]
            return slot_keys, slot_values
        if projection == "cluster":
            sums = self.cluster(owner, head, key, value, slots)
            mass = sums[2][:, None]
            return sums[0] / mass, sums[1] / mass
        e = self.get(owner + ".projection_key")
        f = e if sharing in ("key-value", "layerwise") else self.get(owner + ".projection_value")
        if sharing == "none":
            assert len(e) == len(f) == self.heads // self.group
            e, f = e[head], f[head]
        if projection == "convolution":
            assert e.shape == f.shape == (segment,)
            convolve = lambda kernel, y: torch.stack([kernel[: p.stop - p.start] @ y[p] for p in parts])
            return convolve(e, key), convolve(f, value)
        assert e.shape == f.shape == (slots, length)
        return e[:, :m] @ key, f[:, :m] @ value


    def cluster(self, owner, head, key, value, slots):
        """Sums of keys and of values, and the mass: each position goes to the entries of the codebook that its key is like."""
        codebook, sharpness = self.get(owner + ".codebook")[head], torch.exp(self.get(owner + ".sharpness")[head])
        assert codebook.shape == (slots, self.head_width)
        keys, values, mass = torch.zeros_like(codebook), torch.zeros_like(codebook), torch.zeros(slots, dtype=torch.float64)
        for t in range(self.attention.get("sinks", 0), len(key)):
            likeness = torch.stack([key[t] @ code / (key[t].norm() * code.norm()) for code in codebook])
            share = torch.softmax(sharpness * math.sqrt(self.head_width) * likeness, 0)
            keys, values, mass = keys + share[:, None] * key[t], values + share[:, None] * value[t], mass + share
        return keys, values, mass

    def fade(self, layer, head, key, value, slots):
        """Whole blocks only: what block b adds is weighted by lambda to the number of blocks after it."""
        window, period, sharing = self.attention["window"], self.attention["period"], self.attention["sharing"]
        owner = self.owner(layer)
        e = self.get(owner + ".projection_key")
        f = e if sharing in ("key-value", "layerwise") else self.get(owner + ".projection_value")
        if sharing == "none":
            e, f = e[head], f[head]
        assert e.shape == f.shape == (slots, period)
        fading = 1 / (1 + torch.exp(-self.get(f"blocks.{layer}.attention.decay")[head]))
        blocks = len(key) // window
        assert len(key) % window == 0 and fading.shape == (slots,)
        slot_keys = slot_values = torch.zeros(slots, self.head_width, dtype=torch.float64)
        for t in range(len(key)):
            weight = fading ** (blocks - 1 - t // window)
            slot_keys = slot_keys + (weight * e[:, t % period])[:, None] * key[t]
            slot_values = slot_values + (weight * f[:, t % period])[:, None] * value[t]
        return slot_keys, slot_values


def full_config(model=None, attention=None):
    config = {
        "format_version": 1,
        "model": {
            "length": LENGTH, "width": WIDTH, "layers": LAYERS, "heads": HEADS, "feed_forward": 20, "vocabulary": VOCABULARY, "dropout": 0.1,
            "tied": False, "causal": True, "position": "learned", "rotary_base": 0, "norm": "layer", "feed_forward_kind": "gelu", "bias": True, "key_value_heads": 0,
        },
        "attention": {
            "kind": "linformer", "slots": 6, "slots_by_layer": [], "sharing": "headwise", "projection": "linear", "period": 0, "window": 4,
            "summary": "running", "normalise": "keys", "slot_bias": -2.0,
        },
    }
    config["model"].update(model or {})
    config["attention"].update(attention or {})
    return config


def shapes_of(config):
    """Names and shapes of model.safetensors, as docs/model_format.md has them."""
    shapes = all_shapes_of(config)
    if config["model"]["norm"] == "rms":
        shapes = {name: shape for name, shape in shapes.items() if not name.endswith("norm.bias")}
    return shapes if config["model"]["bias"] else {name: shape for name, shape in shapes.items() if not name.endswith(".bias") or name.endswith("attention.gate.bias")}


def all_shapes_of(config):
    model, attention = config["model"], config["attention"]
    d, heads, length, hidden = model["width"], model["heads"], model["length"], model["feed_forward"]
    shapes = {"token_embedding.weight": (model["vocabulary"], d)}
    if model["position"] == "learned":
        shapes["position_embedding.weight"] = (length, d)
    for layer in range(model["layers"]):
        block = f"blocks.{layer}"
        for norm in ("attention_norm", "feed_forward_norm"):
            shapes[f"{block}.{norm}.weight"] = shapes[f"{block}.{norm}.bias"] = (d,)
        keys = (model["key_value_heads"] or heads) * d // heads
        for part, rows in (("query", d), ("key", keys), ("value", keys), ("output", d)):
            shapes[f"{block}.attention.{part}.weight"], shapes[f"{block}.attention.{part}.bias"] = (rows, d), (rows,)
        if model["feed_forward_kind"] == "swiglu":
            shapes[f"{block}.feed_forward.gate.weight"], shapes[f"{block}.feed_forward.gate.bias"] = (hidden, d), (hidden,)
        shapes[f"{block}.feed_forward.up.weight"], shapes[f"{block}.feed_forward.up.bias"] = (hidden, d), (hidden,)
        shapes[f"{block}.feed_forward.down.weight"], shapes[f"{block}.feed_forward.down.bias"] = (d, hidden), (d,)
        if attention["kind"] == "linformer" and layer not in attention.get("softmax_layers", []):
            shapes.update(attention_shapes(config, layer, block + ".attention"))
    shapes["final_norm.weight"] = shapes["final_norm.bias"] = (d,)
    if not model["tied"]:
        shapes["output.weight"] = (model["vocabulary"], d)
    return shapes


def attention_shapes(config, layer, name):
    model, attention = config["model"], config["attention"]
    heads, window, sharing = model["key_value_heads"] or model["heads"], attention["window"], attention["sharing"]
    slots = attention["slots_by_layer"][layer] if attention["slots_by_layer"] else attention["slots"]
    length = model["length"]
    if window and attention["summary"] == "block":
        slots, length = slots * window // length, window
    shapes = {}
    first = min(layer for layer in range(model["layers"]) if layer not in attention.get("softmax_layers", []))
    if sharing != "layerwise" or layer == first:
        if attention["projection"] == "dynamic":
            shapes[name + ".projection.weight"], shapes[name + ".projection.bias"] = (heads * slots, model["width"]), (heads * slots,)
        elif attention["projection"] == "gated":
            shapes[name + ".gate.weight"], shapes[name + ".gate.bias"] = (heads * slots, model["width"]), (heads * slots,)
        elif attention["projection"] == "cluster":
            shapes[name + ".codebook"], shapes[name + ".sharpness"] = (heads, slots, model["width"] // model["heads"]), (heads,)
        elif attention["projection"] in ("linear", "convolution", "periodic"):
            columns = attention["period"] if attention["projection"] == "periodic" else length
            shape = (length // slots,) if attention["projection"] == "convolution" else (slots, columns)
            shape = (heads, *shape) if sharing == "none" else shape
            shapes[name + ".projection_key"] = shape
            if sharing not in ("key-value", "layerwise"):
                shapes[name + ".projection_value"] = shape
    if attention["projection"] == "periodic":
        shapes[name + ".decay"] = (heads, slots)
    if window:
        normed = {"none": (), "keys": ("key",), "both": ("key", "value")}[attention["normalise"]]
        for part in (f"{place}_{kind}_norm" for place in ("slot", "window") for kind in normed):
            shapes[f"{name}.{part}.weight"] = shapes[f"{name}.{part}.bias"] = (model["width"] // model["heads"],)
        if attention["slot_bias"] != "none":
            shapes[name + ".slot_bias"] = (model["heads"],)
    return shapes


def make_model(folder, config, seed=0):
    """A model of random weights, large enough that every part shows in the logits."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    draw = lambda shape, scale: torch.randn(shape, generator=generator) * scale
    tensors = {}
    for name, shape in shapes_of(config).items():
        scale = 0.7 if name.endswith("embedding.weight") else 0.3
        tensors[name] = draw(shape, scale) + (1 if name.endswith("norm.weight") else 0)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run(*arguments, status=0, stdin=None):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, input=stdin, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == status, result.stderr.decode(errors="replace")
    return result


def program_logits(folder, ids, out):
    result = run("logits", "--model", folder, "--ids", ",".join(map(str, ids)), "--out", out, "--threads", 1, "--json")
    summary = json.loads(result.stdout)
    assert (summary["tokens"], summary["vocabulary"], summary["out"]) == (len(ids), VOCABULARY, str(out))
    tensors = read_safetensors(out)
    assert list(tensors) == ["logits"]
    return tensors["logits"]


def bidirectional(**attention):
    return {"causal": False}, {"window": 0, "normalise": "none", "slot_bias": "none", **attention}


def prefix(**attention):
    return {}, {"window": 0, "normalise": "none", "slot_bias": "none", **attention}


def window(**attention):
    return {}, attention


CASES = {
    "softmax causal": ({}, {"kind": "softmax"}),
    "softmax bidirectional": ({"causal": False}, {"kind": "softmax"}),
    **{f"bidirectional {sharing}": bidirectional(sharing=sharing) for sharing in ("none", "headwise", "key-value", "layerwise")},
    **{f"bidirectional {kind}": bidirectional(projection=kind) for kind in ("dynamic", "convolution", "mean", "max")},
    "bidirectional convolution none": bidirectional(projection="convolution", sharing="none"),
    "bidirectional convolution key-value": bidirectional(projection="convolution", sharing="key-value"),
    "bidirectional dynamic layerwise": bidirectional(projection="dynamic", sharing="layerwise"),
    "bidirectional by layer": bidirectional(slots_by_layer=[8, 3], projection="convolution"),
    **{f"prefix {sharing}": prefix(sharing=sharing) for sharing in ("none", "headwise", "key-value", "layerwise")},
    **{f"running {sharing}": window(sharing=sharing) for sharing in ("none", "headwise", "key-value", "layerwise")},
    **{f"running normalise {n}": window(normalise=n) for n in ("none", "both")},
    "running no bias": window(slot_bias="none", normalise="none"),
    "running odd window": window(window=5, slots=7),
    **{f"block {sharing}": window(summary="block", slots=12, sharing=sharing) for sharing in ("none", "headwise", "key-value", "layerwise")},
    **{f"block {kind}": window(summary="block", slots=12, projection=kind) for kind in ("dynamic", "convolution", "mean", "max")},
    "block dynamic layerwise both": window(summary="block", slots=12, projection="dynamic", sharing="layerwise", normalise="both"),
    "block by layer, no bias": window(summary="block", slots_by_layer=[12, 6], slot_bias="none", normalise="none"),
    "running by layer": window(slots_by_layer=[9, 2]),
    **{f"periodic {sharing}": window(projection="periodic", period=8, sharing=sharing) for sharing in ("none", "headwise", "key-value", "layerwise")},
    "periodic by layer": window(projection="periodic", period=12, slots_by_layer=[9, 2], normalise="both"),
    **{f"gated {sharing}": window(projection="gated", sharing=sharing) for sharing in ("none", "headwise", "layerwise")},
    **{f"gated normalise {n}": window(projection="gated", normalise=n) for n in ("none", "both")},
    "gated by layer": window(projection="gated", slots_by_layer=[9, 2], window=5),
    "gated sinks rotary": ({"position": "rotary"}, {"projection": "gated", "sinks": 3}),
    **{f"cluster {sharing}": window(projection="cluster", sharing=sharing) for sharing in ("none", "headwise", "layerwise")},
    **{f"cluster normalise {n}": window(projection="cluster", normalise=n) for n in ("none", "both")},
    "cluster unbiased": window(projection="cluster", normalise="none", slot_bias="none"),
    "cluster by layer": window(projection="cluster", slots_by_layer=[9, 2], window=5),
    "cluster sinks rotary": ({"position": "rotary"}, {"projection": "cluster", "sinks": 3}),
    "cluster grouped": ({"heads": 4, "key_value_heads": 2}, {"projection": "cluster"}),
    "hybrid": window(softmax_layers=[0], normalise="both"),
    "hybrid layerwise": ({"layers": 3}, {"softmax_layers": [0], "sharing": "layerwise", "slots_by_layer": [0, 6, 6]}),
    "hybrid dynamic layerwise": ({"layers": 3}, {"softmax_layers": [0], "summary": "block", "slots": 12, "projection": "dynamic", "sharing": "layerwise"}),
    "hybrid bidirectional": bidirectional(softmax_layers=[1]),
    "hybrid prefix": prefix(softmax_layers=[0]),
    "hybrid rotary": ({"position": "rotary"}, {"softmax_layers": [1]}),
    **{f"sinks {n}": window(sinks=n, normalise=normalise) for n, normalise in ((1, "none"), (3, "both"), (4, "keys"))},
    **{f"sinks block {kind}": window(sinks=3, summary="block", slots=12, projection=kind) for kind in ("linear", "dynamic", "convolution", "mean")},
    "sinks periodic rotary": ({"position": "rotary"}, {"sinks": 2, "projection": "periodic", "period": 8, "normalise": "both"}),
    "sinks rotary block": ({"position": "rotary", "rotary_base": 30.0}, {"sinks": 4, "summary": "block", "slots": 12}),
    "sinks hybrid": window(sinks=2, softmax_layers=[0]),
    "tied": ({"tied": True}, {}),
    "sinusoidal": ({"position": "sinusoidal"}, {}),
    "rotary": ({"position": "rotary", "rotary_base": 30.0}, {"normalise": "both"}),
    "rotary softmax": ({"position": "rotary"}, {"kind": "softmax"}),
    "no position, one head": ({"position": "none", "heads": 1}, {}),
}


BLOCKS = [
    {"norm": norm, "feed_forward_kind": kind, "bias": bias, "position": position, "width": 16, "heads": 4, "key_value_heads": groups}
    for norm in ("layer", "rms") for kind in ("gelu", "swiglu") for bias in (True, False) for position in ("learned", "none", "rotary") for groups in (0, 2)
]
FORMS = {
    "softmax": ({}, {"kind": "softmax"}),
    "bidirectional-softmax": ({"causal": False}, {"kind": "softmax"}),
    "bidirectional": bidirectional(),
    "bidirectional dynamic": bidirectional(projection="dynamic"),
    "prefix": prefix(sharing="none"),
    "running": window(normalise="both", sharing="none"),
    "block": window(summary="block", slots=12, projection="dynamic", sharing="none"),
    "periodic": window(projection="periodic", period=8),
    "gated": window(projection="gated"),
    "cluster": window(projection="cluster"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_block_with_every_form(form, tmp_path):
    model, attention = FORMS[form]
    for number, block in enumerate(BLOCKS):
        if block["position"] == "rotary" and form in ("bidirectional", "bidirectional dynamic", "prefix"):
            continue  # nothing there stands somewhere: see test_rotary_is_for_keys
        folder = make_model(tmp_path / str(number), full_config({**model, **block}, attention), seed=number)
        compare(folder, [19, LENGTH, 23, 13][number % 4], tmp_path)


def test_rotary_is_for_keys(tmp_path):
    for number, form in enumerate(("bidirectional", "bidirectional dynamic", "prefix")):
        model, attention = FORMS[form]
        folder = make_model(tmp_path / str(number), full_config({**model, "position": "rotary"}, attention))
        assert b"model.position = rotary" in run("logits", "--model", folder, "--ids", "1,2", "--out", tmp_path / "x", status=2).stderr


@pytest.mark.parametrize("name", CASES)
def test_forward_pass(name, tmp_path):
    config = full_config(*CASES[name])
    folder = make_model(tmp_path / "model", config, seed=len(name))
    # One length a case, since starting the program is most of the cost; the cases of one form get different ones.
    compare(folder, [19, LENGTH, 23, 13][list(CASES).index(name) % 4], tmp_path)


def compare(folder, n, tmp_path):
    oracle = Oracle(folder)
    ids = torch.randint(VOCABULARY, (n,), generator=torch.Generator().manual_seed(n)).tolist()
    found, expected = program_logits(folder, ids, tmp_path / "x.safetensors").double(), oracle.logits(ids)
    assert found.shape == (n, VOCABULARY) and expected.std() > 0.1
    assert (found - expected).abs().max() < TOLERANCE * max(1, expected.abs().max())


@pytest.mark.parametrize("n", [1, 8, 9])
@pytest.mark.parametrize("name", ["bidirectional convolution", "running both", "block mean"])
def test_borders(name, n, tmp_path):
    """One token; whole blocks; the first token that sees a slot."""
    case = {"bidirectional convolution": bidirectional(projection="convolution"), "running both": window(normalise="both"),
            "block mean": window(summary="block", slots=12, projection="mean")}[name]
    compare(make_model(tmp_path / "model", full_config(*case)), n, tmp_path)


def test_cases_differ(tmp_path):
    """The comparison can tell the forms apart: what a wrong sharing, bias or norm would change is far above the tolerance."""
    ids = list(range(19))
    base = Oracle(make_model(tmp_path / "model", full_config()))
    right = base.logits(ids)
    for change in ("blocks.1.attention.slot_bias", "blocks.0.attention.slot_key_norm.bias", "blocks.1.attention.window_key_norm.weight",
                   "blocks.0.attention.projection_value", "blocks.1.attention.projection_key"):
        kept = base.tensors[change]
        base.tensors[change] = kept + 0.1 * torch.arange(kept.numel()).reshape(kept.shape)
        assert (base.logits(ids) - right).abs().max() > 50 * TOLERANCE, change
        base.tensors[change] = kept


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run as `train` leaves it, with its tokenizer: attention fields as the program writes them."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text("It is a truth universally acknowledged. " * 100)
    run("prepare", "--input", folder / "text.txt", "--out", folder / "data", "--tokenizer", "bytes")
    run("train", "--data", folder / "data", "--out", folder / "run", "--model.length", 24, "--model.width", 12, "--model.layers", 2,
        "--model.heads", 3, "--attention.window", 4, "--attention.slots", 6, "--train.steps", 3, "--train.batch", 2, "--train.dtype", "float32")
    return folder / "run"


def test_trained_model(trained, tmp_path):
    ids = list("acknowledged truth".encode())
    out = tmp_path / "x.safetensors"
    run("logits", "--model", trained, "--ids", ",".join(map(str, ids)), "--out", out)
    assert (read_safetensors(out)["logits"].double() - Oracle(trained).logits(ids)).abs().max() < TOLERANCE


@pytest.mark.parametrize("content", ["3,1,36", "3 1\n36\n", "[3, 1, 36]", '{"ids":[3,1,36]}\n', " 3 ,\t1,\r\n36,"])
def test_ids_files(content, tmp_path):
    folder = make_model(tmp_path / "model", full_config())
    expected = program_logits(folder, [3, 1, 36], tmp_path / "expected.safetensors")
    (tmp_path / "ids").write_text(content)
    run("logits", "--model", folder, "--ids", tmp_path / "ids", "--out", tmp_path / "x.safetensors")
    assert torch.equal(read_safetensors(tmp_path / "x.safetensors")["logits"], expected)
    run("logits", "--model", folder, "--ids", "-", "--out", tmp_path / "y.safetensors", stdin=content.encode())
    assert torch.equal(read_safetensors(tmp_path / "y.safetensors")["logits"], expected)


@pytest.mark.parametrize("ids, words", [
    ("1,37", ["37", "vocabulary of 37", "0 to 36", "tokenize"]), ("1,-1", ["id -1", "0 to 36"]), ("3,99999999999999999999", ["not an id"]),
    (",".join(["1"] * 25), ["25 ids", "model.length is 24", "at most 24"]), (",", ["no ids"]), ("1,,2-", ["2-"]),
])
def test_wrong_ids(ids, words, tmp_path):
    folder = make_model(tmp_path / "model", full_config())
    error = run("logits", "--model", folder, "--ids", ids, "--out", tmp_path / "x", status=2).stderr.decode()
    assert all(word in error for word in words), error
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("content", [b"", b"1 two", b"1.5", b"{}", b"[1,true]", b"[1,2", b"[]", b"\xff\xfe", b'["\xff"]', b"[18446744073709551615]"])
def test_wrong_ids_file(content, tmp_path):
    folder = make_model(tmp_path / "model", full_config())
    (tmp_path / "ids.txt").write_bytes(content)
    error = run("logits", "--model", folder, "--ids", tmp_path / "ids.txt", "--out", tmp_path / "x", status=2).stderr.decode()
    assert "ids.txt" in error


def test_other_errors(tmp_path):
    folder = make_model(tmp_path / "model", full_config())
    assert "missing.txt" in run("logits", "--model", folder, "--ids", tmp_path / "missing.txt", "--out", tmp_path / "x", status=2).stderr.decode()
    assert "nowhere" in run("logits", "--model", folder, "--ids", "1", "--out", tmp_path / "nowhere" / "x", status=2).stderr.decode()
    assert "nothing" in run("logits", "--model", tmp_path / "nothing", "--ids", "1", "--out", tmp_path / "x", status=2).stderr.decode()
    # An older result survives a failure, and no temporary file is left.
    before = sorted(os.listdir(tmp_path))
    run("logits", "--model", folder, "--ids", "1", "--out", tmp_path / "model", status=2)
    assert sorted(os.listdir(tmp_path)) == before
