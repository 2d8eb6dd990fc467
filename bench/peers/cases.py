"""What is measured: cases, and in each the entrants whose rounds take turns."""

import dataclasses
import fnmatch

TRAIN_OURS = {"ours, window": "window", "ours, bidirectional": "bidirectional", "ours, Transformer": "softmax"}
SHAPE_S = dict(width=384, layers=4, heads=6, vocabulary=256)
REFERENCE = dict(width=384, layers=6, heads=6, vocabulary=50257)


@dataclasses.dataclass
class Case:
    """Rounds of `entrants`: name -> set-up. The first entrant says what the others' work must agree with."""
    name: str
    entrants: dict
    work: dict
    rounds: int
    warm_up: dict | None = None  # work of the round that does not count, once a child; None: as `work`
    seconds: float = 600         # longest that one answer may take
    fewer: dict = dataclasses.field(default_factory=dict)  # counted rounds of entrants that get fewer

    def rounds_of(self, entrant):
        return min(self.rounds, self.fewer.get(entrant, self.rounds))


@dataclasses.dataclass
class Settings:
    threads: int
    quick: bool
    rounds: int | None
    dtypes: tuple      # of training and of Hugging Face: those that the machine can
    folders: dict      # bytes, gpt2: prepared data; vocabulary, text, models
    compiled: bool = False
    fast_bfloat16: bool = False  # at least twice the products of float32


def train_setup(settings, entrant, dtype, sizes, length, batch, data, **more):
    setup = dict(task="train", entrant=entrant, dtype=dtype, threads=settings.threads, batch=batch, data=settings.folders[data],
                 model=dict(sizes, length=length), **more)
    if entrant in TRAIN_OURS:
        setup["attention"] = TRAIN_OURS[entrant]
    return setup


def with_products(settings, entrants):
    """The machine's limits are measured in each round too, early, so that a budget that ends does not cut them off."""
    (name, setup), *others = entrants.items()
    limits = [("products", dict(task="probe", threads=settings.threads))]
    if setup["task"] == "generate":
        limits.append(("ours, reading", dict(setup, task="read", model=dict(setup["model"], layers=1))))
    return dict([(name, setup), *limits, *others])


