"""Linformers as models of Hugging Face's transformers.

`import linformer_cpp.huggingface` registers them, so that `AutoConfig`, `AutoModelForCausalLM` and `AutoModelForMaskedLM` know the folders that
`save_pretrained` writes, and with them `pipeline`. `linformer_cpp` itself does not need transformers. docs/python.md shows how they are used.
"""

try:
    import transformers
except ImportError as error:
    raise ImportError("linformer_cpp.huggingface needs transformers, 5.24 or newer: pip install 'transformers>=5.24'") from error

if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < (5, 24):
    found = transformers.__version__
    raise ImportError(f"linformer_cpp.huggingface needs transformers 5.24 or newer, but {found} is installed: pip install 'transformers>=5.24'")

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from .cache import LinformerCache
from .configuration import LinformerConfig
from .modelling import LinformerForCausalLM, LinformerForMaskedLM, LinformerPreTrainedModel

__all__ = ["LinformerCache", "LinformerConfig", "LinformerForCausalLM", "LinformerForMaskedLM", "LinformerPreTrainedModel"]

AutoConfig.register(LinformerConfig.model_type, LinformerConfig, exist_ok=True)
AutoModelForCausalLM.register(LinformerConfig, LinformerForCausalLM, exist_ok=True)
AutoModelForMaskedLM.register(LinformerConfig, LinformerForMaskedLM, exist_ok=True)
