#!/usr/bin/env python3
"""Writes the seeds of the fuzzers anew, into fuzz/corpus: small files such as the program writes and users bring.

Needed where a format has changed. Inputs of earlier findings, which are called finding-*, stay.
"""

import argparse
import base64
import json
import pathlib
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz/corpus"
SIZES = ["--model.length", "8", "--model.width", "4", "--model.heads", "1", "--model.layers", "1", "--attention.window", "4",
         "--attention.slots", "2", "--train.steps", "6", "--train.batch", "1", "--train.evaluate_every", "2"]


def put(fuzzer, name, data):
    folder = CORPUS / fuzzer
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def shown_bytes():
    """GPT-2's characters for bytes, by byte."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def tokenizers():
    shown = shown_bytes()
    merges = [(b"h", b"e"), (b"t", b"he"), (b" ", b"the"), (b"o", b"x"), (b"\n", b"\n")]
    tokens = [bytes([byte]) for byte in shown] + [left + right for left, right in merges]
    text = ["".join(shown[byte] for byte in token) for token in tokens]
    lines = "".join(f"{''.join(shown[b] for b in left)} {''.join(shown[b] for b in right)}\n" for left, right in merges)
    encoder = json.dumps({token: id for id, token in enumerate(text)}, ensure_ascii=False)
    put("tokenizer_merges", "small", f"#version: 0.2\n{lines}\0{encoder}")
    put("tokenizer_ranks", "small", "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    encoded = [base64.b64encode(token).decode() for token in tokens]
    for end_of_text in (False, True):
        put("tokenizer_json", f"bpe-{end_of_text}".lower(), json.dumps(
            {"format_version": 1, "name": "bpe", "kind": "bpe", "end_of_text": end_of_text, "tokens": encoded}, separators=(",", ":")))
    put("tokenizer_json", "numbers", '{"format_version":1,"name":"numbers","kind":"numbers","size":9}')


def run_folder(program, folder):
    text = folder / "text.txt"
    text.write_text("The quick brown fox. " * 20)

    def call(*arguments):
        subprocess.run([program, *map(str, arguments)], check=True, capture_output=True)

    call("prepare", "--input", text, "--out", folder / "data", "--tokenizer", "bytes")
    call("train", "--data", folder / "data", "--out", folder / "run", *SIZES)
    config = (folder / "run/config.json").read_text().replace(str(folder), "work")
    put("config_json", "run", config)
    put("metrics_lines", "metrics", (folder / "run/metrics.jsonl").read_bytes())
    put("token_file", "bytes", (folder / "data/tokens.bin").read_bytes())
    put("tokenizer_json", "bytes", (folder / "data/tokenizer.json").read_bytes())
    wide = bytearray((folder / "data/tokens.bin").read_bytes())
    wide[12:16] = struct.pack("<I", 4)  # bytes of an id
    put("token_file", "wide", bytes(wide[:256]) + b"".join(bytes(wide[i:i + 2]) + b"\0\0" for i in range(256, len(wide), 2)))


def tensors():
    def file(header, data):
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + data

    types = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
    header, size = {"__metadata__": {"format": "linformer"}}, 0
    for dtype, width in types.items():
        header[f"blocks.0.{dtype}"] = {"dtype": dtype, "shape": [2, 3], "data_offsets": [size, size + 6 * width]}
        size += 6 * width
    put("safetensors", "every_type", file(header, bytes(size)))
    fields = {"format": "linformer-state", "version": "1", "position": "7", "unread": "[3]", "seen": "[1,3]", "random": "18446744073709551615", "weights": "float32",
              "model": '{"model":{"length":8},"attention":{"slots":2}}', "model_weights_sha256": "a" * 64, "sha256": "b" * 64}
    put("saved_state", "window", file({"__metadata__": fields, "0.key": {"dtype": "F32", "shape": [1, 1, 4, 2], "data_offsets": [0, 32]},
                                       "0.slot_key": {"dtype": "F32", "shape": [1, 1, 2, 2], "data_offsets": [32, 48]}}, bytes(48)))
    put("saved_state", "words", file({"__metadata__": {**fields, "position": '"seven"', "weights": "int4"}}, b""))
    put("safetensors", "empty", file({}, b""))
    put("safetensors", "shapes", file({"scalar": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
                                       "none": {"dtype": "F32", "shape": [3, 0], "data_offsets": [4, 4]}}, bytes(4)))


def lines():
    put("metrics_lines", "samples", '{"prompt":"It was","text":"a fox","tokens_per_second":9}\n')
    put("metrics_lines", "benchmark", '{"type":"machine","processor":"x","threads":2}\n{"type":"point","task":"train","form":"running",'
        '"length":64,"batch":1,"status":"measured","seconds":0.5,"state_bytes":9}\n{"type":"saving","length":64,"saving":0.5}\n')
    put("metrics_lines", "table", '{"type":"ablation-row","point":"a","seeds":[{"seed":0,"validation_loss":2.5}],"mean":2.5}\n')
    put("metrics_lines", "inspect", '{"type":"spectrum","layer":0,"head":null,"values":[0.5,1]}\n{"type":"projection","layer":0}\n')
    put("metrics_lines", "evaluate", '{"type":"evaluation","model":"run","data":"books","length":256,"loss":2.5,"loss_by_position":[{"from":0,"to":127,"loss":3},'
        '{"from":128,"to":255,"loss":2}],"config":{"model":{"length":128}}}\n')


def texts():
    text = "The fox, a hen – día 你好 😀\r\n" * 3
    for encoding in ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32", "latin-1"):
        put("text_file", encoding, text.encode(encoding, "replace"))
    for order in ("le", "be"):
        put("text_file", f"utf-16-{order}-marked", ("\ufeff" + text).encode(f"utf-16-{order}") + b"\0")


def requests():
    put("http_request", "page", "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n")
    put("http_request", "data", "HEAD /data.json?x=1 HTTP/1.0\r\nhost:  LOCALHOST \r\n\r\nbody")


def configs():
    for path in sorted((ROOT / "configs").rglob("*.toml")):
        put("config_toml", path.stem, path.read_bytes())
    put("config_toml", "syntax", '# every kind of value\na = [1, 2.5e-3, "x\\u00e9", \'l\', true, nan, -inf, 0x1F, 1979-05-27T07:32:00Z]\n'
        'model.length = 64\n[attention]\nwindow = "auto"\nslots_by_layer = [4, 4]\n[[point]]\nname = {a.b = 1}\ntext = """\nm"""\n')
    put("config_json", "words", '{"attention":{"window":"auto","slot_bias":"none","slots_by_layer":[4,4]},"generate":{"stop":["a","\\u00e9"]}}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/linformer")
    program = parser.parse_args().program
    for path in CORPUS.glob("*/*"):
        if not path.name.startswith("finding-"):
            path.unlink()
    with tempfile.TemporaryDirectory() as folder:
        run_folder(program, pathlib.Path(folder))
    for make in (tokenizers, tensors, lines, texts, requests, configs):
        make()


if __name__ == "__main__":
    main()
