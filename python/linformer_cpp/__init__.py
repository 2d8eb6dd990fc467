"""Linformer attention for PyTorch, computed in C++.

- `torch.ops.linformer.*`, and the same as typed functions: `attention`, `attend`, `prefix_attention`, `softmax_attention`, `linear_cross_entropy`.
- `LinformerSelfAttention` and `Linformer`: take the place of those of PyPI's `linformer`, load its weights, and have causal forms that don't leak.
- `LinformerLM`: the language model of the program `linformer`, as a module.
- `Tokenizer`, `TokenFile`: text as the program sees it.

docs/python.md of the project shows how they are used; docs/maths.md has the equations and the letters of shapes.
"""

from ._built_with import VERSION as __version__
from .functional import attend, attention, linear_cross_entropy, prefix_attention, softmax_attention
from .language_model import Generated, LinformerLM
from .modules import Linformer, LinformerSelfAttention
from .text import TokenFile, Tokenizer

__all__ = [
    "Generated",
    "Linformer",
    "LinformerLM",
    "LinformerSelfAttention",
    "TokenFile",
    "Tokenizer",
    "__version__",
    "attend",
    "attention",
    "linear_cross_entropy",
    "prefix_attention",
    "softmax_attention",
]
