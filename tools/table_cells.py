"""What tables in Markdown are made of."""


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def mean(values):
    return sum(values) / len(values)


def range_of(values):
    return {"mean": mean(values), "low": min(values), "high": max(values)} if values else None


def spread(figure, digits=3, factor=1):
    if figure is None:
        return "–"
    middle, low, high = (f"{figure[key] * factor:.{digits}f}" for key in ("mean", "low", "high"))
    return middle if low == high else f"{middle} ({low}–{high})"


def three_digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
