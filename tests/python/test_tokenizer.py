"""`linformer tokenize` against tiktoken 0.14.0, on the vocabulary files that the set-up fetched; no network."""

import json
import os
import pathlib
import random
import subprocess
import time
import unicodedata

import pytest
import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext.openai_public import r50k_pat_str

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
PROGRAM = pathlib.Path(os.environ["LINFORMER_BINARY_DIR"]) / "linformer"
DATA = SOURCE / "data"


@pytest.fixture(scope="module")
def encoding():
    ranks = data_gym_to_mergeable_bpe_ranks(str(DATA / "gpt2/vocab.bpe"), str(DATA / "gpt2/encoder.json"))
    return tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})


def tokenize(*arguments, stdin=b"", status=0):
    command = [PROGRAM, "tokenize", "--tokenizer", DATA / "gpt2", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout if status == 0 else done.stderr.decode()


def assert_same(encoding, text):
    """Compares as printed text, in which a difference of any id shows; on failure, names the place."""
    expected = encoding.encode_ordinary(text)
    given = tokenize(stdin=text.encode())
    if given != (" ".join(map(str, expected)) + "\n").encode():
        ids = list(map(int, given.split()))
        place = next((i for i, (a, b) in enumerate(zip(ids, expected)) if a != b), min(len(ids), len(expected)))
        start = len(encoding.decode_bytes(expected[:max(place - 5, 0)]))
        pytest.fail(f"id {place}: {ids[place:place + 5]}, tiktoken {expected[place:place + 5]}, "
                    f"near {text.encode()[start:start + 60]!r}")


def test_every_character_in_context(encoding):
    """Assigned or not: the next Unicode version assigns more, and tiktoken's tables may be newer than Python's."""
    points = [c for c in range(0x110000) if c < 0x33500 or unicodedata.category(chr(c)) != "Co"
              and unicodedata.category(chr(c)) != "Cn"]
    points = [c for c in points if not 0xD800 <= c < 0xE000]
    assert len(points) > 200_000
    assert_same(encoding, "".join(f"a{c}b {c}1{c}  {c}.{c}\n'{c}s{c}{c} " for c in map(chr, points)))


ITEMS = [" ", "  ", "\n", "\r\n", "\t", "\v", "\x1c", "\x85", "\xa0", "\u180e", "\u2028", "\u3000", "\ufeff", "\u200b", "'", "'s",
         "'S", "'t", "'re", "'ve", "'ll", "'l", "'d", "\u2019s", "a", "the", "THE", " of", "é", "e\u0301", "ß", "1", "23", "½", "Ⅷ",
         "٣", "漢字", "かな", "한국", "हिन्दी", "ไทย", "😀", "👩\u200d👩\u200d👧", "!", "?!", "...", "—", "_", "\0", "\x7f",
         "<|endoftext|>", "\U0001D400", "\U000E0001", "\U0010FFFF", "def f(x):\n    return x\n", "http://a.b/c?d=1"]


def test_random_mixtures(encoding):
    draw = random.Random(1)
    assert_same(encoding, "".join(draw.choice(ITEMS) for _ in range(400_000)))
    for _ in range(12):  # how a text ends matters to the white space before
        text = "".join(draw.choice(ITEMS) for _ in range(draw.randrange(1, 12)))
        assert_same(encoding, text)


@pytest.mark.parametrize("character", [" ", "\n", "a", "Q", "7", "!", "'", "é", "字", "\u3000", "😀"])
def test_long_runs(encoding, character):
    for text in (character * 3001, "x " + character * 777 + " y", " " + character * 2500 + "\n"):
        assert_same(encoding, text)


def long_word():
    draw = random.Random(2)
    return "".join(draw.choice("etaoinshr") for _ in range(200_000))


def test_long_word(encoding):
    assert_same(encoding, long_word())


@pytest.mark.perf
def test_long_word_without_quadratic_time():
    word = long_word().encode()
    start = time.monotonic()
    tokenize(stdin=word)
    assert time.monotonic() - start < 10  # n² would be minutes


@pytest.mark.parametrize("name", ["austen", "shakespeare"])
def test_corpora(encoding, name):
    assert_same(encoding, (DATA / f"corpora/{name}.txt").read_bytes().decode())


def test_any_bytes_round_trip():
    draw = random.Random(3)
    data = bytes(range(256)) + draw.randbytes(300_000) + b"\xff" * 5000 + b"\x80" * 5000
    ids = tokenize(stdin=data)
    assert tokenize("--decode", stdin=ids) == data


def test_json_text_and_files(encoding, tmp_path):
    text = "Any file, any text."
    (tmp_path / "text.txt").write_text(text)
    expected = encoding.encode_ordinary(text)
    assert json.loads(tokenize("--json", "--text", text)) == {"ids": expected}
    assert json.loads(tokenize("--json", "--input", tmp_path / "text.txt")) == {"ids": expected}
    assert json.loads(tokenize("--json", "--decode", "--text", ", ".join(map(str, expected)))) == {"text": text}
    assert json.loads(tokenize("--json", stdin=b"")) == {"ids": []}


@pytest.mark.parametrize("ids", [b"50257", b"-1", b"99999999999999999999", b"12 x", b"1.5", b"7" * 1000])
def test_bad_ids_are_clear_errors(ids):
    assert "id" in tokenize("--decode", stdin=ids, status=2)


def test_missing_files_are_clear_errors(tmp_path):
    assert "missing" in tokenize("--input", tmp_path / "missing", status=2)
    assert str(tmp_path) in tokenize("--input", tmp_path, status=2)


def test_memory_is_constant_on_a_stream():
    """A stream of 300 MB in little more memory than one of 30 MB."""
    block = (DATA / "corpora/austen.txt").read_bytes() * 7
    script = ("import os,resource,subprocess,sys;p=subprocess.Popen(sys.argv[2:],stdin=subprocess.PIPE,stdout=subprocess.DEVNULL);"
              "b=sys.stdin.buffer.read();[p.stdin.write(b) for _ in range(int(sys.argv[1]))];p.stdin.close();assert p.wait()==0;"
              "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    command = [PROGRAM, "tokenize", "--tokenizer", DATA / "gpt2", "--count"]
    peaks = [int(subprocess.run(["python3", "-c", script, str(times), *command], input=block, capture_output=True, check=True).stdout)
             for times in (1, 10)]
    assert peaks[1] < peaks[0] + 64 * 1024, peaks  # in KiB


@pytest.mark.perf
def test_speed(encoding, tmp_path):
    """Prints the ratio (pytest -s); the bound leaves room for a busy machine."""
    text = (DATA / "corpora/austen.txt").read_bytes().decode() * 3
    (tmp_path / "text.txt").write_text(text)
    ours = min(json.loads(tokenize("--count", "--json", "--threads", "2", "--input", tmp_path / "text.txt"))["seconds"]
               for _ in range(3))
    theirs = float("inf")
    for _ in range(2):
        start = time.monotonic()
        encoding.encode_ordinary(text)
        theirs = min(theirs, time.monotonic() - start)
    size = len(text.encode()) / 1e6
    print(f"\ntokenize: {size / ours:.0f} MB/s with two threads; tiktoken {size / theirs:.1f} MB/s: {theirs / ours:.1f} times")
    assert theirs / ours > 2
