"""Folders as the study's verbs write them (docs/formats.md), filled from formulas: what the tests of the report read."""

import json
import math
import random

MACHINE = {"processor": "Test processor", "cores": 2, "memory_bytes": 8_000_000_000, "isa": "avx2", "libtorch": "2.13.0", "threads": 2}


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def config(kind="linformer", steps=1000, vocabulary="a" * 64, **attention):
    return {"format_version": 1,
            "model": {"length": 128, "width": 64, "layers": 2, "heads": 4, "feed_forward": 256, "vocabulary": 256, "dropout": 0.1, "tied": False,
                      "causal": True, "position": "learned"},
            "attention": {"kind": kind, "slots": 32, "slots_by_layer": [], "sharing": "headwise", "projection": "linear", "window": 32,
                          "summary": "running", "normalise": "keys", "slot_bias": -2.0, **attention},
            "tokenizer": {"name": "bytes", "hash": vocabulary},
            "train": {"steps": steps, "batch": 8, "accumulate": 1, "learning_rate": 0.0005},
            "data": {"folder": "data/novels", "vocabulary_hash": vocabulary, "train_tokens": 1000, "validation_tokens": 100}, "seed": 0}


def run(folder, steps=1000, floor=1.6, rate=20000, kind="linformer", every=50, bytes_per_token=1.0, seed=0, **more):
    """A run whose loss falls to `floor`."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(kind, steps, **more)))
    lines = []
    for step in range(1, steps + 1):
        loss = floor + 3.9 * math.exp(-step / (steps / 12)) + 0.6 * math.exp(-step / (steps / 3)) + draw.gauss(0, 0.04)
        line = {"step": step, "loss": loss, "learning_rate": 5e-4 * min(step / (steps / 20), 0.5 + 0.5 * math.cos(math.pi * step / steps)),
                "gradient_norm": 1.0, "tokens_per_second": rate * draw.uniform(0.95, 1.05), "time": 1.7e9 + step}
        if step % every == 0:
            validation = floor + 0.08 + 3.9 * math.exp(-step / (steps / 12)) + 0.6 * math.exp(-step / (steps / 3))
            line |= {"validation_loss": validation, "perplexity": math.exp(validation), "bits_per_byte": validation / math.log(2) / bytes_per_token}
        lines.append(line)
    write_lines(folder / "metrics.jsonl", lines)
    return folder


def audit(folder, verdict="clean"):
    leak = {"changed": 70, "seen_at": 12, "change": 0.31} if verdict == "leaks" else None
    (folder / "audit.json").write_text(json.dumps({
        "type": "audit", "model": str(folder), "verdict": verdict, "dtype": "float64", "lengths": [63, 128], "layers_checked": 2, "first_leak": leak,
        "largest_change": 0.31 if leak else 0.0, "threshold": 1e-9, "by_distance": [], "gradient": {"largest": 0, "output": 3, "input": 9},
        "text": "random", "machine": MACHINE, "command": f"linformer audit --model {folder}"}))


def samples(folder, text="It was a bright morning, and nothing moved on the water."):
    write_lines(folder / "samples.jsonl", [{"prompt": text[:8], "text": text, "tokens_per_second": 4321.0}])


def point(preset, task, form, length, seconds, memory, batch=4, status="ok", **more):
    shape = {"type": "point", "preset": preset, "task": task, "form": form, "sharing": "headwise", "length": length, "slots": 64, "window": 128, "batch": batch,
             "width": 256, "layers": 4, "heads": 4, "vocabulary": 256, "dtype": "float32", "threads": 2, **more}
    if status != "ok":
        return {**shape, "status": status, "reason": "needs 40 GB, 6 GB are free"}
    tokens = batch * length
    return {**shape, "status": "ok", "rounds": [seconds] * 3, "seconds": seconds, "low": 0.97 * seconds, "high": 1.05 * seconds, "tokens": tokens,
            "tokens_per_second": tokens / seconds, "resident_peak_bytes": memory, "gemm_gflops": 90.0, "mfu": 0.4}


def grid_points(preset="crossover", task="train"):
    points = []
    for length in (256, 512, 1024, 2048, 4096, 8192, 16384):
        fits = length <= 8192
        points.append(point(preset, task, "softmax", length, 1.5e-4 * length + 4.2e-8 * length ** 2, 9e3 * length + 30 * length ** 2) if fits
                      else point(preset, task, "softmax", length, 0, 0, status="memory"))
        for i, form in enumerate(("prefix", "running", "block")):
            points.append(point(preset, task, form, length, (1.9e-4 + 2e-5 * i) * length, (2.3e4 + 2e3 * i) * length))
    return points


def benchmark(folder):
    lines = [{"type": "machine", **MACHINE, "version": "0.1.0", "preset": "crossover", "command": "linformer benchmark --preset crossover --out B", "time": 1.7e9}]
    lines += grid_points()
    lines += [{"type": "crossover", "form": form, "task": "train", "time_length": n, "memory_length": m, "longest_tried": 16384}
              for form, n, m in (("prefix", 1024, 512), ("running", 2048, 1024), ("block", 2048, None))]
    for slots in (32, 64, 128, 256):
        lines.append(point("seed-inference", "generate", "running", 4096, 1.0 + slots / 200, 4e7, batch=1, decode="stream", slots=slots))
        lines.append(point("seed-inference", "generate", "running", 4096, 90 + slots / 5, 9e7, batch=1, decode="reread", slots=slots))
    lines.append(point("seed-inference", "generate", "softmax", 4096, 9.1, 2.1e8, batch=1))
    for length in (512, 1024, 2048, 4096, 8192, 16384, 32768):
        for slots in (128, 256, 512, 1024, 2048):
            if slots < length:
                for against, unit in (("softmax-plain", 1.0), ("softmax", 0.45)):
                    lines.append({"type": "saving", "preset": "paper-table3", "length": length, "slots": slots, "against": against,
                                  "time_saved": unit * (0.6 + length / (900 + 2.4 * slots)), "memory_saved": unit * (0.7 + length / (1.5 * slots)), "batch": 2,
                                  "linformer_batch": 9, "budget_bytes": 2e9})
    # The plain Transformer has outgrown the memory.
    lines += [{"type": "saving", "preset": "paper-table3", "length": 65536, "slots": k, "against": "softmax-plain", "batch": 0, "linformer_batch": 2, "budget_bytes": 2e9} for k in (128, 256)]
    for form, seconds in (("softmax", 1.9), ("running", 1.3)):
        lines.append(point("seed-training", "train", form, 512, seconds, 1e9, batch=16))
        lines += [{"type": "steps", "preset": "seed-training", "form": form, "steps": n, "seconds": n * seconds, "how": "measured seconds a step, times steps"} for n in (500, 3000)]
    lines += [{"type": "largest", "preset": "seed-memory", "form": form, "what": "length", "value": n, "budget_bytes": 2e9} for form, n in (("softmax", 6144), ("running", 40960))]
    write_lines(folder / "benchmark.jsonl", lines)
    return folder


def spread(value, by=0.02):
    return {"mean": value, "low": value - by, "high": value + by}


def ablation(folder, name="kinds", title="Kind of attention", points=("running", "block", "prefix", "window-only", "softmax"), recall=False):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ablation.json").write_text(json.dumps({"type": "ablation", "name": name, "title": title, "grid": {"base": "tiny"}, "base": points[0],
                                                      "command": f"linformer ablate --grid {name}.toml --out {folder}", "machine": MACHINE}))
    rows = []
    for i, at in enumerate(points):
        loss = 1.71 + 0.043 * ((i * 7) % 5)
        seeds = [{"seed": s, "steps": 400, "validation_loss": loss + 0.01 * (s - 1), "bits_per_byte": 1.44 * loss, "tokens_per_second": 9000 + 900 * i, "seconds": 60,
                  "slot_bias": [[-3.5 + i, -2.9], [-1.2, 0.3 * i]], "state_bytes": 20000 * 2 ** i} for s in (0, 1, 2)]
        row = {"type": "ablation-row", "point": at, "changes": {"attention.kind": at} if i else {}, "parameters": 420_000 + 70_000 * (i == 3), "parameters_differ": i == 3,
               "seeds": seeds, "validation_loss": spread(loss), "bits_per_byte": spread(1.44 * loss), "equal_time": {"seconds": 48.0, "validation_loss": spread(loss + 0.06 - 0.02 * i)}}
        row |= {"tokens": 800 if i == 2 else 1600, "tokens_differ": i == 2, "vocabulary_differs": i == 4}
        if recall:
            row["accuracy"] = spread(0.97 - 0.17 * i)
            for one in seeds:
                one["accuracy"] = row["accuracy"]["mean"]
                one["accuracy_by_distance"] = [{"distance": 2 ** d, "accuracy": max(0.03, row["accuracy"]["mean"] - 0.03 * d * i)} for d in range(2, 8)]
        rows.append(row)
        for s in (0, 1, 2):
            run(folder / at / f"seed-{s}", steps=400, floor=loss - 0.1, every=80, seed=s)
    write_lines(folder / "table.jsonl", rows)
    return folder


def inspection(folder, model="runs/softmax"):
    length, layers, heads = 128, 4, 4
    positions = list(range(1, length + 1))
    share = [[[1 - math.exp(-p * (layer + 1) * (1 + 0.2 * head) / 40) for p in positions] for head in range(heads)] for layer in range(layers)]
    lines = [{"type": "spectrum", "model": model, "text": "novel.txt", "length": length, "layers": layers, "heads": heads, "matrices": 16, "positions": positions,
              "cumulative": share, "slots": 32, "at_slots": [[head[31] for head in layer] for layer in share]}]
    for layer in range(2):
        for which in ("key", "value"):
            values = [[abs(math.sin((i + 1) * (j + 1 + layer) / 25)) for j in range(64)] for i in range(16)]
            lines.append({"type": "projection", "model": model, "layer": layer, "head": None, "which": which, "rows": 16, "columns": 64, "values": values})
        for head in range(heads):
            lines.append({"type": "weights", "model": model, "layer": layer, "head": head, "slot_share": 0.1 + 0.08 * head + 0.1 * layer, "window_share": 0.5,
                          "by_position": [0.01 * i * (1 + layer) / 2 for i in range(32)]})
            values = [[1 / (1 + abs(i - j)) if j <= i else 0.0 for j in range(48)] for i in range(48)]
            lines.append({"type": "attention", "model": model, "layer": layer, "head": head, "rows": 48, "columns": 48, "values": values})
    write_lines(folder / "inspect.jsonl", lines)
    return folder


def evaluation_line(model, data="data/novels", length=1024, trained=256, drop=0.1, octaves=None, **more):
    """Loss that falls by `drop` with each octave of position."""
    starts = [0] + [128 * 2 ** i for i in range(20) if 128 * 2 ** i < length]
    by_position = [{"from": start, "to": min(length, max(128, 2 * start)) - 1, "loss": 2.5 - drop * i, "standard_error": 0.01, "tokens": 8 * (min(length, max(128, 2 * start)) - start)}
                   for i, start in enumerate(starts)]
    config_of = config(**more)
    config_of["model"]["length"] = trained
    by_depth = [{"from": i / 10, "to": (i + 1) / 10, "keys": 9, "accuracy": 1 - i / 20, "found": 1 - i / 12} for i in range(10)] if data.startswith("passkey") else None
    by_position = [] if by_depth else by_position
    return {"type": "evaluation", "model": model, "data": data, "length": length, "loss": 2.2, "perplexity": 9.0, "bits_per_byte": 2.2 / math.log(2), "tokens": 8 * length, "seconds": 1.5,
            "loss_by_position": by_position if octaves is None else octaves, **({"accuracy": 0.8, "found": 0.6, "accuracy_by_depth": by_depth} if by_depth else {}), "config": {name: config_of[name] for name in ("model", "attention")}, "tokenizer": config_of["tokenizer"],
            "version": "0.1.0", "command": f"linformer evaluate --model {model} --by-position", "time": 1.7e9}


def evaluation(folder, lines=None):
    write_lines(folder / "evaluate.jsonl", lines or [evaluation_line("runs/running", position="rotary"), evaluation_line("runs/softmax", kind="softmax", length=256), evaluation_line("runs/running", data="code", drop=0.2),
                                                     evaluation_line("runs/running", data="passkey"), evaluation_line("runs/softmax", data="passkey", kind="softmax")])
    return folder
