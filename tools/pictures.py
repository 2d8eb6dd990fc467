"""Pictures of lines, drawn by gnuplot in the looks of `linformer report --pictures`. The tools of this folder share it."""

import subprocess

COLOURS = ("#2257cf", "#d4581a", "#14794c", "#8e3bb0", "#a87700", "#0b8199", "#c2255c", "#6a4b35")
TRANSFORMER = "#46515d"  # grey, as in the report

# noenhanced: names hold _ and ^, which are no sub- and superscripts.
HEAD = """\
set terminal svg noenhanced size 720,460 background rgb 'white' font 'Helvetica,13'
set encoding utf8
set border 3 lc rgb '#5a6673'
set tics nomirror
set grid lc rgb '#d3d9e0' lw 0.5
"""


def quoted(text):
    """In single quotes gnuplot substitutes nothing; a quote is doubled."""
    return "'" + str(text).replace("'", "''").replace("\n", " ") + "'"


def data(name, points):
    return f"${name} << END\n" + "".join(" ".join(f"{value:.8g}" for value in point) + "\n" for point in points) + "END\n"


def run(script, out):
    """Lets gnuplot write `out`; FileNotFoundError if it is not installed."""
    subprocess.run(["gnuplot"], input=f"{HEAD}set output {quoted(out)}\n{script}", text=True, check=True)


def colours_of(titles):
    """A colour a line: the Transformer is grey, all others take turns."""
    others = [title for title in titles if not title.startswith(("Transformer", "softmax"))]
    return {title: COLOURS[others.index(title) % len(COLOURS)] if title in others else TRANSFORMER for title in titles}


def lines(out, named, x, y, log_y=False, zero=False, uprights=(), top=None):
    """Draws `named`, {title: [(x, y), …]}, over a logarithmic axis of x; `uprights`, [(x, word), …], are dashed;
    `zero` has a line; what lies above `top` is cut off."""
    colours = colours_of(list(named))
    script = f"set xlabel {quoted(x)}\nset ylabel {quoted(y)}\nset key outside top center horizontal Left reverse samplen 2 width 2\n"
    script += "set logscale x 2\nset format x '%.0f'\nset autoscale xfix\nset rmargin 5\n" + ("set logscale y 2\n" if log_y else "")
    script += "set xzeroaxis lt 1 lw 1 lc rgb '#5a6673'\n" if zero else ""
    script += f"set yrange [*:{top:.8g}]\n" if top is not None else ""
    for place, word in uprights:
        script += f"set arrow from {place:.8g}, graph 0 to {place:.8g}, graph 1 nohead dt 3 lc rgb '#5a6673'\n"
        script += f"set label {quoted(word)} at {place:.8g}, graph 0.97 right rotate by 90 offset 0.7,0 tc rgb '#5a6673'\n"
    script += "".join(data(f"line{i}", points) for i, points in enumerate(named.values()))
    drawn = (f"$line{i} using 1:2 with linespoints lc rgb '{colours[title]}' lw 2 dt {1 if i < len(COLOURS) else 2} pt 7 ps 0.5 title {quoted(title)}"
             for i, title in enumerate(named))
    run(script + "plot " + ", \\\n ".join(drawn) + "\n", out)
