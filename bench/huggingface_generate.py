#!/usr/bin/env python3
"""Tokens a second: model.generate of transformers on this library against the program's generate, one thread.

    LINFORMER_BINARY_DIR=build/release .venv/bin/python bench/huggingface_generate.py [ROUNDS]

Both make the same number of tokens, in turns, with random weights. Seconds are those of the processor, so that other work on the machine counts less; those of a
short text are taken off those of a long one, so that loading, reading the prompt and starting don't count.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", OMP_NUM_THREADS="1")
BINARIES = os.environ["LINFORMER_BINARY_DIR"]
sys.path.insert(0, os.path.join(BINARIES, "python"))

import torch
from linformer_cpp import Tokenizer
from linformer_cpp.huggingface import LinformerConfig, LinformerForCausalLM

SHORT, LONG = 8, 264
MODELS = {"d 384, bytes": ("bytes", 384, 6), "d 384, GPT-2's ids": ("data/gpt2", 384, 6), "d 64, bytes": ("bytes", 64, 2)}
WAYS = {"likeliest": (["--temperature", "0"], dict(do_sample=False)), "temperature 0.8": (["--temperature", "0.8"], dict(do_sample=True, temperature=0.8, top_k=0))}


def program_seconds(folder, tokens, flags):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([os.path.join(BINARIES, "linformer"), "generate", "--model", folder, "--prompt", "The cat sat on", "--json", "--threads", "1", "--max-tokens", str(tokens), *flags],
                   check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def transformers_seconds(model, prompt, tokens, options):
    start = time.process_time()
    made = model.generate(prompt, max_new_tokens=tokens, **options)
    assert made.shape[1] == prompt.shape[1] + tokens
    return time.process_time() - start


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    for name, (vocabulary, width, heads) in MODELS.items():
        tokenizer = Tokenizer.load(vocabulary)
        torch.manual_seed(0)
        model = LinformerForCausalLM(LinformerConfig(vocab_size=len(tokenizer), hidden_size=width, num_attention_heads=heads)).eval()
        prompt = tokenizer.encode_tensor("The cat sat on")[None]
        with tempfile.TemporaryDirectory() as folder:
            model.save_linformer(folder, tokenizer)
            for way, (flags, options) in WAYS.items():
                rates = []
                for _ in range(rounds):
                    program = program_seconds(folder, LONG, flags) - program_seconds(folder, SHORT, flags)
                    ours = transformers_seconds(model, prompt, LONG, options) - transformers_seconds(model, prompt, SHORT, options)
                    rates.append(((LONG - SHORT) / program, (LONG - SHORT) / ours, program / ours))
                (program, ours, ratio), ratios = map(statistics.median, zip(*rates)), sorted(r for *_, r in rates)
                print(f"{name}, {way}: program {program:.0f}, transformers {ours:.0f} tokens/s, ratio {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
