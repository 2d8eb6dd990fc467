"""`linformer generate` and `linformer evaluate` on a tiny model trained for a few steps."""

import json
import math
import os
import subprocess

import pytest

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
TEXT = "The cat sat on the mat; the café was “naïve” — déjà vu. " * 200


def run(*arguments, status=0, stdin=None):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, input=stdin, timeout=120)
    assert result.returncode == status, result.stderr.decode(errors="replace")
    return result


def train(folder, data, *flags):
    run("train", "--data", data, "--out", folder, "--model.length", 96, "--model.width", 24, "--model.layers", 2, "--model.heads", 2,
        "--model.vocabulary", 256, "--attention.window", 8, "--attention.slots", 12, "--train.batch", 4, "--train.dtype", "float32", *flags)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    run("prepare", "--input", folder / "text.txt", "--out", folder / "data", "--tokenizer", "bytes")
    return folder


@pytest.fixture(scope="module")
def model(work):
    return train(work / "run", work / "data", "--train.steps", 60, "--train.learning_rate", 0.003)


def generate(model, *flags, **options):
    return run("generate", "--model", model, *flags, **options)


def generate_json(model, *flags, **options):
    return json.loads(generate(model, "--json", *flags, **options).stdout)


def error_of(*arguments):
    result = run(*arguments, status=2)
    assert result.stdout == b""
    return result.stderr.decode()


def test_the_seed_decides(model):
    flags = ["--prompt", "The ", "--max-tokens", 60, "--temperature", 1]
    first, again, other = (generate(model, *flags, "--seed", seed).stdout for seed in (3, 3, 4))
    assert first == again != other
    assert first.startswith(b"The ") and len(first) == 4 + 60 + 1


def test_json_says_what_the_text_mode_prints(model):
    flags = ["--prompt", "The ", "--max-tokens", 50, "--seed", 9]
    result = generate_json(model, *flags)
    assert set(result) == {"prompt", "text", "tokens", "finish", "tokens_per_second", "prompt_tokens", "prompt_seconds", "decode_seconds",
                           "state_bytes", "path"}
    assert result["finish"] == "length" and result["prompt_tokens"] == 4 and len(result["tokens"]) == 50
    assert result["tokens_per_second"] > 0 and result["decode_seconds"] > 0 and result["state_bytes"] > 0
    printed = generate(model, *flags).stdout
    assert printed == b"The " + bytes(result["tokens"]) + b"\n"
    assert result["text"] == bytes(result["tokens"]).decode(errors="replace")


def test_weights_of_each_kind_and_the_path_they_take(model):
    flags = ["--prompt", "The ", "--max-tokens", 30, "--temperature", 0]
    texts = {}
    for dtype in ("auto", "float32", "bfloat16", "int8"):
        result = generate_json(model, *flags, "--dtype", dtype)
        texts[dtype] = result["tokens"]
        assert result["path"].startswith(f"decoder: {'float32' if dtype == 'auto' else dtype} weights"), result["path"]
        assert len(result["tokens"]) == 30
    assert texts["auto"] == texts["float32"]
    assert b"decoder: int8 weights" in generate(model, *flags, "--dtype", "int8", "--verbose").stderr


def test_greedy_needs_no_seed(model):
    flags = ["--prompt", "The cat", "--max-tokens", 40, "--temperature", 0]
    assert generate(model, *flags, "--seed", 1).stdout == generate(model, *flags, "--seed", 2).stdout
    one = ["--prompt", "The cat", "--max-tokens", 40]
    assert generate(model, *flags).stdout == generate(model, *one, "--top-k", 1).stdout == generate(model, *one, "--min-p", 1).stdout


def test_stop_text_is_not_printed(model):
    flags = ["--prompt", "The ", "--max-tokens", 80, "--temperature", 1, "--seed", 5]
    whole = bytes(generate_json(model, *flags)["tokens"])
    at = next(i for i in range(20, 70) if whole[i] < 128 and whole[i + 1] < 128)
    stop = whole[at : at + 2].decode()
    result = generate_json(model, *flags, "--stop", stop, "--stop", "not in it")
    end = whole.find(stop.encode())
    assert result["finish"] == "stop" and bytes(result["tokens"]) == whole[: end + 2]
    assert generate(model, *flags, "--stop", stop).stdout == b"The " + whole[:end] + b"\n"


