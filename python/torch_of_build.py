"""For pyproject.toml: the package depends on the very version of torch that it is built with."""
import importlib.metadata
import os
import pathlib
import re


def version_of_torch() -> str:
    folder = os.environ.get("TORCH_DIR")
    if folder:  # as cmake/FindLibTorch.cmake, which takes it before all others
        text = (pathlib.Path(folder) / "include/torch/headeronly/version.h").read_text()
        return ".".join(re.findall(r"#define TORCH_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text))
    return importlib.metadata.version("torch").partition("+")[0]


def dynamic_metadata(field: str, settings: object = None) -> list[str]:
    if field != "dependencies":
        raise ValueError(f"torch_of_build gives dependencies, not {field}")
    return [f"torch=={version_of_torch()}"]
