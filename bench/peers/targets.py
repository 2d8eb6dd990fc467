"""The targets of the project, and what was measured against each. N length, K slots, W window, d width, V vocabulary."""

import dataclasses

from results import series

TRAIN_CAUSAL = {512: (1.4, 1.15), 2048: (1.9, 1.5), 8192: (4.4, 2.8), 32768: (12, 9)}
TRAIN_BIDIRECTIONAL = {512: (2, 1.15), 2048: (2, 1.05), 8192: (1.8, 1.15)}
DECODE = {16: 1.0, 1024: 1.3, 3800: 2.0}
DECODE_BATCH = {16: 1.2, 3800: 15.0}
PROMPT = {1024: 1.3, 3800: 2.0}
OURS = "ours, window"


@dataclasses.dataclass
class Target:
    what: str
    goal: tuple          # on machines of kind A and of kind B
    value: float | None  # None: not measured
    detail: str = ""
    at_most: bool = False
    unit: str = ""

    def missed(self, kind):
        """False also where nothing was measured."""
        goal = self.goal[kind == "B"]
        return self.value is not None and not (self.value <= goal if self.at_most else self.value >= goal)

    def wanted(self, kind):
        return f"{'≤' if self.at_most else '≥'} {self.goal[kind == 'B']:g}{self.unit}"

    def shown(self):
        return "–" if self.value is None else f"{self.value:.3g}{self.unit}"


def same(goal):
    return goal, goal


class Measured:
    """Medians by case and entrant, from the newest run of each case."""

    def __init__(self, results):
        self.results = results
        self.runs, self.starts = results.latest()

    def series(self, case, metric="tokens_per_second"):
        return series(self.results, self.runs[case], case, metric) if case in self.runs else {}

    def best(self, case, names, metric="tokens_per_second", dtype=None):
        """The fastest of the entrants with one of these names (None: all rivals): (name, median)."""
        found = []
        for entrant, numbers in self.series(case, metric).items():
            name, _, kind = entrant.partition(" · ")
            wanted = not name.startswith("ours") if names is None else name in names
            if wanted and (dtype is None or kind == dtype):
                found.append((numbers.median, entrant))
        return max(found)[::-1] if found else (None, None)

    def peak(self, case, name):
        """Memory in GiB of the entrant, in its dtype that needs least."""
        peaks = {}
        for event in self.results.find("round", self.runs.get(case), case):
            if event["entrant"].startswith(f"{name} ·"):
                peaks[event["entrant"]] = max(peaks.get(event["entrant"], 0), event["peak_bytes"])
        return min(peaks.values()) / 2**30 if peaks else None

    def setup(self, case, entrant):
        found = self.results.find("setup", self.runs.get(case), case, entrant)
        return found[-1] if found else None


def ratio(measured, case, ours, rivals, metric="tokens_per_second", dtype=None):
    """Our median over the best rival's, and both as text."""
    own, rival = (measured.best(case, names, metric, dtype) for names in (ours, rivals))
    if own[1] is None or rival[1] is None:
        return None, ""
    return own[1] / rival[1], f"{own[0]} {own[1]:.4g} against {rival[0]} {rival[1]:.4g}"


def tokens_a_step(measured, case):
    told = [event["told"] for event in measured.results.find("setup", measured.runs.get(case), case)]
    return f"{told[0]['tokens']} tokens a step; the target means 8192" if told and "tokens" in told[0] else ""


def layer_work(attention, width, slots, window):
    """Multiply-adds a token of one layer, feed-forward included (docs/maths: counting work)."""
    if attention == "bidirectional":
        return 10 * width**2 + 4 * slots * width
    return 12 * width**2 + 2 * slots * width + 2 * width * (slots + 1.5 * window)


def utilisation(measured, case, name):
    """Share of the best product of the same case that the model's arithmetic reached, forward and backward."""
    entrant, speed = measured.best(case, [name])
    if entrant is None:
        return None, ""
    dtype = entrant.partition(" · ")[2]
    peak = max((s.high for s in measured.series(case, f"{dtype}_gflops").values()), default=0)
    if not peak:
        return None, ""
    setup = measured.setup(case, entrant)["setup"]
    sizes = setup["model"]
    work = sizes["layers"] * layer_work(setup["attention"], sizes["width"], sizes.get("slots", 64), sizes.get("window", 64))
    work += sizes["vocabulary"] * sizes["width"]
    reached = 3 * 2 * work * speed / 1e9
    return reached / peak, f"{entrant}: {reached:.0f} of {peak:.0f} GFLOP/s"