def test_several_prompts_and_samples(model):
    flags = ["--max-tokens", 20, "--temperature", 1, "--seed", 8]
    result = generate_json(model, "--prompt", "The ", "--prompt", "a mat; the café", "--samples", 3, *flags)
    assert [sample["prompt"] for sample in result["samples"]] == ["The "] * 3 + ["a mat; the café"] * 3
    assert len({tuple(sample["tokens"]) for sample in result["samples"]}) == 6
    assert result["samples"][0]["tokens"] == generate_json(model, "--prompt", "The ", *flags)["tokens"]
    printed = generate(model, "--prompt", "The ", "--samples", 2, *flags).stdout
    assert printed.count(b"--- prompt 1, sample ") == 2


def test_prompts_from_files_and_standard_input(model, work):
    (work / "prompt.txt").write_text("the mat", encoding="utf-8")
    flags = ["--max-tokens", 10, "--temperature", 0]
    expected = generate(model, "--prompt", "the mat", *flags).stdout
    assert generate(model, "--prompt-file", work / "prompt.txt", *flags).stdout == expected
    assert generate(model, "--prompt-file", "-", *flags, stdin=b"the mat").stdout == expected


def test_overflow(model):
    message = error_of("generate", "--model", model, "--prompt", "The ", "--max-tokens", 94)
    assert "--max-tokens 93" in message and "--overflow slide" in message
    assert len(generate_json(model, "--prompt", "The ", "--max-tokens", 93)["tokens"]) == 93
    assert len(generate_json(model, "--prompt", "The ", "--max-tokens", 250, "--overflow", "slide")["tokens"]) == 250


def test_config_file_gives_way_to_flags(model, work):
    (work / "sampling.toml").write_text('[generate]\nmax_tokens = 7\ntemperature = 0\nstop = ["never"]\n')
    flags = ["--prompt", "The ", "--config", work / "sampling.toml"]
    assert len(generate_json(model, *flags)["tokens"]) == 7
    assert len(generate_json(model, *flags, "--max-tokens", 9)["tokens"]) == 9
    (work / "wrong.toml").write_text("[generate]\ntop_q = 7\n")
    assert "top_q" in error_of("generate", "--model", model, "--prompt", "a", "--config", work / "wrong.toml")


