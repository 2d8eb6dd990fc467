"""What the program says: help of every verb, errors that name the value, what was expected and what to change, and `info`."""

import base64
import json
import os
import re
import shutil
import subprocess

import pytest

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments, status=0, **options):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=ENVIRONMENT, **options)
    assert result.returncode == status, result.stdout + result.stderr
    return result


def error_of(*arguments):
    """The message of a failing command: one line on standard error, nothing on standard output."""
    result = run(*arguments, status=2)
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("linformer: error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def expect(error, *words):
    missing = [word for word in words if str(word) not in error]
    assert not missing, f"{missing} not in: {error}"


def verbs():
    text = run("--help").stdout
    return re.findall(r"^  ([a-z]+) {2,}", text[text.index("Subcommands:"):], re.M)


VERBS = verbs()
REQUIRED = {"prepare": ["--input", "x", "--out", "y"], "train": ["--out", "x"], "evaluate": ["--model", "x", "--data", "y"],
            "generate": ["--model", "x", "--prompt", "y"], "logits": ["--model", "x", "--ids", "1", "--out", "y"],
            "ablate": ["--grid", "x", "--out", "y"], "audit": ["--model", "x"],
            "inspect": ["--model", "x", "--data", "y"], "report": ["--out", "y", "x"], "watch": ["x"]}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60)
    run("prepare", "--input", folder / "text.txt", "--out", folder / "data", "--tokenizer", "bytes")
    train(folder, "--out", folder / "run", "--model.length", 24, "--model.width", 12, "--model.layers", 2, "--model.heads", 3,
          "--attention.window", 4, "--attention.slots", 6, "--train.steps", 3, "--train.batch", 2)
    return folder


def train(folder, *flags, status=0):
    return run("train", "--data", folder / "data", "--dtype", "float32", *flags, status=status)


def train_error(work, *flags):
    error = error_of("train", "--data", work / "data", "--out", work / "never", *flags)
    assert not (work / "never").exists()
    return error


def test_the_verbs_are_there():
    assert set(VERBS) >= {"prepare", "tokenize", "train", "evaluate", "generate", "logits", "info"}


@pytest.mark.parametrize("verb", VERBS)
def test_help_and_unknown_flag(verb):
    text = run(verb, "--help").stdout
    expect(text, "--config", "--json", "--threads", "--seed", "--device", "--dtype")
    result = run(verb, *REQUIRED.get(verb, []), "--no-such-flag", status=2)
    expect(result.stderr, "--no-such-flag")


@pytest.mark.parametrize("verb", REQUIRED)
def test_missing_flag(verb):
    named = {"report": "folders", "watch": "run"}.get(verb, REQUIRED[verb][0])
    expect(run(verb, status=2).stderr, f"{named} is required")


def test_no_verb_and_unknown_verb():
    expect(error_of(), "expected a verb")
    expect(error_of("transmogrify"), "'transmogrify'", "lists the verbs")
    expect(error_of("trian"), "did you mean train?")
    expect(error_of("--seed"), "unknown flag --seed")


@pytest.mark.parametrize("given, meant", [("--train.setps", "--train.steps"), ("--setps=9", "--train.steps"), ("--dta", "--data"),
                                          ("--theads", "--threads")])
def test_a_wrong_flag_is_told_which_was_meant(given, meant):
    """Before what is missing, too: without --data the flag is the first mistake."""
    expect(error_of("train", given, "3"), f"train: unknown flag {given.split('=')[0]}; did you mean {meant}?")


def test_what_is_given_too_much_is_named():
    expect(error_of("info", "one", "two"), "info: 'two' was not expected")
    assert len(error_of("info", "--" + "x" * 5000)) < 300
    assert len(error_of("generate", "--model", "x", "--overflow", "y" * 5000)) < 500
    assert re.fullmatch(r"linformer \d+\.\d+\.\d+\n", run("--version").stdout)


