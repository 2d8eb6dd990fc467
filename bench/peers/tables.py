"""How the page writes figures and tables."""


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cell(numbers):
    if numbers is None:
        return "–"
    if len(numbers.values) == 1:
        return number(numbers.median)
    return f"{number(numbers.median)} ({number(numbers.low)}–{number(numbers.high)})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"