def training_case(settings, name, sizes, length, tokens, entrants, data, rounds):
    made = {f"{entrant} · {dtype}": train_setup(settings, entrant, dtype, sizes, length, max(1, tokens // length), data)
            for dtype in settings.dtypes for entrant in entrants}
    # Where bfloat16 is far ahead, float32 is there for the record, and at long lengths it takes most of the time.
    slow = [entrant for entrant in made if entrant.endswith("float32")] if settings.fast_bfloat16 and length >= 8192 else []
    return Case(name, with_products(settings, made), dict(steps=1, dtypes=list(settings.dtypes)), rounds, fewer=dict.fromkeys(slow, 2))


def left_out(entrant, length):
    """At 32768 positions those whose comparison is decided at 8192, so that the case takes minutes."""
    return length > 8192 and entrant in ("transformer, bidirectional", "linformer-pytorch", "ours, Transformer")


def training_cases(settings):
    quick = settings.quick
    rivals = ["transformer", "linformer", "linformer-pytorch"] + ([] if quick else ["transformer, bidirectional"])
    if settings.compiled:
        rivals.append("transformer, compiled")
    ours = ["ours, window", "ours, bidirectional"] + ([] if quick else ["ours, Transformer"])
    for length in (512, 2048, 8192) if quick else (512, 2048, 8192, 32768):
        entrants = [entrant for entrant in ours + rivals if not left_out(entrant, length)]
        yield training_case(settings, f"train-S-{length}", SHAPE_S, length, 8192 if length <= 8192 else length, entrants,
                            "bytes", settings.rounds or (2 if quick else 5))
    rivals = ["transformer", "transformer, chunked-loss 512", "linformer"]
    rivals += [] if quick else ["linformer-pytorch", "transformer, chunked-loss"]
    yield training_case(settings, "train-reference", REFERENCE, 512, 2048 if quick else 8192, ["ours, window"] + rivals, "gpt2",
                        settings.rounds or (2 if quick else 3))


def long_cases(settings):
    """Time per token and memory against the length: ours alone, activations checkpointed in both."""
    sizes = dict(REFERENCE, vocabulary=256)
    for length in (2048, 65536):
        setup = train_setup(settings, "ours, window", settings.dtypes[0], sizes, length, max(1, 8192 // length), "bytes", checkpoint=True)
        yield Case(f"train-long-{length}", {f"ours, window · {settings.dtypes[0]}": setup}, dict(steps=1), settings.rounds or 3)


def generation_setup(settings, entrant, dtype, width, length=4096, vocabulary=50257):
    model = dict(width=width, layers=6, heads=width // 64, vocabulary=vocabulary, length=length, tied=True)
    setup = dict(task="generate", entrant=entrant, dtype=dtype, threads=settings.threads, model=model)
    if entrant.startswith("ours"):
        return dict(setup, attention="window", tokenizer=settings.folders["vocabulary"] if vocabulary > 256 else "bytes")
    return dict(setup, folder=settings.folders["models"])


def generation_entrants(settings, width):
    names = [("ours, window", "float32"), ("ours, window", "8 bit"), ("llama.cpp", "float32"), ("llama.cpp", "8 bit"),
             ("llama.cpp (float cache)", "float32"), ("llama.cpp (float cache)", "8 bit"), ("ctranslate2", "float32"),
             ("ctranslate2", "8 bit")]
    names += [("hugging face", dtype) for dtype in settings.dtypes]
    names += [("ours, window", dtype) for dtype in settings.dtypes if dtype != "float32"]
    return {f"{entrant} · {dtype}": generation_setup(settings, entrant, dtype, width) for entrant, dtype in names}


def generation_cases(settings):
    quick = settings.quick
    rounds = settings.rounds or (2 if quick else 5)
    shapes = [(384, 1, 16), (384, 1, 1024), (384, 1, 3800), (384, 16, 16)]
    if not quick:
        shapes = [(width, batch, context) for width in (384, 512) for batch in (1, 16) for context in (16, 1024, 3800)]
    for width, batch, context in shapes:
        work = dict(batch=batch, context=context, tokens=24 if quick else 64, dtypes=["float32"])
        yield Case(f"generate-d{width}-b{batch}-{context}", with_products(settings, generation_entrants(settings, width)), work, rounds,
                   warm_up=dict(work, tokens=4))


def endless_cases(settings):
    """Ours at a context that rivals cannot have; and reading the window again for each token, which is all that PyPI linformer can do."""
    setup = generation_setup(settings, "ours, window", "float32", 384, length=65536, vocabulary=256)
    for context in (100, 65000):
        yield Case(f"generate-endless-{context}", {"ours, window · float32": setup}, dict(batch=1, context=context, tokens=64),
                   settings.rounds or 3, warm_up=dict(batch=1, context=100, tokens=8))
    again = "linformer, reading again"
    entrants = {"ours, window · float32": generation_setup(settings, "ours, window", "float32", 384),
                f"{again} · float32": generation_setup(settings, again, "float32", 384)}
    for setup in entrants.values():
        setup["model"]["tied"] = False
    yield Case("generate-again", entrants, dict(batch=1, context=4000, tokens=4), settings.rounds or 2)


def tokenize_cases(settings):
    for threads in sorted({1, min(2, settings.threads)}):
        setup = dict(task="tokenize", threads=threads, tokenizer=settings.folders["vocabulary"], file=settings.folders["text"])
        entrants = {name: dict(setup, entrant=name) for name in ("ours", "tiktoken", "tokenizers")}
        yield Case(f"tokenize-{threads}", entrants, {}, settings.rounds or (3 if settings.quick else 7))


def all_cases(settings, pattern="*"):
    """In the order of what matters most, should the time run out."""
    cases = [*tokenize_cases(settings), *generation_cases(settings), *training_cases(settings)]
    if not settings.quick:
        cases += [*long_cases(settings), *endless_cases(settings)]
    return [case for case in cases if fnmatch.fnmatch(case.name, pattern) or pattern in case.name]
