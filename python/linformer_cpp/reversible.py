"""Reversible blocks (Gomez et al. 2017, arXiv 1707.04585): y1 = x1 + f(x2), y2 = x2 + g(y1), so that x follows from y and is not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ReversibleSequence"]


class Repeatable(nn.Module):
    """Computes `net` again as it was computed before: with the same random numbers and under the same autocast."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, **keywords: Any) -> Tensor:
        return self.net(x, **keywords)

    def remember(self, x: Tensor, keywords: dict[str, Any]) -> Callable[[Tensor], Tensor]:
        """Call it before `forward`; what it returns does the same once more, of any x."""
        devices = [x.device.index] if x.device.type == "cuda" else []
        state, device_states = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]
        kind = x.device.type
        dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)

        def again(x: Tensor) -> Tensor:
            with torch.random.fork_rng(devices), torch.autocast(kind, dtype, enabled, cache_enabled=False):
                torch.set_rng_state(state)
                for device, device_state in zip(devices, device_states):
                    torch.cuda.set_rng_state(device_state, device)
                return self(x, **keywords)

        return again


class ReversibleBlock(nn.Module):
    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.f = Repeatable(f)
        self.g = Repeatable(g)


class _Reversible(torch.autograd.Function):
    """(x1, x2) through all blocks. The parameters are arguments, so that autograd gives them their gradients itself."""

    @staticmethod
    def forward(ctx: Any, blocks: list[ReversibleBlock], keywords: dict[str, Any], x1: Tensor, x2: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        ctx.again = []
        for block in blocks:
            f = block.f.remember(x2, keywords)
            x1 = x1 + block.f(x2, **keywords)
            g = block.g.remember(x1, {})
            x2 = x2 + block.g(x1)
            ctx.again.append((f, g))
        ctx.parameters = parameters
        ctx.save_for_backward(x1, x2)
        return x1, x2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d1: Tensor, d2: Tensor) -> tuple[Tensor | None, ...]:
        y1, y2 = ctx.saved_tensors
        sums: list[Tensor | None] = [None] * len(ctx.parameters)

        def back(branch: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
            """branch(x), and the gradient of x; those of parameters are added to `sums`."""
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                out = branch(x)
            grad_x, *found = torch.autograd.grad(out, [x, *ctx.parameters], grad.to(out.dtype), allow_unused=True)
            for i, gradient in enumerate(found):
                if gradient is not None:
                    before = sums[i]
                    sums[i] = gradient if before is None else before + gradient
            return out.detach(), grad_x

        for f, g in reversed(ctx.again):
            out, grad = back(g, y1, d2)
            y2, d1 = y2 - out, d1 + grad
            out, grad = back(f, y2, d1)
            y1, d2 = y1 - out, d2 + grad
        return None, None, d1, d2, *sums


class ReversibleSequence(nn.Module):
    """x → the sum of both halves of the stream, which begins as (x, x). No activation of a block is kept for the backward pass."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for layer in layers:
            assert isinstance(layer, nn.ModuleList)
            self.blocks.append(ReversibleBlock(layer[0], layer[1]))

    def forward(self, x: Tensor, **of_attention: Any) -> Tensor:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        x1, x2 = _Reversible.apply(list(self.blocks), of_attention, x, x, *learned)  # type: ignore[no-untyped-call]
        return x1 + x2
