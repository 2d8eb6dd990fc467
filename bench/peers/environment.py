"""build/peers-venv: the rivals, pinned. It sees the packages of the project's own environment, so that torch is there once."""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
OPTIONAL = "# optional"
# Only llama.cpp's libraries are wanted: no server, no tools, no multimodal part.
LLAMA_BUILD = "-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF"


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def requirements():
    """Names that must be there, and those that may be absent."""
    lines = [line.strip() for line in (HERE / "requirements.txt").read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    return ([line for line in lines if OPTIONAL not in line],
            [line.split("#")[0].strip() for line in lines if OPTIONAL in line])


def install(python, names, jobs=1):
    environment = dict(os.environ, CMAKE_ARGS=LLAMA_BUILD, CMAKE_BUILD_PARALLEL_LEVEL=str(jobs))
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *names]
    return subprocess.run(command, env=environment, stdout=sys.stderr).returncode == 0


def prepare(folder, site):
    """The interpreter of the rivals' environment, made or completed. `site` is the folder of packages that holds torch.
    What was tried is written down, so that a second run asks no package index; a failed optional package is tried once."""
    python, stamp = folder / "bin/python", folder / "installed"
    needed, optional = requirements()
    wanted = "\n".join([str(site), *needed, *optional])
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"making {folder}: {' '.join(needed)}")
    own_python = site.parents[2] / "bin/python"  # of the same version as the packages that are shared
    subprocess.run([str(own_python if own_python.exists() else sys.executable), "-m", "venv", str(folder)], check=True)
    own = next(folder.glob("lib/python*/site-packages"))
    (own / "shared.pth").write_text(f"{site}\n")  # searched after the environment's own packages
    if not install(python, needed):
        sys.exit(f"peers: pip could not install: {' '.join(needed)}")
    for name in optional:
        say(f"building {name} from source (once; up to half an hour)")
        if not install(python, [name], jobs=2):
            say(f"{name} could not be built; the results say so")
    stamp.write_text(wanted)
    return python
