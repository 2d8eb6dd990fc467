"""What the machine can do at best: products, and reading a matrix once (what decoding is bound by)."""

import time

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def product_rate(size, dtype, seconds=0.3):
    """GFLOP/s of one square product, the best of those that fit into `seconds`."""
    a = torch.randn(size, size).to(dtype)
    best, end = 0.0, time.perf_counter() + seconds
    while best == 0 or time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, a)
        best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def read_rate(dtype, rows=50257, width=384, seconds=0.3):
    """GB/s at which a matrix-vector product reads its matrix."""
    matrix, vector = torch.randn(rows, width).to(dtype), torch.randn(width).to(dtype)
    best, end = 0.0, time.perf_counter() + seconds
    while best == 0 or time.perf_counter() < end:
        start = time.perf_counter()
        torch.mv(matrix, vector)
        best = max(best, matrix.numel() * matrix.element_size() / (time.perf_counter() - start) / 1e9)
    return best


def hopeless(dtype):
    """Some processors emulate bfloat16 at a five-hundredth of the speed: asked with a tiny product first."""
    return any(product_rate(size, DTYPES[dtype], 0.05) < product_rate(size, torch.float32, 0.05) / 4 for size in (64, 256))


class Probe:
    def __init__(self, setup):
        torch.set_num_threads(setup["threads"])

    def describe(self):
        return {}

    def round(self, work):
        result = {}
        for name in work["dtypes"]:
            if name != "float32" and hopeless(name):
                result[f"{name}_gflops"] = product_rate(64, DTYPES[name], 0.05)
                result[f"{name}_hopeless"] = True
                continue
            result[f"{name}_gflops"] = product_rate(2048, DTYPES[name])
            result[f"{name}_read_gbps"] = read_rate(DTYPES[name])
        return result
