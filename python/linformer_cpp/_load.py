"""Loads the extension module, or says in one ImportError why it can't be."""

import torch

from ._built_with import TORCH, VERSION

__all__ = ["native"]

if torch.__version__.partition("+")[0] != TORCH:
    raise ImportError(
        f"linformer_cpp {VERSION} was built for torch {TORCH}, but torch {torch.__version__} is installed, and C++ libraries of torch serve one version alone. "
        f"Install torch=={TORCH}, or build the package again with this torch: pip install --no-build-isolation ."
    )
if hasattr(torch.ops.linformer, "attention"):
    raise ImportError(
        "torch.ops.linformer is registered already, by liblinformer_ops.so or another copy of linformer_cpp. Its operators are the same: "
        "import linformer_cpp alone, without torch.ops.load_library."
    )

from . import _native as native  # noqa: E402: after the checks