@pytest.mark.parametrize(
    "flags, expected",
    [
        ([], "no prompt"),
        (["--prompt", ""], "empty"),
        (["--prompt-file", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--prompt", "a", "--temperature", "-1"], "generate.temperature is -1"),
        (["--prompt", "a", "--top-p", "1.5"], "generate.top_p is 1.5"),
        (["--prompt", "a", "--top-k", "-4"], "generate.top_k is -4"),
        (["--prompt", "a", "--min-p", "7"], "generate.min_p is 7"),
        (["--prompt", "a", "--repetition-penalty", "0"], "generate.repetition_penalty is 0"),
        (["--prompt", "a", "--max-tokens", "0"], "generate.max_tokens is 0"),
        (["--prompt", "a", "--max-tokens", "many"], "generate.max_tokens is 'many'"),
        (["--prompt", "a", "--samples", "0"], "samples is 0"),
        (["--prompt", "a", "--overflow", "wrap"], "wrap"),
        (["--prompt", "a", "--dtype", "int4"], "int4"),
    ],
)
def test_bad_requests_end_with_status_2(model, flags, expected):
    assert expected in error_of("generate", "--model", model, *flags)


def test_fields_have_one_name_everywhere(model, tmp_path):
    """--generate.max_tokens as in config files, and --max-tokens in short."""
    short = ["--max-tokens", 7, "--temperature", 1, "--top-k", 5, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.1, "--stop", "zq",
             "--stop", "qz"]
    full = [f"--generate.{flag[2:].replace('-', '_')}" if str(flag).startswith("--") else flag for flag in short]
    written = tmp_path / "generate.toml"
    written.write_text('[generate]\nmax_tokens = 7\ntemperature = 1.0\ntop_k = 5\ntop_p = 0.9\nmin_p = 0.01\nrepetition_penalty = 1.1\n'
                       'stop = ["zq", "qz"]\n')
    base = ["--prompt", "The ", "--seed", 3]
    results = [generate_json(model, *base, *flags) for flags in (short, full, ["--config", written])]
    assert results[0]["tokens"] == results[1]["tokens"] == results[2]["tokens"] and len(results[0]["tokens"]) == 7
    assert generate_json(model, *base, "--config", written, "--generate.max_tokens", 4)["tokens"] == results[0]["tokens"][:4]


def test_a_field_given_twice(model):
    base = ["generate", "--model", model, "--prompt", "The "]
    for first, second in ("--max-tokens", "--generate.max_tokens"), ("--generate.max_tokens", "--max-tokens"), ("--max-tokens", "--max-tokens"):
        message = error_of(*base, first, 3, second, 5)
        assert "--max-tokens" in message and "as 3 and as 5" in message and "give one" in message
        assert len(generate_json(model, "--prompt", "The ", first, 3, second, 3)["tokens"]) == 3
    text = generate_json(model, "--prompt", "The ", "--temperature", 0, "--max-tokens", 40)["text"]
    stopped = generate_json(model, "--prompt", "The ", "--temperature", 0, "--max-tokens", 40, "--stop", "no such text", "--generate.stop", text[5:8])
    assert stopped["finish"] == "stop" and stopped["text"] == text[:text.index(text[5:8])]


def test_help_names_both_spellings(model):
    text = subprocess.run([PROGRAM, "generate", "--help"], capture_output=True, text=True, check=True).stdout
    for name, shown in [("max_tokens", "INT=200"), ("temperature", "FLOAT=0.8"), ("top_k", "INT=0"), ("top_p", "FLOAT=1"), ("min_p", "FLOAT=0"),
                        ("repetition_penalty", "FLOAT=1"), ("stop", "TEXT")]:
        assert f"--{name.replace('_', '-')},--generate.{name} {shown}" in " ".join(text.split())


def test_missing_model(work):
    assert "nothing-here" in error_of("generate", "--model", work / "nothing-here", "--prompt", "a")
    assert "nothing-here" in error_of("evaluate", "--model", work / "nothing-here", "--data", work / "data")


def test_a_bidirectional_model_says_why(work):
    # The weights have the same names and shapes; only the config says which way the model looks.
    folder = work / "bidirectional"
    folder.mkdir()
    softmax = train(work / "softmax", work / "data", "--attention.kind", "softmax", "--train.steps", 1)
    config = json.loads((softmax / "config.json").read_text())
    config["model"]["causal"] = False
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes((softmax / name).read_bytes())
    assert "bidirectional" in error_of("generate", "--model", folder, "--prompt", "a")
    assert "bidirectional" in error_of("evaluate", "--model", folder, "--data", work / "data")


def test_evaluate_reports_the_loss_in_three_units(model, work):
    result = json.loads(run("evaluate", "--model", model, "--data", work / "data", "--json").stdout)
    assert set(result) == {"loss", "perplexity", "bits_per_byte", "tokens", "seconds"}
    assert 0 < result["loss"] < math.log(256)
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    assert result["bits_per_byte"] == pytest.approx(result["loss"] / math.log(2))
    other = json.loads(run("evaluate", "--model", model, "--data", work / "data", "--batch", 3, "--json").stdout)
    assert other["loss"] == pytest.approx(result["loss"], rel=1e-5) and other["tokens"] == result["tokens"]


def test_evaluate_takes_a_text_whole(model, work):
    text = TEXT.encode()[:1001]
    (work / "part.txt").write_bytes(text)
    result = json.loads(run("evaluate", "--model", model, "--data", work / "part.txt", "--json").stdout)
    assert result["tokens"] == 1000
    assert b"perplexity" in run("evaluate", "--model", model, "--data", work / "part.txt").stdout
    (work / "empty.txt").write_bytes(b"")
    assert "at least 2" in error_of("evaluate", "--model", model, "--data", work / "empty.txt")


def test_evaluate_refuses_another_vocabulary(model, work):
    run("prepare", "--input", work / "text.txt", "--out", work / "gpt2", "--tokenizer", "gpt2", "--vocabulary", "corpus")
    assert "vocabulary" in error_of("evaluate", "--model", model, "--data", work / "gpt2")


@pytest.fixture(scope="module")
def endless(work):
    """A model without a table of positions."""
    return train(work / "endless", work / "data", "--train.steps", 60, "--train.learning_rate", 0.003, "--model.position", "rotary",
                 "--attention.projection", "periodic")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_text_goes_on_later_with_the_same_bits(endless, tmp_path, dtype):
    flags = ["--dtype", dtype, "--temperature", 1, "--generate.repetition_penalty", 1.1]
    whole = generate_json(endless, "--prompt", "The cat", "--max-tokens", 300, "--seed", 5, *flags)["tokens"]
    first = generate_json(endless, "--prompt", "The cat", "--max-tokens", 100, "--seed", 5, "--state-out", tmp_path / "state", *flags)["tokens"]
    later = generate_json(endless, "--state-in", tmp_path / "state", "--max-tokens", 200, "--state-out", tmp_path / "state", *flags)["tokens"]
    assert first + later == whole
    assert len(generate_json(endless, "--state-in", tmp_path / "state", "--prompt", " and", "--max-tokens", 5, *flags)["tokens"]) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_states_that_cant_be_used(model, endless, tmp_path):
    state = tmp_path / "state"
    generate(endless, "--prompt", "The cat", "--max-tokens", 3, "--state-out", state, "--dtype", "float32")

    def error(model, *flags):
        return error_of("generate", "--model", model, "--max-tokens", 3, "--dtype", "float32", *flags)

    other = error(model, "--state-in", state)
    assert 'model.position = "rotary", but this model has "learned"; use the model that made it' in other
    assert "--dtype float32" in error_of("generate", "--model", endless, "--max-tokens", 3, "--dtype", "int8", "--state-in", state)
    assert "samples" in error(endless, "--state-in", state, "--samples", 2)
    assert "slide" in error(endless, "--state-in", state, "--overflow", "slide")
    assert "--seed" in error(endless, "--state-in", state, "--seed", 3)
    assert "no folder" in error(endless, "--prompt", "x", "--state-out", tmp_path / "nowhere" / "state")
    assert "is no ordinary file" in error(endless, "--prompt", "x", "--state-out", tmp_path)
    precious = tmp_path / "thesis.txt"
    for text in "my thesis", "my thesis is long enough for the header of a file of tensors":
        precious.write_text(text)
        assert "holds something other than a state" in error(endless, "--prompt", "x", "--state-out", precious)
        assert precious.read_text() == text
    weights = (endless / "model.safetensors").read_bytes()
    assert "something other" in error(endless, "--prompt", "x", "--state-out", endless / "model.safetensors")
    assert (endless / "model.safetensors").read_bytes() == weights
    for flag in "--state-out", "--state-in":
        assert "expected the name of a file" in error(endless, "--prompt", "x", flag, "")
    assert "that generate --state-out made" in error(endless, "--state-in", precious)
    data = bytearray(state.read_bytes())
    data[-20] ^= 1
    state.write_bytes(data)
    assert "was changed after it was written" in error(endless, "--state-in", state)
    state.write_bytes(data[:-100])
    assert "cut" in error(endless, "--state-in", state)
    assert "nothing" in error(endless, "--state-in", tmp_path / "nothing")


def test_loss_by_position_beyond_the_trained_length(model, endless, work):
    result = json.loads(run("evaluate", "--model", endless, "--data", work / "text.txt", "--length", 5000, "--batch", 2, "--by-position", "--json").stdout)
    octaves = result["loss_by_position"]
    assert [octave["from"] for octave in octaves] == [0, 128, 256, 512, 1024, 2048, 4096] and octaves[-1]["to"] == 4999
    assert sum(octave["loss"] * octave["tokens"] for octave in octaves) / result["tokens"] == pytest.approx(result["loss"], rel=1e-6)
    assert b"positions" in run("evaluate", "--model", endless, "--data", work / "text.txt", "--by-position").stdout
    assert "E and F" not in error_of("evaluate", "--model", model, "--data", work / "text.txt", "--length", 97)
    assert "too few" in error_of("evaluate", "--model", endless, "--data", work / "text.txt", "--length", 10**6)


def test_evaluations_are_kept_for_the_report(endless, work, tmp_path):
    out = tmp_path / "kept"
    flags = ["--model", endless, "--data", work / "text.txt", "--out", out]
    printed = json.loads(run("evaluate", *flags, "--json", "--by-position", "--length", 300, "--sequences", 3).stdout)
    run("evaluate", *flags)
    lines = [json.loads(line) for line in (out / "evaluate.jsonl").read_text().splitlines()]
    assert [list(line)[0] for line in lines] == ["type", "type"] and lines[0]["model"] == str(endless) and lines[0]["data"] == str(work / "text.txt")
    assert {name: lines[0][name] for name in ("loss", "tokens", "loss_by_position")} == {name: printed[name] for name in ("loss", "tokens", "loss_by_position")}
    assert lines[0]["length"] == 300 and lines[0]["tokens"] == 900 and lines[1]["length"] == lines[1]["config"]["model"]["length"] == 96
    assert "loss_by_position" not in lines[1] and "--by-position" in lines[0]["command"] and "--sequences 3" in lines[0]["command"]
    run("report", out, "--out", tmp_path / "page.html")
    assert "evaluation" in (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "file").write_text("")
    assert "--out" in error_of("evaluate", "--model", endless, "--data", work / "text.txt", "--out", tmp_path / "file")
