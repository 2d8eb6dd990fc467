"""linformer_cpp.Tokenizer and TokenFile, in this process and in workers of a DataLoader."""

import copy
import os
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from linformer_cpp import TokenFile, Tokenizer
from train_program import prepare_text

torch.set_num_threads(1)
TEXT = "The cat sat on the mat; the café was “naïve” — déjà vu. \n" * 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare_text(tmp_path_factory.mktemp("package_text"), "data", TEXT)


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A rank file of a vocabulary with merges, and what tiktoken makes of it."""
    import base64

    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    pieces = [bytes([i]) for i in range(256)] + [b"th", b"he", b"the", b" t", b" the", b" c", b"at", b" cat", b"\xc3\xa9"]
    path = tmp_path_factory.mktemp("bpe") / "small.tiktoken"
    path.write_text("".join(f"{base64.b64encode(piece).decode()} {rank}\n" for rank, piece in enumerate(pieces)))

    return Tokenizer.load(path), tiktoken.Encoding("small", pat_str=r50k_pat_str, mergeable_ranks={piece: rank for rank, piece in enumerate(pieces)}, special_tokens={})


@pytest.mark.parametrize("text", ["", "the cat", TEXT, "a\u00a0b\t \n\n  the 12345 ''ll", "日本語 🙂"], ids=range(5))
def test_ids_are_tiktoken_s(bpe, text):
    ours, theirs = bpe
    ids = ours.encode(text)
    assert ids == theirs.encode_ordinary(text)
    assert ours.decode(ids) == text and ours.decode_bytes(torch.tensor(ids)) == text.encode()
    assert ours.encode_tensor(text).dtype == torch.int64 and ours.encode_tensor(text).tolist() == ids
    assert ours.encode(text.encode()) == ids


def test_bytes_that_are_no_text(bpe):
    for tokenizer in bpe[0], Tokenizer.load("bytes"):
        raw = bytes(range(256)) + b"\xff\xfe the"
        assert tokenizer.decode_bytes(tokenizer.encode(raw)) == raw
        assert "\ufffd" in tokenizer.decode(tokenizer.encode(b"\xff"))


def test_a_tokenizer_is_a_value(bpe):
    ours = bpe[0]
    for other in copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), Tokenizer.from_json(ours.to_json()):
        assert other == ours and hash(other) == hash(ours) and other.encode(TEXT) == ours.encode(TEXT)
    assert ours != Tokenizer.load("bytes") and len(ours) == 265 and "265 ids" in repr(ours)
    assert Tokenizer.load("bytes").end_of_text is None


@pytest.mark.parametrize("error, words, call", [
    (ValueError, ["nowhere.tiktoken"], lambda: Tokenizer.load("nowhere.tiktoken")),
    (TypeError, ["Tokenizer.load"], lambda: Tokenizer("bytes")),
    (TypeError, ["text is of type int"], lambda: Tokenizer.load("bytes").encode(3)),
    (ValueError, ["id 256", "256 ids"], lambda: Tokenizer.load("bytes").decode([1, 256])),
    (ValueError, ["id -1"], lambda: Tokenizer.load("bytes").decode([-1])),
    (ValueError, ["the tokenizer"], lambda: Tokenizer.from_json("{")),
])
def test_errors_of_tokenizers(error, words, call):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_windows_are_the_file(folder):
    ids = list(TEXT.encode())
    train, validation = TokenFile(folder, 16), TokenFile(folder, 16, split="validation")
    assert train.size + validation.size == len(ids)
    assert train.tokens(0, train.size).tolist() == ids[: train.size] and validation.tokens(0, 5).tolist() == ids[train.size : train.size + 5]
    assert len(train) == (train.size - 1) // 16
    for i in 0, 3, len(train) - 1:
        x, y = train[i]
        assert x.tolist() == ids[16 * i : 16 * i + 16] and y.tolist() == ids[16 * i + 1 : 16 * i + 17]
    assert torch.equal(train[-1][0], train[len(train) - 1][0])
    each = TokenFile(folder, 16, stride=1)
    assert len(each) == each.size - 16 and each[len(each) - 1][1][-1] == ids[each.size - 1]
    assert train.tokenizer == Tokenizer.load("bytes") and "split='train'" in repr(train)
    assert len(list(zip(range(10**6), train))) == len(train)  # a plain loop ends


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_a_loader(folder, context):
    data = TokenFile(folder, 16)
    loader = DataLoader(data, batch_size=5, num_workers=2, multiprocessing_context=context)
    got = torch.cat([x for x, _ in loader])
    assert torch.equal(got, torch.stack([data[i][0] for i in range(len(data))]))


def encode_text(line):
    return TOKENIZER.encode_tensor(line)


TOKENIZER = Tokenizer.load("bytes")


def test_a_tokenizer_in_workers():
    """Whose threads the parent has used before: a child of fork must not wait for them."""
    torch.set_num_threads(2)
    try:
        long = TEXT * 200
        assert len(TOKENIZER.encode_tensor(long)) == len(long.encode())
        (torch.randn(600, 600) @ torch.randn(600, 600)).sum()
        loader = DataLoader([long] * 4, batch_size=None, collate_fn=encode_text, num_workers=2)
        assert all(len(ids) == len(long.encode()) for ids in loader)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("error, words, options", [
    (ValueError, ["split is 'test'"], dict(split="test")),
    (ValueError, ["length is 0"], dict(length=0)),
    (TypeError, ["length is 1.5"], dict(length=1.5)),
    (ValueError, ["stride is -1"], dict(stride=-1)),
    (ValueError, ["length 100000", "tokens of train"], dict(length=100000)),
])
def test_errors_of_token_files(folder, error, words, options):
    with pytest.raises(error) as caught:
        TokenFile(folder, **{"length": 16} | options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_files_that_are_none(folder, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        TokenFile(tmp_path / "nowhere", 16)
    for name in os.listdir(folder):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "tokens.bin").write_bytes((folder / "tokens.bin").read_bytes()[:-3])
    with pytest.raises(ValueError, match="tokens.bin"):
        TokenFile(tmp_path, 16)
    data = TokenFile(folder, 16)
    with pytest.raises(IndexError):
        data[len(data)]
    with pytest.raises(ValueError, match="asked"):
        data.tokens(data.size - 3, 4)
