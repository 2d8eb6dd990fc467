"""Generation by the rivals: GPT-2 of random weights, tied output, greedy. A round reads a prompt, then makes tokens one by one; a
batch is the same prompt several times. d width, V vocabulary, P longest length."""

import ctypes
import os
import pathlib
import time

import numpy as np


def weights(sizes):
    """Random weights by GPT-2's names in GGUF, matrices as (out, in)."""
    random = np.random.default_rng(0)
    width, layers, vocabulary, length = (sizes[name] for name in ("width", "layers", "vocabulary", "length"))

    def matrix(*shape):
        return (0.02 * random.standard_normal(shape, dtype=np.float32))

    def norm(name):
        return {f"{name}.weight": np.ones(width, np.float32), f"{name}.bias": np.zeros(width, np.float32)}

    def linear(name, wide, narrow):
        return {f"{name}.weight": matrix(wide, narrow), f"{name}.bias": np.zeros(wide, np.float32)}

    result = {"token_embd.weight": matrix(vocabulary, width), "position_embd.weight": matrix(length, width), **norm("output_norm")}
    for layer in range(layers):
        name = f"blk.{layer}"
        result |= norm(f"{name}.attn_norm") | linear(f"{name}.attn_qkv", 3 * width, width) | linear(f"{name}.attn_output", width, width)
        result |= norm(f"{name}.ffn_norm") | linear(f"{name}.ffn_up", 4 * width, width) | linear(f"{name}.ffn_down", width, 4 * width)
    return result


def prompt_ids(context, vocabulary):
    return np.random.default_rng(1).integers(0, vocabulary - 3, context)


class Generation:
    def __init__(self, setup):
        self.setup, self.sizes, self.threads, self.dtype = setup, setup["model"], setup["threads"], setup["dtype"]
        self.load()

    def describe(self):
        made = weights(self.sizes)
        total = sum(array.size for array in made.values())
        return {"parameters": total, "matched": total - made["position_embd.weight"].size}

    def round(self, work):
        ids = prompt_ids(work["context"], self.sizes["vocabulary"])
        prompt_seconds, decode_seconds, read = self.generate(ids, work["batch"], work["tokens"])
        return {"tokens_per_second": work["batch"] * work["tokens"] / decode_seconds,
                "prompt_tokens_per_second": read / prompt_seconds}