def stream_bound(measured, case, dtype):
    """How many times longer a token takes than reading the weights once."""
    entrant, speed = measured.best(case, [OURS], dtype=dtype)
    read = max((s.high for s in measured.series(case, "float32_read_gbps").values()), default=0)
    if entrant is None or not read:
        return None, ""
    size = measured.setup(case, entrant)["told"]["matched"] * {"float32": 4, "bfloat16": 2, "8 bit": 1}[dtype]
    bound = read * 1e9 / size
    return bound / speed, f"{speed:.0f} tokens/s, bound {bound:.0f} ({size / 1e6:.0f} MB at {read:.1f} GB/s)"


def training(measured):
    for length, goal in TRAIN_CAUSAL.items():
        yield Target(f"training, causal window against the fused-attention Transformer, n {length}", goal,
                     *ratio(measured, f"train-S-{length}", [OURS], ["transformer", "transformer, compiled"]))
    for length, goal in TRAIN_BIDIRECTIONAL.items():
        case = f"train-S-{length}"
        yield Target(f"training, bidirectional against PyPI `linformer`, n {length}", goal, *ratio(measured, case, ["ours, bidirectional"], ["linformer"]))
        yield Target(f"training, bidirectional against PyPI `linformer-pytorch`, n {length}", (2.5, 1.15),
                     *ratio(measured, case, ["ours, bidirectional"], ["linformer-pytorch"]))
    for length in TRAIN_CAUSAL:
        case = f"train-S-{length}"
        yield Target(f"training, our causal form against our bidirectional one, n {length}", same(0.83), *ratio(measured, case, [OURS], ["ours, bidirectional"]))
        for name in (OURS, "ours, bidirectional"):
            yield Target(f"model FLOP utilisation, {name.removeprefix('ours, ')}, n {length}", same(0.70), *utilisation(measured, case, name))
    case = "train-reference"
    yield Target("reference setting against the Transformer with plain cross-entropy", (2.0, 1.8), *ratio(measured, case, [OURS], ["transformer"]))
    yield Target("reference setting against the Transformer with `linear_cross_entropy`", same(1.2), *ratio(measured, case, [OURS], ["transformer, chunked-loss", "transformer, chunked-loss 512"]))
    yield Target("reference setting, memory", same(2.5), measured.peak(case, OURS), tokens_a_step(measured, case), at_most=True, unit=" GiB")
    short, long = (measured.best(f"train-long-{length}", [OURS])[1] for length in (2048, 65536))
    yield Target("time a token in training, N 65536 over N 2048", same(1.15), short / long if short and long else None, at_most=True)
    yield Target("memory in training at N 65536", same(12), measured.peak("train-long-65536", OURS), at_most=True, unit=" GiB")


def generating(measured, width):
    for dtype in ("float32", "8 bit"):
        for context, goal in DECODE.items():
            case = f"generate-d{width}-b1-{context}"
            yield Target(f"generation, d {width}, batch 1, {dtype}, context {context}", same(goal), *ratio(measured, case, [OURS], None, dtype=dtype))
            value, detail = stream_bound(measured, case, dtype)
            yield Target(f"… time a token over the weight-stream bound, {dtype}, context {context}", same(1.4), value, detail, at_most=True)
        for context, goal in DECODE_BATCH.items():
            if width != 384 and f"generate-d{width}-b16-{context}" not in measured.runs:
                continue  # the floors are for one width; others are there for the record
            yield Target(f"generation, d {width}, batch 16, {dtype}, context {context}", same(goal),
                         *ratio(measured, f"generate-d{width}-b16-{context}", [OURS], None, dtype=dtype))
        for context, goal in PROMPT.items():
            yield Target(f"prompt reading, d {width}, {dtype}, {context} tokens", same(goal),
                         *ratio(measured, f"generate-d{width}-b1-{context}", [OURS], None, "prompt_tokens_per_second", dtype))


def all_targets(measured):
    yield from training(measured)
    for width in (384, 512):
        if any(case.startswith(f"generate-d{width}") for case in measured.runs):
            yield from generating(measured, width)
    early, late = (measured.best(f"generate-endless-{context}", [OURS])[1] for context in (100, 65000))
    yield Target("time a generated token, context 65000 over context 100", same(1.05), early / late if early and late else None, at_most=True)
    yield Target("streaming against reading the window again, N 4096", same(200), *ratio(measured, "generate-again", [OURS], None))
    for threads, goal in {1: 3.0, 2: 5.0}.items():
        yield Target(f"`tokenize` against tiktoken, threads: {threads}", same(goal),
                     *ratio(measured, f"tokenize-{threads}", ["ours"], ["tiktoken"], "mb_per_second"))
