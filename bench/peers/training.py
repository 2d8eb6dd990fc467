"""Training steps of the rivals: forward, mean cross-entropy, backward, AdamW. B batch, N length, d width, V vocabulary."""

import contextlib
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """nanoGPT's block: pre-norm, one product for query, key and value, fused attention, feed-forward of four times the width."""

    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BNd):
        batch, length, width = x_BNd.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm_1(x_BNd)).split(width, 2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x_BNd = x_BNd + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x_BNd + self.down(F.gelu(self.up(self.norm_2(x_BNd))))


class Transformer(nn.Module):
    def __init__(self, length, width, layers, heads, vocabulary, causal):
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, causal) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def hidden(self, ids_BN):
        x_BNd = self.token(ids_BN) + self.position.weight[:ids_BN.shape[1]]
        for block in self.blocks:
            x_BNd = block(x_BNd)
        return self.norm(x_BNd)

    def forward(self, ids_BN):
        return self.head(self.hidden(ids_BN))


def build(entrant, sizes):
    length, width, layers, heads, vocabulary = (sizes[name] for name in ("length", "width", "layers", "heads", "vocabulary"))
    slots = sizes.get("slots", 64)
    if entrant.startswith("transformer"):
        return Transformer(length, width, layers, heads, vocabulary, causal="bidirectional" not in entrant)
    if entrant == "linformer":
        from linformer import LinformerLM
        return LinformerLM(num_tokens=vocabulary, dim=width, seq_len=length, depth=layers, k=slots, heads=heads)
    if entrant == "linformer-pytorch":
        from linformer_pytorch import LinformerLM
        return LinformerLM(num_tokens=vocabulary, input_size=length, channels=width, dim_k=slots, dim_ff=4 * width, nhead=heads,
                           depth=layers, dropout=0, dropout_ff=0, dropout_tokens=0, parameter_sharing="headwise")
    raise ValueError(f"no such entrant: {entrant}")


def count_parameters(model, length):
    """All, and those that do not belong to the length: tables of positions and projections differ by design."""
    unique = {id(p): p for p in model.parameters()}.values()
    return {"parameters": sum(p.numel() for p in unique),
            "matched": sum(p.numel() for p in unique if p.dim() < 2 or length not in p.shape)}


def token_ids(folder):
    """The training ids of a prepared folder (docs/formats.md)."""
    with open(f"{folder}/tokens.bin", "rb") as file:
        header = file.read(256)
    count = int.from_bytes(header[24:32], "little")
    width = int.from_bytes(header[12:16], "little")
    return np.memmap(f"{folder}/tokens.bin", dtype=f"<u{width}", mode="r", offset=256, shape=(count,))


class Training:
    def __init__(self, setup):
        torch.set_num_threads(setup["threads"])
        torch.manual_seed(0)
        self.entrant, self.length, self.batch = setup["entrant"], setup["model"]["length"], setup["batch"]
        self.model = build(self.entrant, setup["model"])
        self.run = torch.compile(self.model) if self.entrant.endswith("compiled") else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
        self.ids = token_ids(setup["data"])
        self.random = np.random.default_rng(0)
        self.autocast = (torch.autocast("cpu", torch.bfloat16) if setup["dtype"] == "bfloat16" else contextlib.nullcontext())
        # PyTorch's own choice of chunk can be slow where the batch is small; a fixed one is the rival's better side.
        size = {"transformer, chunked-loss": None, "transformer, chunked-loss 512": 512}.get(self.entrant)
        self.chunks = nn.LinearCrossEntropyOptions(batch_chunk_size=size) if size else nn.LinearCrossEntropyOptions()

    def describe(self):
        return dict(count_parameters(self.model, self.length), tokens=self.batch * self.length)

    def loss(self, ids_BN, targets_BN):
        with self.autocast:
            if "chunked-loss" in self.entrant:
                return F.linear_cross_entropy(self.model.hidden(ids_BN).flatten(0, 1), self.model.head.weight, targets_BN.flatten(),
                                              options=self.chunks)
            return F.cross_entropy(self.run(ids_BN).flatten(0, 1), targets_BN.flatten())

    def step(self):
        starts = self.random.integers(0, len(self.ids) - self.length - 1, self.batch)
        window = torch.from_numpy(np.stack([self.ids[s:s + self.length + 1] for s in starts]).astype(np.int64))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(window[:, :-1], window[:, 1:])
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def round(self, work):
        start = time.perf_counter()
        for _ in range(work.get("steps", 1)):
            loss = self.step()
        seconds = time.perf_counter() - start
        if not np.isfinite(loss):
            raise ValueError("the loss is not finite")
        return {"tokens_per_second": work.get("steps", 1) * self.batch * self.length / seconds, "loss": loss}
