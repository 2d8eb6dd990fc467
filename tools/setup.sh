#!/usr/bin/env bash
# Installs what is missing, and nothing twice: Debian packages, LibTorch in .venv, the vocabulary and the corpora in data/.
# Works offline once everything is there. TORCH_DIR=…/site-packages/torch uses another LibTorch, for the build and for .venv. Options bring more:
#   --tests   what only the tests use: a browser, gnuplot, and Python's headers for the package of python/
#   --format  clang-format, in the one version that the project's formatting is checked with, into .venv
#   --checks  both, and clang 19 with clang-tidy and the run-time of its sanitizers and fuzzers, where Debian's release has them
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache python3-venv libcli11-dev nlohmann-json3-dev libfmt-dev libpcre2-dev libtomlplusplus-dev
  libgtest-dev libbenchmark-dev)
checks=(clang-19 clang-tidy-19 libclang-rt-19-dev)
clang_format="clang-format==19.1.7"
say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: error: %s\n' "$*" >&2; exit 2; }
with_format=""
for option in "$@"; do
  case $option in
    --tests | --checks) [[ " ${packages[*]} " == *" chromium "* ]] || packages+=(chromium gnuplot-nox python3-dev) ;;&
    --format | --checks) with_format=yes ;;&
    --checks) packages+=("${checks[@]}") ;;
    --tests | --format) ;;
    *) stop "unknown option $option, expected --tests, --format or --checks" ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  # A compiler, CMake or Ninja from elsewhere serves as well as Debian's.
  case $package in
    g++ | cmake | ccache | chromium) command -v "$package" >/dev/null && continue ;;
    gnuplot-nox) command -v gnuplot >/dev/null && continue ;;
    clang-19 | clang-tidy-19) command -v "$package" >/dev/null && continue ;;
    ninja-build) command -v ninja >/dev/null && continue ;;
    python3-dev) python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' && continue ;;
    python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
  esac
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
      stop "these Debian packages are missing and neither root nor password-less sudo is at hand: apt-get install ${missing[*]}"
    as_root=(sudo -n)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  for package in "${checks[@]}"; do
    [[ " ${missing[*]} " != *" $package "* ]] || apt-cache show "$package" >/dev/null 2>&1 ||
      stop "--checks needs clang 19, but this release of Debian has no package $package. Build, tests and make check-format need none of it; for the others use Debian 12 or later"
  done
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# The Python side: LibTorch itself, and what the tests compare with.
wanted="numpy tiktoken==0.14.0 tensorboard pytest transformers==5.24.0 accelerate==1.15.0"
alone="linformer-pytorch==0.19.3" # needs matplotlib only for plots, which no test draws
site="" # where .venv finds torch, when TORCH_DIR is that of a Python environment: the operator library runs only with the torch it was built with
if [ -n "${TORCH_DIR:-}" ] && [ -f "$TORCH_DIR/__init__.py" ]; then
  site=$(cd "$TORCH_DIR/.." && pwd)
else
  wanted="torch==2.13.0 $wanted"
fi
stamp=.venv/.installed
if [ "$(cat $stamp 2>/dev/null)" != "$wanted $alone${site:+ beside $site}" ]; then
  [ -x .venv/bin/pip ] || { say "making .venv"; python3 -m venv .venv; }
  own=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  rm -f "$own/linformer_torch.pth"
  if [ -n "$site" ]; then
    # A torch of .venv's own would come first.
    [ ! -d "$own/torch" ] || .venv/bin/python -m pip uninstall --quiet --yes torch
    echo "$site" >"$own/linformer_torch.pth"
    .venv/bin/python -c 'import torch' ||
      stop "$(.venv/bin/python --version) can't import torch from $TORCH_DIR: name a TORCH_DIR made for this Python, or remove .venv and run with the Python that TORCH_DIR is for first in PATH"
    say "torch comes from $TORCH_DIR"
  fi
  say "installing into .venv: $wanted $alone (the first time this may download several hundred MB)"
  # shellcheck disable=SC2086
  .venv/bin/python -m pip install --quiet --disable-pip-version-check $wanted || stop "pip could not install: $wanted"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$alone" || stop "pip could not install: $alone"
  echo "$wanted $alone${site:+ beside $site}" >$stamp
fi

if [ -n "$with_format" ] && [ "$(.venv/bin/clang-format --version 2>/dev/null | grep -oE '[0-9]+[.][0-9]+[.][0-9]+' | head -1)" != "${clang_format#*==}" ]; then
  say "installing into .venv: $clang_format"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$clang_format" || stop "pip could not install: $clang_format"
fi

.venv/bin/python tools/fetch_data.py --pip "$PWD/.venv/bin/pip"
say "everything is in place"
