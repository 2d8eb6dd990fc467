"""`linformer prepare` on folders as users have them: the program's own output, other encodings, several documents; and the verbs that read text."""

import json
import os
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
PROGRAM = pathlib.Path(os.environ["LINFORMER_BINARY_DIR"]) / "linformer"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TEXT = "It is a truth universally acknowledged. «Été», Жук, 漢字, 😀.\n" * 40
TINY = ["--model.length", 24, "--model.width", 12, "--model.layers", 1, "--model.heads", 3, "--attention.window", 4, "--attention.slots", 6,
        "--train.steps", 2, "--train.batch", 2, "--dtype", "float32"]


def run(*arguments, status=0, stdin=None, **options):
    result = subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, timeout=120, env=ENVIRONMENT, **options)
    assert result.returncode == status, (result.stdout + result.stderr).decode()
    return result


def prepare(*arguments, **options):
    result = run("prepare", "--json", *arguments, **options)
    return json.loads(result.stdout), result.stderr.decode()


def error_of(*arguments, **options):
    return run(*arguments, status=2, **options).stderr.decode()


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    return folder


def test_a_second_run_reads_what_the_first_read(texts):
    """Its output below its input, and a training there."""
    command = ["--input", texts, "--out", texts / "books", "--tokenizer", "bytes"]
    first, _ = prepare(*command)
    tokens = (texts / "books/tokens.bin").read_bytes()
    run("train", "--data", texts / "books", "--out", texts / "run", *TINY)
    second, said = prepare(*command, "--overwrite")
    assert (texts / "books/tokens.bin").read_bytes() == tokens and second["files"] == first["files"] == 1
    assert first["left_out"] == [] and second["left_out"] == [
        {"path": str(texts / "books"), "reason": "the folder to write"}, {"path": str(texts / "run"), "reason": "a training run"}]
    assert f"left out (the folder to write): {texts / 'books'}\n" in said and f"left out (a training run): {texts / 'run'}\n" in said
    # From inside, with other spellings; and into another folder.
    third = json.loads(run("prepare", "--json", "--input", ".", "--out", "./books", "--tokenizer", "bytes", "--overwrite", cwd=texts).stdout)
    assert [entry["path"] for entry in third["left_out"]] == ["./books", "./run"]
    assert (texts / "books/tokens.bin").read_bytes() == tokens
    fourth, _ = prepare("--input", texts, "--out", texts.parent / "other", "--tokenizer", "bytes")
    assert [entry["reason"] for entry in fourth["left_out"]] == ["prepared text", "a training run"]
    assert (texts.parent / "other/tokens.bin").read_bytes() == tokens


def test_what_is_left_out_is_named(texts):
    for index in range(5):
        (texts / f"picture{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r")
    (texts / "wide.txt").write_bytes(TEXT.encode("utf-16-le"))
    summary, said = prepare("--input", texts, "--out", texts.parent / "out", "--tokenizer", "bytes")
    assert [os.path.basename(entry["path"]) for entry in summary["left_out"]] == [f"picture{i}.png" for i in range(5)] + ["wide.txt"]
    lines = [line for line in said.splitlines() if "left out" in line]
    assert len(lines) == 2 and "NUL" in lines[0] and "picture2.png and 2 more" in lines[0] and "picture3" not in lines[0]
    assert "UTF-16 without a mark" in lines[1] and "wide.txt" in lines[1]


@pytest.mark.parametrize("encoding, mark, word", [("utf-8", b"\xef\xbb\xbf", "UTF-8 mark"), ("utf-16-le", b"\xff\xfe", "UTF-16 (little-endian)"),
                                                  ("utf-16-be", b"\xfe\xff", "UTF-16 (big-endian)")])
def test_every_verb_reads_marked_text_as_utf8(encoding, mark, word, texts, tmp_path):
    """In a folder, by name and from standard input: the same ids as of the plain file."""
    plain = texts / "a.txt"
    out = tmp_path / "out"
    prepare("--input", plain, "--out", out, "--tokenizer", "bytes")
    tokens = (out / "tokens.bin").read_bytes()
    marked = tmp_path / "marked" / "a.txt"
    marked.parent.mkdir()
    marked.write_bytes(mark + TEXT.encode(encoding))
    for source in (marked, marked.parent, "-"):
        summary, said = prepare("--input", source, "--out", out, "--tokenizer", "bytes", "--overwrite", stdin=marked.read_bytes())
        assert (out / "tokens.bin").read_bytes() == tokens
        assert summary["remarks"] == [{"path": "standard input" if source == "-" else str(marked), "text": summary["remarks"][0]["text"]}]
        assert word in summary["remarks"][0]["text"] and word in said
        assert summary["train_bytes"] + summary["validation_bytes"] == len(TEXT.encode())
    run("train", "--data", out, "--out", tmp_path / "run", *TINY)
    model = ["--model", tmp_path / "run"]
    commands = {"tokenize": lambda path: ["tokenize", "--tokenizer", "bytes", path],
                "evaluate": lambda path: ["evaluate", *model, "--data", path],
                "generate": lambda path: ["generate", *model, "--prompt-file", path, "--overflow", "slide", "--max-tokens", 5, "--dtype", "float32"],
                "audit": lambda path: ["audit", *model, "--data", path],
                "inspect": lambda path: ["inspect", *model, "--data", path]}
    for verb, command in commands.items():
        got, wanted = run(*command(marked)), run(*command(plain))
        assert got.stdout.replace(bytes(marked), bytes(plain)) == wanted.stdout, verb
        assert word in got.stderr.decode() and word not in wanted.stderr.decode(), verb
    got, wanted = (run("tokenize", "--tokenizer", "bytes", stdin=path.read_bytes()) for path in (marked, plain))
    assert got.stdout == wanted.stdout and f"standard input: {word}" in got.stderr.decode().replace("the UTF-8", "UTF-8")