class HuggingFace(Generation):
    def load(self):
        import torch
        import transformers
        torch.set_num_threads(self.threads)
        sizes = self.sizes
        config = transformers.GPT2Config(vocab_size=sizes["vocabulary"], n_positions=sizes["length"], n_embd=sizes["width"],
                                         n_layer=sizes["layers"], n_head=sizes["heads"], attn_implementation="sdpa")
        torch.manual_seed(0)
        self.model = transformers.GPT2LMHeadModel(config).eval().to(getattr(torch, self.dtype))

    def describe(self):
        unique = {id(p): p for p in self.model.parameters()}.values()
        total = sum(p.numel() for p in unique)
        return {"parameters": total, "matched": total - self.model.transformer.wpe.weight.numel()}

    def generate(self, ids, batch, tokens):
        import torch
        with torch.inference_mode():
            start = time.perf_counter()
            out = self.model(torch.from_numpy(ids)[None], use_cache=True, logits_to_keep=1)
            next_B1 = out.logits[:, -1].argmax(-1, keepdim=True).repeat(batch, 1)
            prompt_seconds = time.perf_counter() - start
            cache = out.past_key_values
            if batch > 1:
                cache.batch_repeat_interleave(batch)
            start = time.perf_counter()
            for _ in range(tokens):
                out = self.model(next_B1, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
                next_B1 = out.logits[:, -1].argmax(-1, keepdim=True)
            return prompt_seconds, time.perf_counter() - start, len(ids)


class CTranslate2(Generation):
    def load(self):
        import ctranslate2
        folder = pathlib.Path(self.setup["folder"]) / "ctranslate2-d{width}-l{layers}-v{vocabulary}-p{length}".format(**self.sizes)
        if not (folder / "model.bin").exists():
            self.convert(ctranslate2, folder)
        self.generator = ctranslate2.Generator(str(folder), device="cpu", inter_threads=1, intra_threads=self.threads,
                                               compute_type={"float32": "float32", "8 bit": "int8"}[self.dtype])

    def convert(self, ctranslate2, folder):
        made, sizes = weights(self.sizes), self.sizes
        spec = ctranslate2.specs.TransformerDecoderModelSpec.from_config(
            sizes["layers"], sizes["heads"], pre_norm=True, activation=ctranslate2.specs.common_spec.Activation.GELUTanh)
        decoder = spec.decoder
        decoder.scale_embeddings = False
        decoder.embeddings.weight = decoder.projection.weight = made["token_embd.weight"]
        decoder.position_encodings.encodings = made["position_embd.weight"]

        def linear(part, name):
            part.weight, part.bias = made[f"{name}.weight"], made[f"{name}.bias"]

        def norm(part, name):
            part.gamma, part.beta = made[f"{name}.weight"], made[f"{name}.bias"]

        norm(decoder.layer_norm, "output_norm")
        for number, layer in enumerate(decoder.layer):
            norm(layer.self_attention.layer_norm, f"blk.{number}.attn_norm")
            linear(layer.self_attention.linear[0], f"blk.{number}.attn_qkv")
            linear(layer.self_attention.linear[1], f"blk.{number}.attn_output")
            norm(layer.ffn.layer_norm, f"blk.{number}.ffn_norm")
            linear(layer.ffn.linear_0, f"blk.{number}.ffn_up")
            linear(layer.ffn.linear_1, f"blk.{number}.ffn_down")
        spec.register_vocabulary([f"t{i}" for i in range(sizes["vocabulary"] - 3)] + ["<unk>", "<s>", "</s>"])
        spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<s>", "</s>", "<unk>"
        spec.validate()
        spec.optimize()
        folder.mkdir(parents=True, exist_ok=True)
        spec.save(str(folder))

    def generate(self, ids, batch, tokens):
        times = []

        def tick(result):
            times.append(time.perf_counter())
            return False

        prompts = [[f"t{i}" for i in ids]] * batch
        start = time.perf_counter()
        # min_length: the end token must not be drawn. Every token of every sequence calls back.
        self.generator.generate_batch(prompts, max_length=tokens + 1, min_length=tokens + 1, beam_size=1, sampling_topk=1,
                                      include_prompt_in_result=False, callback=tick)
        if len(times) < batch * (tokens + 1):
            raise ValueError(f"{len(times)} tokens were made instead of {batch * (tokens + 1)}")
        return times[0] - start, times[-1] - times[batch - 1], batch * len(ids)


class Llama(Generation):
    """llama.cpp through its C interface. `llama.cpp (float cache)` is its best for long contexts: flash attention off, cache in
    float32."""

    def load(self):
        import llama_cpp
        self.llama, self.context, self.shape = llama_cpp, None, None
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        path = self.model_file()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise ValueError(f"{path.name} can't be loaded")

    def model_file(self):
        import gguf
        sizes = self.sizes
        kind = {"float32": gguf.GGMLQuantizationType.F32, "8 bit": gguf.GGMLQuantizationType.Q8_0}[self.dtype]
        name = "gpt2-d{width}-l{layers}-v{vocabulary}-p{length}-".format(**sizes) + kind.name.lower() + ".gguf"
        path = pathlib.Path(self.setup["folder"]) / name
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        writer = gguf.GGUFWriter(str(part), "gpt2")
        writer.add_context_length(sizes["length"])
        writer.add_embedding_length(sizes["width"])
        writer.add_feed_forward_length(4 * sizes["width"])
        writer.add_block_count(sizes["layers"])
        writer.add_head_count(sizes["heads"])
        writer.add_layer_norm_eps(1e-5)
        writer.add_vocab_size(sizes["vocabulary"])
        writer.add_tokenizer_model("no_vocab")
        for key, array in weights(sizes).items():
            # As llama.cpp's own quantiser: positions stay in float32.
            stored = gguf.GGMLQuantizationType.F32 if array.ndim == 1 or key.startswith("position") else kind
            writer.add_tensor(key, gguf.quants.quantize(array, stored), raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.rename(path)
        return path

    def open_context(self, batch, length):
        """A context for `batch` sequences of `length`; kept while the shape stays."""
        llama = self.llama
        if self.shape != (batch, length):
            if self.context:
                llama.llama_free(self.context)
            params = llama.llama_context_default_params()
            padded = -(-length // 256) * 256
            params.n_ctx, params.n_seq_max, params.kv_unified = padded * batch, batch, batch == 1
            params.n_batch = params.n_ubatch = 512
            params.n_threads = params.n_threads_batch = self.threads
            if self.setup["entrant"] == "llama.cpp (float cache)":
                params.flash_attn_type = 0
                params.type_k = params.type_v = 0  # GGML_TYPE_F32
            self.context = llama.llama_init_from_model(self.model, params)
            self.shape = (batch, length)
            if not self.context:
                raise ValueError("no context: out of memory?")
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def decode(self, rows, last_only):
        """rows: (id, position, sequence). Logits of the last row only, or of all."""
        llama = self.llama
        batch = llama.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for row, (token, position, sequence) in enumerate(rows):
            batch.token[row], batch.pos[row] = int(token), position
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
            batch.logits[row] = not last_only or row == len(rows) - 1
        failed = llama.llama_decode(self.context, batch)
        llama.llama_batch_free(batch)
        if failed:
            raise ValueError(f"llama_decode: {failed}")

    def argmax(self, row):
        logits = self.llama.llama_get_logits_ith(self.context, row)
        return int(np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (self.sizes["vocabulary"],)).argmax())

    def generate(self, ids, batch, tokens):
        self.open_context(batch, len(ids) + tokens + 1)
        start = time.perf_counter()
        for offset in range(0, len(ids), 512):
            part = ids[offset:offset + 512]
            last = offset + len(part) == len(ids)
            self.decode([(token, offset + i, 0) for i, token in enumerate(part)], last_only=True)
            if last:
                following = [self.argmax(-1)] * batch
        prompt_seconds = time.perf_counter() - start
        memory = self.llama.llama_get_memory(self.context)
        for sequence in range(1, batch):
            self.llama.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        start = time.perf_counter()
        for made in range(tokens):
            self.decode([(following[s], len(ids) + made, s) for s in range(batch)], last_only=False)
            following = [self.argmax(s) for s in range(batch)]
        return prompt_seconds, time.perf_counter() - start, len(ids)


class Rereading(Generation):
    """PyPI linformer has no state to keep: each token reads the whole window again."""

    def load(self):
        import torch
        import training
        torch.set_num_threads(self.threads)
        self.model = training.build("linformer", self.sizes).eval()

    def describe(self):
        import training
        return training.count_parameters(self.model, self.sizes["length"])

    def generate(self, ids, batch, tokens):
        import torch
        window = torch.from_numpy(np.resize(ids, self.sizes["length"]))[None].repeat(batch, 1)
        with torch.inference_mode():
            start = time.perf_counter()
            for _ in range(tokens):
                drawn = self.model(window)[:, -1].argmax(-1, keepdim=True)
                window = torch.cat([window[:, 1:], drawn], 1)
        seconds = time.perf_counter() - start
        return seconds / tokens, seconds, len(ids)


KINDS = {"hugging face": HuggingFace, "ctranslate2": CTranslate2, "llama.cpp": Llama, "llama.cpp (float cache)": Llama,
         "linformer, reading again": Rereading}
