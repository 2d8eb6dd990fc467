"""Each layer includes only layers that docs/architecture.md lets it use, and every public header stays small."""
import os
import pathlib
import re
import subprocess

SOURCE = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])


def table_of_layers(page):
    """Layer -> the layers that it may use, from the table `layer | holds | may use`; a word there that is no layer is a library."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([^|]*) \|$", page, re.M)
    names = [name for name, _ in rows]
    return {name: [word for word in re.findall(r"\w+", uses) if word in names] for name, uses in rows}


# docs/architecture.md says it; CMake is compared with it.
USES = table_of_layers((SOURCE / "docs/architecture.md").read_text(encoding="utf-8"))


def below(layer):
    found = set()
    for used in USES[layer]:
        found |= {used} | below(used)
    return found


def violations(files):
    """(file, included layer) for every include that points upward or sideways; `files` maps paths to (layer, text)."""
    wrong = []
    for path, (layer, text) in files.items():
        for included in re.findall(r'#include\s+["<](?:linformer/)?(\w+)/[\w/.]+[">]', text):
            if included in USES and included != layer and included not in below(layer):
                wrong.append((path, included))
    return wrong


def sources():
    files = {}
    for root in (SOURCE / "include/linformer", SOURCE / "src"):
        for path in sorted(root.rglob("*")):
            if path.suffix in {".hpp", ".cpp", ".inc"}:
                files[str(path.relative_to(SOURCE))] = (path.relative_to(root).parts[0], path.read_text())
    return files


def test_every_folder_is_a_layer():
    assert {layer for layer, _ in sources().values()} == set(USES)


def test_the_table_is_read_as_it_is_meant():
    table = table_of_layers("| layer | holds | may use |\n|---|---|---|\n| `a` | `b`, and c | std, fmt |\n| `b` | a, c | a, engine's threads |\n| `c` | d | b, a |\n")
    assert table == {"a": [], "b": ["a"], "c": ["b", "a"]}
    assert USES["nn"] == ["ops", "config"]


def test_a_layer_uses_only_those_above_it_in_the_table():
    names = list(USES)
    assert [(name, used) for name in names for used in USES[name] if names.index(used) >= names.index(name)] == []


def test_cmake_links_what_the_table_allows():
    text = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "CMakeLists.txt", *sorted((SOURCE / "cmake").glob("*.cmake"))))
    linked = {name: set(re.findall(r"linformer::(\w+)", uses)) for name, uses in re.findall(r"^linformer_layer\((\w+)(?: TORCH)? USES ([^)]*)\)", text, re.M)}
    assert {name: uses & set(USES) for name, uses in linked.items()} == {name: set(uses) for name, uses in USES.items()}


def test_includes_point_downward():
    files = sources()
    assert len(files) > 30
    assert violations(files) == []


def test_an_upward_include_is_caught():
    assert violations({"x": ("ops", '#include "linformer/nn/language_model.hpp"')}) == [("x", "nn")]
    assert violations({"x": ("data", '#include "nn/attention.hpp"')}) == [("x", "nn")]
    assert violations({"x": ("infer", '#include "linformer/core/error.hpp"')}) == []


def test_public_headers_fit_in_the_head():
    long = {str(p.name): n for p in (SOURCE / "include").rglob("*.hpp") if (n := len(p.read_text().splitlines())) > 160}
    assert long == {}


def test_no_machine_path_or_registry_host():
    pattern = re.compile("/work" + r"/|/tmp" + r"/w/|file" + r"s\.pythonhosted|pypi\." + "org")
    tracked = [p for folder in ("include", "src", "cli", "tests", "tools", "cmake", "docs", "configs", "bench", "examples", "fuzz")
               for p in (SOURCE / folder).rglob("*") if p.is_file() and p.suffix not in {".safetensors", ".pyc"}]
    assert [str(p) for p in tracked if pattern.search(p.read_text(errors="replace"))] == []


def test_loops_on_threads_go_through_one_function():
    """at::parallel_for is serial, unnoticed, in a file that is built without OpenMP (src/kernels/parallel.hpp)."""
    using = {path for path, (_, text) in sources().items() if re.search(r"at::parallel_(for|reduce)\(|^ *#pragma omp", text, re.M)}
    assert using == {"src/kernels/parallel.cpp"}


def test_json_and_toml_are_parsed_in_one_place_each():
    """Where their depth is bounded."""
    using = {path for path, (_, text) in sources().items() if re.search(r"(json|toml)::(sax_)?parse\(|json::accept\(", text)}
    assert using == {"src/core/json.cpp", "src/config/toml.cpp"}


INSTRUCTION_SETS = ("_avx2", "_avx512", "_avx512_bf16")


def test_kernels_of_an_instruction_set_keep_their_functions_to_themselves():
    """A weak function of such a file may be the one that the linker takes for all files, also on processors that lack the instructions."""
    archive = pathlib.Path(os.environ["LINFORMER_BINARY_DIR"]) / "liblinformer_kernels.a"
    symbols = subprocess.run(["nm", "--demangle", archive], capture_output=True, text=True, check=True).stdout
    of_file = {name: lines for name, lines in re.findall(r"^(\S+)\.cpp\.o:\n((?:.+\n)*)", symbols, re.M)}
    files = [name for name in of_file if name.endswith(INSTRUCTION_SETS)]
    if "x86" in os.uname().machine:
        assert {"kernels_avx2", "kernels_avx512", "kernels_avx512_bf16"} <= set(files)
    weak = [(name, line) for name in files for line in of_file[name].splitlines() if re.match(r"\S+ [VWu] ", line)]
    assert weak == []