COMMANDS = {
    "prepare": lambda path, out: ["prepare", "--input", path, "--out", out, "--tokenizer", "bytes"],
    "tokenize": lambda path, out: ["tokenize", "--tokenizer", "bytes", "--input", path],
    "tokenizer": lambda path, out: ["tokenize", "--text", "x", "--tokenizer", path],
    "train": lambda path, out: ["train", "--data", path, "--out", out],
    "generate": lambda path, out: ["generate", "--model", path, "--prompt", "x"],
    "logits": lambda path, out: ["logits", "--model", path, "--ids", "1", "--out", out],
    "info": lambda path, out: ["info", path],
    "config": lambda path, out: ["info", "--config", path],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_path(command, tmp_path):
    expect(error_of(*COMMANDS[command](tmp_path / "nowhere", tmp_path / "out")), "nowhere")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["prepare", "train", "generate", "info"])
def test_empty_file(command, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    expect(error_of(*COMMANDS[command](tmp_path / "empty", tmp_path / "out")), "empty")
    assert os.listdir(tmp_path) == ["empty"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("command", ["prepare", "tokenize", "tokenizer", "config"])
def test_unreadable_file(command, tmp_path):
    (tmp_path / "secret").write_text("text")
    (tmp_path / "secret").chmod(0)
    expect(error_of(*COMMANDS[command](tmp_path / "secret", tmp_path / "out")), "secret", "Permission denied")


def test_a_file_where_a_folder_is_expected(work):
    expect(error_of("train", "--data", work / "text.txt", "--out", work / "never"), "text.txt", "linformer prepare")
    expect(error_of("evaluate", "--model", work / "text.txt", "--data", work / "data"), "text.txt", "folder")
    expect(error_of("evaluate", "--model", work / "data", "--data", work / "data"), "config.json")


@pytest.mark.parametrize("flags, words", [
    (["--model.width", 30, "--model.heads", 4], ["model.width is 30", "model.heads = 4", "set model.width to 32"]),
    (["--model.length", 20, "--attention.window", 4, "--attention.slots", 21], ["attention.slots", "21", "model.length = 20", "at most 20"]),
    (["--model.dropout", 1], ["model.dropout is 1", "below 1", "0.1"]),
    (["--model.layers", 0], ["model.layers is 0", "from 1"]),
    (["--model.length", "many"], ["model.length", "many", "whole number"]),
    (["--attention.kind", "quadratic"], ["attention.kind", "quadratic", "softmax", "linformer"]),
    (["--model.causal", "false", "--attention.window", 8], ["attention.window is 8", "model.causal = true", "attention.window to 0"]),
    (["--attention.projection", "max"], ["attention.projection = max", "attention.summary = block"]),
    (["--attention.slots_by_layer", "8,8"], ["attention.slots_by_layer", "2", "model.layers = 6"]),
    (["--train.batch", 0], ["train.batch", "0"]),
    (["--device", "abacus"], ["abacus", "cpu"]),
    (["--config", "CONFIG"], ["fields.toml", "model.widht", "model.width"]),
])
def test_wrong_fields(flags, words, work, tmp_path):
    (tmp_path / "fields.toml").write_text("[model]\nwidht = 12\n")
    flags = [tmp_path / "fields.toml" if flag == "CONFIG" else flag for flag in flags]
    expect(train_error(work, *flags), *words)


def number_flags():
    """(verb, flag, type) of every flag whose help gives it a number."""
    return [(verb, *found) for verb in VERBS
            for found in re.findall(r"^  (?:-[\w.-]+,)*(--[\w.-]+) (INT|UINT|FLOAT)\b", run(verb, "--help").stdout, re.M)]


NUMBER_FLAGS = number_flags()


def refuse_number(verb, flag, value):
    result = run(verb, *REQUIRED.get(verb, []), flag, value, status=2)
    # Of a list, the message shows the part that is wrong; here the last.
    expect(result.stderr, flag.lstrip("-"), f"'{value.split(',')[-1]}'", "number")
    assert result.stdout == ""


def test_the_number_flags_are_found():
    assert {"--seed", "--threads"} == {flag for verb, flag, _ in NUMBER_FLAGS if verb == "info"}
    assert {("train", "--train.steps", "INT"), ("train", "--train.clip", "FLOAT"), ("evaluate", "--batch", "INT"),
            ("benchmark", "--rounds", "INT"), ("prepare", "--validation", "FLOAT"), ("generate", "--generate.top_k", "INT"),
            ("train", "--attention.window", "INT")} <= set(NUMBER_FLAGS)


@pytest.mark.parametrize("verb, flag", [(verb, flag) for verb, flag, _ in NUMBER_FLAGS])
def test_number_flags_take_decimal_numbers_only(verb, flag):
    refuse_number(verb, flag, "010")


@pytest.mark.parametrize("value", ["-1", "18446744073709551616", "0x10", "", " 1", "+1", "1.0", "1e3", "one", "9" * 50])
def test_seeds_are_whole_numbers_in_range(value):
    refuse_number("info", "--seed", value)


@pytest.mark.parametrize("verb, flag, value", [("train", "--train.steps", ""), ("train", "--train.steps", "9223372036854775808"),
                                               ("train", "--train.clip", "nan"), ("train", "--attention.window", "0x10"),
                                               ("evaluate", "--batch", "99999999999999999999"), ("prepare", "--validation", "inf"),
                                               ("generate", "--temperature", "1e999"), ("benchmark", "--lengths", "64,010")])
def test_other_numbers_that_are_none(verb, flag, value):
    refuse_number(verb, flag, value)


def test_a_long_value_is_shown_in_part():
    result = run("info", "--seed", "9" * 100_000, status=2)
    expect(result.stderr, "'" + "9" * 60 + "…'")
    assert len(result.stderr) < 400
    assert len(error_of("train", *REQUIRED["train"], "--train.steps", "9" * 100_000)) < 400


def test_the_largest_seed_is_kept(work, tmp_path):
    largest = 2**64 - 1
    train(work, "--out", tmp_path / "run", "--seed", largest, "--model.length", 16, "--model.width", 8, "--model.heads", 1, "--model.layers", 1,
          "--attention.window", 4, "--attention.slots", 2, "--train.steps", 1, "--train.batch", 1)
    config = tmp_path / "run" / "config.json"
    assert json.loads(config.read_text())["seed"] == largest
    for seed in (-1, 1.5, "1", 2**64):
        config.write_text(re.sub(r'"seed": [^,\n}]+(?=\n})', f'"seed": {json.dumps(seed)}', config.read_text()))
        expect(error_of("train", "--resume", "--out", tmp_path / "run"), "seed is ", "whole number")


DEEP = {"lists": "[" * 150_000, "objects": '{"a":' * 150_000}


@pytest.mark.parametrize("shape", DEEP)
@pytest.mark.parametrize("name, words", [("config.json", "64 deep"), ("tokenizer.json", "64 deep"), ("model.safetensors", "64 deep")])
def test_deep_json_is_an_error(shape, name, words, work, tmp_path):
    shutil.copytree(work / "run", tmp_path / "run")
    deep = DEEP[shape].encode()
    # In the place of a value that a message shows, and as the whole file.
    for text in (deep, b'{"format_version":1,"kind":' + deep):
        (tmp_path / "run" / name).write_bytes((len(text).to_bytes(8, "little") if name.endswith("safetensors") else b"") + text)
        error = error_of("generate", "--model", tmp_path / "run", "--prompt", "x")
        expect(error, name, words)
        assert len(error) < 1000


@pytest.mark.parametrize("text", ["x = " + "[" * 150_000, "x = " + "{a=" * 150_000, "a." * 150_000 + "a = 1", "[" + "a." * 150_000 + "a]"])
def test_deep_toml_is_an_error(text, tmp_path):
    (tmp_path / "deep.toml").write_text(text)
    error = error_of("info", "--config", tmp_path / "deep.toml")
    expect(error, "deep.toml", "line 1")
    assert len(error) < 1000


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_value_stands_in_the_message_as_it_was_written(value, tmp_path):
    (tmp_path / "fields.toml").write_text(f"[train]\nlearning_rate = {value}\n")
    expect(error_of("info", "--config", tmp_path / "fields.toml"), f"train.learning_rate is {value}, expected a number")


def test_wrong_dtype():
    expect(run("info", "--dtype", "int3", status=2).stderr, "int3", "bfloat16")


OUTPUTS = {
    "prepare": lambda work, out: ["prepare", "--input", work / "text.txt", "--out", out, "--tokenizer", "bytes"],
    "tokenize": lambda work, out: ["tokenize", "--tokenizer", "bytes", "--text", "x"],
    "count": lambda work, out: ["tokenize", "--tokenizer", "bytes", "--text", "x", "--count"],
    "train": lambda work, out: ["train", "--resume", "--out", work / "run"],
    "evaluate": lambda work, out: ["evaluate", "--model", work / "run", "--data", work / "data"],
    "generate": lambda work, out: ["generate", "--model", work / "run", "--prompt", "x", "--max-tokens", 3],
    "generate json": lambda work, out: ["generate", "--model", work / "run", "--prompt", "x", "--max-tokens", 3, "--json"],
    "logits": lambda work, out: ["logits", "--model", work / "run", "--ids", "1,2", "--out", out],
    "info": lambda work, out: ["info", work / "run"],
    "help": lambda work, out: ["--help"],
    "version": lambda work, out: ["--version"],
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("command", OUTPUTS)
def test_output_that_is_lost_is_an_error(command, work, tmp_path):
    arguments = [PROGRAM, *map(str, OUTPUTS[command](work, tmp_path / "out"))]
    for output, status in ((os.devnull, 0), ("/dev/full", 2)):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with open(output, "w") as file:
            result = subprocess.run(arguments, stdout=file, stderr=subprocess.PIPE, text=True, timeout=120, env=ENVIRONMENT)
        assert result.returncode == status, result.stderr
    expect(result.stderr, "linformer: error: standard output can't be written")


def test_generate_stops_when_nobody_reads(work):
    command = [PROGRAM, "generate", "--model", work / "run", "--prompt", "x", "--max-tokens", "100000000", "--overflow", "slide"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout.read(20).startswith(b"x")
    process.stdout.close()
    try:
        assert process.wait(timeout=60) == 2
    finally:
        process.kill()
    expect(process.stderr.read().decode(), "standard output can't be written")


CONFIGS = {
    "[model]\nwidht = 12": ["model.widht", "model.width"],
    "[train]\nbatch = \"many\"": ["train.batch", "many"],
    "[generate]\ntop_q = 1": ["generate.top_q", "generate.top_k"],
    "[data]\nfoldre = \"x\"": ["data.foldre", "data.folder"],
    "[data]\nfolder = 3": ["data.folder is 3", "expected text"],
    "[modle]\nwidth = 12": ["modle", "model"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_reads_the_config_file(verb, work, tmp_path):
    file = tmp_path / "fields.toml"
    command = [verb, *REQUIRED.get(verb, []), "--config", file]
    expect(error_of(*command), "fields.toml")
    for text, words in CONFIGS.items():
        file.write_text(text + "\n")
        expect(error_of(*command), "fields.toml", *words)


def test_data_folder_of_the_config_file(work, tmp_path):
    fields = tmp_path / "fields.toml"
    fields.write_text(f"[data]\nfolder = {json.dumps(str(work / 'data'))}\n[train]\nsteps = 1\nbatch = 2\n[model]\nlength = 24\nwidth = 12\nlayers = 1\n"
                      "heads = 3\n[attention]\nwindow = 4\nslots = 6\n")
    run("train", "--config", fields, "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["folder"] == str(work / "data")
    expect(error_of("train", "--config", fields, "--data", tmp_path / "nowhere", "--out", tmp_path / "never"), "nowhere")


def test_two_flags_of_one_field(work):
    expect(train_error(work, "--dtype", "float32", "--train.dtype", "bfloat16"), "--dtype is float32", "--train.dtype", "bfloat16")
    expect(train_error(work, "--data.folder", work / "other"), "--data", "--data.folder", "other")


def test_verbose_names_the_path(work, tmp_path):
    evaluate = ["evaluate", "--model", work / "run", "--data", work / "data"]
    assert "attention: " not in run(*evaluate).stderr
    assert named_path(run(*OUTPUTS["logits"](work, tmp_path / "x"), "--verbose")) == "kernel"
    assert run("prepare", "--verbose", *REQUIRED["prepare"], status=2).stdout == ""


def named_path(result):
    return re.search(r"^attention: (.*)$", result.stderr, re.M).group(1)


@pytest.mark.parametrize("path, fields", [("kernel", ["--attention.window", 4]), ("composed", ["--attention.window", 0]),
                                          ("fused", ["--attention.kind", "softmax"])])
def test_verbose_names_what_ran(work, tmp_path, path, fields):
    trained = train(work, "--out", tmp_path / "run", "--model.length", 24, "--model.width", 12, "--model.layers", 1, "--model.heads", 3,
                    "--attention.slots", 6, "--train.steps", 1, "--train.batch", 2, *fields, "--verbose")
    assert named_path(trained) == path
    assert named_path(run("evaluate", "--model", tmp_path / "run", "--verbose")) == path
    prompt = ["generate", "--model", tmp_path / "run", "--prompt", "The quick brown fox", "--max-tokens", 2, "--dtype", "float32"]
    assert named_path(run(*prompt, "--verbose")) == path


def copy(folder, to):
    shutil.copytree(folder, to)
    return to


def test_truncated_token_file(work, tmp_path):
    data = copy(work / "data", tmp_path / "data")
    whole = (data / "tokens.bin").read_bytes()
    for size, words in ((len(whole) - 1, [len(whole) - 1, len(whole), "cut"]), (100, ["cut"]), (0, ["cut"])):
        (data / "tokens.bin").write_bytes(whole[:size])
        for command in (["train", "--data", data, "--out", tmp_path / "never"], ["info", data], ["evaluate", "--model", work / "run", "--data", data]):
            expect(error_of(*command), "tokens.bin", "linformer prepare", *words)


def test_token_file_of_another_version(work, tmp_path):
    data = copy(work / "data", tmp_path / "data")
    whole = bytearray((data / "tokens.bin").read_bytes())
    whole[8] = 9
    (data / "tokens.bin").write_bytes(whole)
    expect(error_of("info", data), "version 9", "expected 1", "linformer prepare")


@pytest.fixture(scope="module")
def other_data(work):
    """The same text with a vocabulary of two tokens more."""
    tokens = [bytes([i]) for i in range(256)] + [b"th", b"he"]
    lines = [base64.b64encode(token).decode() + f" {rank}" for rank, token in enumerate(tokens)]
    (work / "other.tiktoken").write_text("\n".join(lines) + "\n")
    run("prepare", "--input", work / "text.txt", "--out", work / "other", "--tokenizer", work / "other.tiktoken")
    return work / "other"


def test_another_vocabulary(work, other_data, tmp_path):
    expect(error_of("evaluate", "--model", work / "run", "--data", other_data), "other", "another vocabulary", "prepare", "tokenizer.json")
    expect(error_of("train", "--resume", "--out", work / "run", "--data", other_data), "256", "258")
    mixed = copy(other_data, tmp_path / "mixed")
    shutil.copy(work / "data" / "tokenizer.json", mixed)
    expect(error_of("info", mixed), "tokens.bin", "another vocabulary", "tokenizer.json", "linformer prepare")


def test_ids_outside_the_vocabulary(work):
    expect(error_of("logits", "--model", work / "run", "--ids", "1,256", "--out", work / "never"), "id 256", "vocabulary of 256", "0 to 255")
    expect(run("tokenize", "--tokenizer", "bytes", "--decode", "--text", "65 256", status=2).stderr, "256", "vocabulary")


def test_run_folder_exists(work):
    before = (work / "run" / "model.safetensors").read_bytes()
    error = error_of("train", "--data", work / "data", "--out", work / "run")
    expect(error, "run", "--resume", "--overwrite")
    assert (work / "run" / "model.safetensors").read_bytes() == before
    expect(run("prepare", "--input", work / "text.txt", "--out", work / "data", status=2).stderr, "data", "--overwrite")


def test_info_of_a_run(work):
    info = json.loads(run("info", work / "run", "--json").stdout)
    assert info["kind"] == "model" and info["model"]["width"] == 12 and info["attention"]["slots"] == 6
    parts = info["parameters"]
    assert parts["total"] == sum(count for name, count in parts.items() if name != "total")
    assert parts["token_embedding"] == parts["output"] == 256 * 12 and parts["position_embedding"] == 24 * 12
    assert parts["projections"] == 2 * 2 * 6 * 24  # layers, keys and values, slots, length
    assert [layer["form"] for layer in info["layers"]] == ["linformer, window"] * 2
    assert info["training"]["steps"] == 3 and info["training"]["tokens"] == 3 * 2 * 24
    # Running slots: the state does not grow. It holds 2 layers, keys and values, 3 heads, 2W = 8 positions and 6 slots of 4 floats at least.
    state = info["decode_state_bytes"]
    assert state["first_token"] == state["full_length"] >= 2 * 2 * 3 * (8 + 6) * 4 * 4
    generated = run("generate", "--model", work / "run", "--prompt", "a" * 20, "--max-tokens", 3, "--json")
    assert json.loads(generated.stdout)["state_bytes"] == state["full_length"]
    expect(run("info", work / "run").stdout, "token_embedding", "linformer, window")


def test_info_and_generate_of_a_hybrid(work, tmp_path):
    run("train", "--data", work / "data", "--out", tmp_path / "run", "--model.length", 24, "--model.width", 12, "--model.layers", 2, "--model.heads", 3,
        "--attention.window", 4, "--attention.slots", 6, "--attention.softmax_layers", 1, "--model.position", "rotary", "--attention.projection", "periodic", "--attention.sinks", 3,
        "--train.steps", 1, "--train.batch", 2, "--train.dtype", "float32")
    info = json.loads(run("info", tmp_path / "run", "--json").stdout)
    assert info["attention"]["softmax_layers"] == [1]
    assert [layer["form"] for layer in info["layers"]] == ["linformer, window", "softmax, causal"] and "slots" not in info["layers"][1] and info["layers"][0]["sinks"] == 3
    # The softmax layer's cache grows: of a short text it is smaller.
    state = info["decode_state_bytes"]
    assert state["first_token"] < state["full_length"]
    # Nothing in it stands for a position alone, so it writes past its length.
    longer = json.loads(run("generate", "--model", tmp_path / "run", "--prompt", "a" * 20, "--max-tokens", 100, "--json").stdout)
    assert longer["state_bytes"] > state["full_length"]
    assert json.loads(run("audit", "--model", tmp_path / "run", "--json").stdout)["verdict"] == "clean"
    expect(error_of("train", "--data", work / "data", "--out", tmp_path / "x", "--model.layers", 2, "--attention.softmax_layers", "0,2"), "softmax_layers", "layer 2", "from 0 to 1")


def test_info_of_prepared_text(work):
    info = json.loads(run("info", work / "data", "--json").stdout)
    size = os.path.getsize(work / "text.txt")
    assert info["kind"] == "prepared text" and info["tokenizer"] == "bytes" and info["vocabulary"] == 256
    assert info["train_tokens"] + info["validation_tokens"] == size and info["bytes_per_token"] == 1
    assert abs(info["validation_share"] - 0.1) < 0.01
    assert json.loads(run("info", work / "data" / "tokens.bin", "--json").stdout)["train_tokens"] == info["train_tokens"]


def test_info_of_the_machine():
    info = json.loads(run("info", "--json", "--threads", 1).stdout)
    assert info["kind"] == "machine" and info["threads"] == 1 and info["cores"] == os.cpu_count()
    assert info["libtorch"].startswith("2.") and info["float32_gflops"] > 0 and info["bfloat16_gflops"] > 0 and info["capability"]


def test_info_of_something_else(tmp_path):
    expect(error_of("info", tmp_path), tmp_path.name, "config.json", "tokens.bin", "linformer prepare")
    (tmp_path / "notes.txt").write_text("text")
    expect(error_of("info", tmp_path / "notes.txt"), "notes.txt", "neither")
    (tmp_path / "config.json").write_text("{}")
    expect(error_of("info", tmp_path), "config.json", "format_version")