def test_broken_utf16_is_replaced_and_counted(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe" + "ab".encode("utf-16-le") + b"\x00\xd8" + "c".encode("utf-16-le") + b"x")
    result = run("tokenize", "--tokenizer", "bytes", tmp_path / "text.txt")
    assert bytes(map(int, result.stdout.split())).decode() == "ab\ufffdc\ufffd"
    assert "2 broken" in result.stderr.decode()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_by_name(encoding, tmp_path):
    file = tmp_path / "text.txt"
    file.write_bytes(TEXT.encode(encoding))
    for arguments in (["prepare", "--input", file, "--out", tmp_path / "out"], ["tokenize", "--tokenizer", "bytes", file]):
        error = error_of(*arguments)
        assert "text.txt" in error and encoding[:6].upper() in error and "iconv -f UTF-" in error
    assert not (tmp_path / "out").exists()
    assert "standard input" in error_of("tokenize", "--tokenizer", "bytes", stdin=file.read_bytes())


def test_bytes_of_any_kind_are_taken_by_name_and_said(tmp_path):
    file = tmp_path / "samples.raw"
    file.write_bytes(bytes(range(256)) * 20)
    summary, said = prepare("--input", file, "--out", tmp_path / "out", "--tokenizer", "bytes")
    assert summary["train_tokens"] + summary["validation_tokens"] == 5120
    assert f"{file}: holds NUL bytes" in said


def test_hugging_faces_tokenizer_is_named(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([TEXT], tokenizers.trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path / "tokenizer.json", tmp_path):
        error = error_of("tokenize", "--tokenizer", path, "--text", "hello")
        assert "tokenizer.json of Hugging Face's tokenizers" in error and "--tokenizer gpt2" in error and "Put the file back" not in error


def test_separators_reach_training_and_generation(texts, tmp_path):
    """The corpus vocabulary, the model's tokenizer.json and `info` know the token; a model that learned it ends its text with it."""
    for name in "bcdefghij":
        (texts / f"{name}.txt").write_text("word")
    command = ["--input", texts, "--out", tmp_path / "out", "--tokenizer", SOURCE / "data/gpt2", "--vocabulary", "corpus", "--overwrite"]
    without, _ = prepare(*command, "--separator", "off")
    summary, _ = prepare(*command)
    assert summary["separators"] == 9 and without["separators"] == 0
    assert summary["vocabulary"] == without["vocabulary"] + 1 and summary["vocabulary_hash"] == without["vocabulary_hash"]
    assert summary["train_bytes"] + summary["validation_bytes"] == len(TEXT.encode()) + 9 * 4
    count = lambda entry: entry["train_tokens"] + entry["validation_tokens"]
    assert count(summary) == count(without) + 9
    info = json.loads(run("info", "--json", tmp_path / "out").stdout)
    assert info["separators"] == 9
    assert "10 files, 9 separators between" in run("prepare", *command).stdout.decode()
    for name in "bcdefghij":
        (texts / f"{name}.txt").write_text("word" * 3)
    (texts / "a.txt").unlink()
    run("prepare", *command, "--validation", 0.2)
    run("train", "--data", tmp_path / "out", "--out", tmp_path / "run", "--model.length", 8, "--model.width", 12, "--model.layers", 1,
        "--model.heads", 3, "--attention.kind", "softmax", "--train.steps", 300, "--train.learning_rate", 0.01, "--train.batch", 8, "--dtype", "float32")
    end = json.loads((tmp_path / "run/tokenizer.json").read_text())
    assert end["end_of_text"] is True
    made = json.loads(run("generate", "--json", "--model", tmp_path / "run", "--prompt", "wordwordword", "--temperature", 0, "--max-tokens", 4,
                          "--dtype", "float32").stdout)
    assert made["finish"] == "stop" and made["text"] == "" and made["tokens"] == [len(end["tokens"])]
    shown = run("tokenize", "--tokenizer", tmp_path / "run/tokenizer.json", "--decode", "--text", str(len(end["tokens"]))).stdout
    assert shown == b"<|endoftext|>"


def test_separator_that_the_tokenizer_does_not_have(texts, tmp_path):
    error = error_of("prepare", "--input", texts, "--out", tmp_path / "out", "--tokenizer", "bytes", "--separator", "on")
    assert "--separator on" in error and "bytes" in error and not (tmp_path / "out").exists()
    assert "--separator is 'yes'" in error_of("prepare", "--input", texts, "--out", tmp_path / "out", "--separator", "yes")


def test_info_without_a_validation_part(texts, tmp_path):
    prepare("--input", texts, "--out", tmp_path / "out", "--tokenizer", "bytes", "--validation", 0)
    info = json.loads(run("info", "--json", tmp_path / "out").stdout)
    assert info["validation_tokens"] == 0 and info["bytes_per_token"] is None


def test_validation_texts_of_their_own(texts, tmp_path):
    (tmp_path / "held.txt").write_text("held out")
    summary, _ = prepare("--input", texts, "--validation-input", tmp_path / "held.txt", "--out", tmp_path / "books", "--tokenizer", "bytes")
    assert (summary["train_bytes"], summary["validation_bytes"]) == (len(TEXT.encode()), 8)
    assert "--validation" in error_of("prepare", "--input", texts, "--validation-input", tmp_path / "held.txt", "--validation", 0.1, "--out", tmp_path / "other", "--tokenizer", "bytes")
    assert "held.txt" in error_of("prepare", "--input", tmp_path / "held.txt", "--validation-input", tmp_path / "held.txt", "--out", tmp_path / "other", "--tokenizer", "bytes")
    assert not (tmp_path / "other").exists()
