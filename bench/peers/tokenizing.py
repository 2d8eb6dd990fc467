"""Tokenizers of the GPT-2 vocabulary on one file. Text that is shared among threads is cut at lines."""

import pathlib
import time


def pieces(text, count):
    """`text` in about `count` pieces that end with a line."""
    result, step, start = [], max(1, len(text) // count), 0
    while start < len(text):
        end = text.find("\n", start + step)
        end = len(text) if end < 0 else end + 1
        result.append(text[start:end])
        start = end
    return result


class Tokenizer:
    def __init__(self, setup):
        self.threads, self.folder = setup["threads"], setup["tokenizer"]
        self.text = pathlib.Path(setup["file"]).read_text(encoding="utf-8")
        self.bytes = len(self.text.encode())
        self.prepare()
        self.tokens = self.encode()

    def describe(self):
        return {"tokens": self.tokens}

    def round(self, work):
        start = time.perf_counter()
        self.encode()
        return {"mb_per_second": self.bytes / 1e6 / (time.perf_counter() - start)}


class Tiktoken(Tokenizer):
    def prepare(self):
        import tiktoken
        from tiktoken.load import data_gym_to_mergeable_bpe_ranks
        from tiktoken_ext.openai_public import r50k_pat_str
        ranks = data_gym_to_mergeable_bpe_ranks(f"{self.folder}/vocab.bpe", f"{self.folder}/encoder.json")
        self.encoding = tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})
        self.parts = pieces(self.text, 8 * self.threads)

    def encode(self):
        if self.threads == 1:
            return len(self.encoding.encode_ordinary(self.text))
        return sum(map(len, self.encoding.encode_ordinary_batch(self.parts, num_threads=self.threads)))


class HuggingFace(Tokenizer):
    def prepare(self):
        import json
        import tokenizers
        merges = [tuple(line.split()) for line in pathlib.Path(f"{self.folder}/vocab.bpe").read_text().splitlines()[1:] if line]
        vocabulary = json.loads(pathlib.Path(f"{self.folder}/encoder.json").read_text())
        self.tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
        self.tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.parts = pieces(self.text, 64)  # how it is used: by document

    def encode(self):
        return sum(len(done.ids) for done in self.tokenizer.encode_batch(self.parts))


KINDS = {"tiktoken": Tiktoken, "tokenizers": HuggingFace}
