"""Entrants as child processes that stay alive between rounds, as far as memory allows."""

import contextlib
import json
import os
import selectors
import subprocess
import time

# Large buffers are kept, not handed back to the kernel at every step: worth 7 to 9 % in training, and the same for all.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}


def environment(command, threads):
    count = str(threads)
    own = os.path.basename(str(command[0])) == "peers_entrant"  # which keeps them by itself, as our program does
    return dict(os.environ, **({} if own else MALLOC), OMP_NUM_THREADS=count, MKL_NUM_THREADS=count, RAYON_NUM_THREADS=count,
                TOKENIZERS_PARALLELISM="true", TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1")


class EntrantError(Exception):
    """What an entrant answered instead of a result."""


class Child:
    def __init__(self, command, threads, log):
        self.process = subprocess.Popen(command, env=environment(command, threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.buffer, self.told, self.warm = b"", {}, set()  # warm: names of the cases that it is warmed up for

    def ask(self, command, seconds):
        """The reply, or EntrantError: what it said, that it ended, or that it took longer than `seconds`."""
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise EntrantError(self.ended()) from None
        reply = json.loads(self.read_line(seconds))
        if "error" in reply:
            raise EntrantError(reply["error"])
        return reply

    def read_line(self, seconds):
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                if not selector.select(max(0.0, end - time.monotonic())):
                    self.close(kill=True)
                    raise EntrantError(f"no answer in {seconds:.0f} s")
                part = os.read(self.process.stdout.fileno(), 1 << 16)
                if not part:
                    raise EntrantError(self.ended())
                self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def ended(self):
        code = self.process.wait()
        return f"ended by signal {-code}" + (" (out of memory?)" if code == -9 else "") if code < 0 else f"ended with status {code}"

    def resident(self):
        try:
            with open(f"/proc/{self.process.pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0

    def close(self, kill=False):
        if kill:
            self.process.kill()
        with contextlib.suppress(BrokenPipeError):  # a command that a dead child did not read
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def available_memory():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


class Pool:
    """One child a (command, set-up). Before a child works, the largest idle ones go until there is room for it: as much as it ever
    held, or `reserve`."""

    def __init__(self, threads, log, memory=None, reserve=3 << 30):
        self.threads, self.log, self.reserve = threads, log, reserve
        self.limit = 0.85 * (memory or available_memory())
        self.children, self.peaks = {}, {}

    @staticmethod
    def key(command, setup):
        return json.dumps([list(map(str, command)), setup], sort_keys=True)

    def make_room(self, key):
        wanted = self.limit - self.peaks.get(key, self.reserve)
        sizes = {other: child.resident() for other, child in self.children.items() if other != key}
        while sizes and sum(sizes.values()) > wanted:
            largest = max(sizes, key=sizes.get)
            self.drop(largest)
            del sizes[largest]

    def ready(self, command, setup, seconds):
        """The child, set up, and what it said about itself; None when it was at work already."""
        key = self.key(command, setup)
        self.make_room(key)
        if key in self.children:
            return self.children[key], None
        child = self.children[key] = Child(command, self.threads, self.log)
        try:
            return child, child.ask({"command": "setup", "setup": setup}, seconds)
        except EntrantError:
            self.drop(key, kill=True)
            raise

    def round(self, command, setup, work, seconds):
        key = self.key(command, setup)
        child = self.children[key]
        try:
            reply = child.ask({"command": "round", "work": work}, seconds)
        except EntrantError:
            self.drop(key, kill=True)
            raise
        self.peaks[key] = max(self.peaks.get(key, 0), child.resident())
        return reply

    def drop(self, key, kill=False):
        self.children.pop(key).close(kill)

    def keep_only(self, keys):
        for key in [key for key in self.children if key not in keys]:
            self.drop(key)
