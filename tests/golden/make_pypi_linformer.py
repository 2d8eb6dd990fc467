"""Makes pypi_linformer.safetensors, beside this file: what PyPI's `linformer` 0.2.3 gives, with each option that it has.

pip install linformer==0.2.3 safetensors, and run it. Weights are as it draws them, in float32; it then computes in float64, and so are inputs, outputs and
gradients. For each case NAME: `NAME.input`, `.context` where it has one, `.weight.PARAMETER`, `.output`, and `.grad.input`, `.grad.context`, `.grad.PARAMETER`
of (output · sin(0, 1, 2, …)). The metadata `cases` is JSON: NAME → class, arguments, whether it was in training and with which seed of dropout.
"""
import json
import pathlib

import linformer
import torch
from safetensors.torch import save_file

SIZES = dict(dim=8, seq_len=19, k=5, heads=2)
CASES = {
    "plain": ("LinformerSelfAttention", {}, {}),
    "short": ("LinformerSelfAttention", {}, dict(tokens=11)),
    "shorter_than_slots": ("LinformerSelfAttention", {}, dict(tokens=3)),
    "dim_head": ("LinformerSelfAttention", dict(dim_head=3), {}),
    "one_kv_head": ("LinformerSelfAttention", dict(one_kv_head=True), {}),
    "share_kv": ("LinformerSelfAttention", dict(share_kv=True), {}),
    "all_shared": ("LinformerSelfAttention", dict(dim_head=6, one_kv_head=True, share_kv=True), dict(tokens=13)),
    "context": ("LinformerSelfAttention", {}, dict(context=17)),
    "context_shared": ("LinformerSelfAttention", dict(one_kv_head=True, share_kv=True), dict(tokens=29, context=19)),
    "attention_dropout": ("LinformerSelfAttention", dict(dropout=0.3, one_kv_head=True), dict(seed=5)),
    "layers": ("Linformer", dict(depth=2), {}),
    "layers_shared": ("Linformer", dict(depth=1, dim_head=3, one_kv_head=True, share_kv=True), dict(tokens=12)),
    "layers_dropout": ("Linformer", dict(depth=2, dropout=0.2), dict(seed=6)),
    "reversible": ("Linformer", dict(depth=2, reversible=True), dict(seed=4)),  # without training its backward pass fails
    "reversible_dropout": ("Linformer", dict(depth=2, reversible=True, dropout=0.25, one_kv_head=True), dict(seed=7, tokens=16)),
}


def run(number, kind, arguments, tokens=19, context=None, seed=None):
    torch.manual_seed(number)
    module = getattr(linformer, kind)(**SIZES, **arguments)
    weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    module.double().train(seed is not None)
    inputs = {"input": torch.randn(2, tokens, SIZES["dim"], dtype=torch.float64, requires_grad=True)}
    if context:
        inputs["context"] = torch.randn(2, context, SIZES["dim"], dtype=torch.float64, requires_grad=True)
    if seed is not None:
        torch.manual_seed(seed)
    output = module(*inputs.values())
    (output * torch.arange(output.numel(), dtype=torch.float64).sin().view_as(output)).sum().backward()
    made = dict(inputs, output=output) | {f"weight.{name}": tensor for name, tensor in weights.items()}
    made |= {f"grad.{name}": tensor.grad for name, tensor in (inputs | dict(module.named_parameters())).items()}
    return {name: tensor.detach().contiguous() for name, tensor in made.items()}


tensors, cases = {}, {}
for number, (name, (kind, arguments, how)) in enumerate(CASES.items()):
    tensors |= {f"{name}.{part}": tensor for part, tensor in run(number, kind, arguments, **how).items()}
    cases[name] = {"class": kind, "arguments": SIZES | arguments, "seed": how.get("seed")}
save_file(tensors, pathlib.Path(__file__).with_name("pypi_linformer.safetensors"), {"cases": json.dumps(cases)})
