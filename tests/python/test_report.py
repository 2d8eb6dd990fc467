"""`linformer report` in a real browser: every chart drawn, tables that sort, both colour schemes, hostile text, damaged folders."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess

import pytest

import report_folders as make
from browser import Browser, chromium

PROGRAM = os.path.join(os.environ["LINFORMER_BINARY_DIR"], "linformer")
# Share of pixels of the canvas that differ from its most frequent colour: an empty chart has none.
INK = """(() => linformerReport.charts.map(chart => {
  const canvas = chart.place.querySelector("canvas");
  if (!canvas || !canvas.width) return [chart.id, 0];
  const copy = document.createElement("canvas");
  copy.width = canvas.width; copy.height = canvas.height;
  const context = copy.getContext("2d");
  context.drawImage(canvas, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer), counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  return [chart.id, 1 - Math.max(...counts.values()) / pixels.length];
}))()"""
SERIES = "Object.fromEntries(linformerReport.charts.map(c => [c.id, c.instance.getOption().series.map(s => s.data.length)]))"


def report(*folders, out, status=0):
    result = subprocess.run([PROGRAM, "report", *map(str, folders), "--out", str(out)], capture_output=True, text=True, timeout=120)
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture(scope="module")
def browser():
    if not chromium():
        pytest.fail("no Chromium: apt-get install chromium (tools/setup.sh --tests installs it)")
    one = Browser()
    yield one
    one.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    for name, verdict, more in (("running-k32", "clean", {}), ("transformer", "clean", {"kind": "softmax"}), ("prefix", "leaks", {"window": 0})):
        make.audit(make.run(root / "runs" / name, floor=1.5 + len(name) / 100, seed=len(name), **more), verdict)
    make.samples(root / "runs" / "prefix")
    make.benchmark(root / "benchmark")
    make.ablation(root / "kinds")
    make.ablation(root / "recall", "recall", "Associative recall", recall=True)
    make.inspection(root / "inspection")
    make.evaluation(root / "evaluation")
    result = report(root, out=root / "page.html")
    assert result.stderr == ""
    return root / "page.html"


def opened(browser, path, width=1280, scheme="light"):
    browser.size(width)
    browser.prefer(scheme)
    seconds = browser.open(path.as_uri())
    browser.run("linformerReport.drawAll()")
    return seconds


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (1280, "dark"), (390, "light")])
def test_every_chart_is_drawn(browser, page, width, scheme):
    opened(browser, page, width, scheme)
    ink = dict(browser.run(INK))
    for name in ("loss", "rate-throughput", "rate-learning", "speed-0-time", "speed-0-memory", "speed-1-bars", "paper-time", "paper-memory", "ablation-1-loss", "ablation-1-bias",
                 "ablation-2-accuracy", "ablation-2-state", "ablation-2-distance", "inspect-1-spectrum-1-curve", "inspect-1-spectrum-1-heat", "inspect-1-weights-share",
                 "inspect-1-projection", "inspect-1-attention", "evaluations-1-position", "evaluations-2-position", "evaluations-1-depth"):
        assert name in ink
    assert {name: share for name, share in ink.items() if share < 0.01} == {}
    assert all(any(series) for series in browser.run(SERIES).values())
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.documentElement.dataset.theme") == scheme
    assert browser.errors == []


def test_page_asks_for_nothing(browser, page):
    opened(browser, page)
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []


def test_summary_says_what_matters(browser, page):
    opened(browser, page)
    text = browser.run("document.getElementById('summary').innerText")
    assert "1 of 3 leak" in text and "N = 1,024" in text and "Quality against the Transformer" in text
    assert "Best of 3 runs" in text and "running-k32" in text


def test_unequal_points_are_marked(browser, page):
    opened(browser, page)
    rows = browser.run("""[...document.querySelectorAll("#ablations section")[0].querySelector("table").querySelectorAll("tbody tr")]
        .map(row => [...row.querySelectorAll(".badge.warn")].map(badge => badge.innerText))""")
    assert sorted(marks for marks in rows if marks) == [["⚠ differ"], ["⚠ other tokens"], ["⚠ other vocabulary"]]


def test_theme_switch_redraws(browser, page):
    opened(browser, page)
    colour = "getComputedStyle(document.body).backgroundColor"
    line = "linformerReport.charts[0].instance?.getOption().xAxis[0].axisLabel.color"
    before = browser.run(colour), browser.run(line)
    browser.run("document.getElementById('theme').click(); linformerReport.drawAll()")
    after = browser.run(colour), browser.run(line)
    assert before[0] != after[0] and before[1] != after[1]
    browser.run("document.getElementById('theme').click()")
    assert browser.errors == []


def test_tables_sort_both_ways(browser, page):
    opened(browser, page)
    assert browser.run("document.querySelectorAll('#run-table th')[2].innerText").startswith("Validation loss")
    column = "[...document.querySelectorAll('#run-table tbody tr')].map(row => row.cells[2].innerText)"
    click = "[...document.querySelectorAll('#run-table th button')][2].click()"
    browser.run(click)
    rising = [float(x) for x in browser.run(column)]
    browser.run(click)
    falling = [float(x) for x in browser.run(column)]
    assert len(rising) == 3 and rising == sorted(rising) and falling == sorted(rising, reverse=True)
    assert browser.run("document.querySelectorAll('#run-table th')[2].getAttribute('aria-sort')") == "descending"


def test_every_chart_has_a_table_and_pictures(browser, page):
    opened(browser, page)
    browser.run("document.querySelectorAll('.chart ~ details').forEach(d => d.open = true)")
    browser.wait("[...document.querySelectorAll('.chart ~ details')].every(d => d.querySelector('td'))")
    count = browser.run("document.querySelectorAll('.chart').length")
    assert browser.run("document.querySelectorAll('.chart ~ details').length") == count == browser.run("linformerReport.charts.length")
    browser.run("window.saved = []; HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href.slice(0, 22), this.href.length]) };"
                "document.querySelectorAll('#loss .save button').forEach(b => b.click())")
    (png, png_head, png_size), (svg, svg_head, svg_size) = browser.run("saved")
    assert (png, svg) == ("loss.png", "loss.svg") and png_head.startswith("data:image/png;base64") and svg_head.startswith("data:image/svg+xml")
    assert png_size > 10_000 and svg_size > 5_000
    assert browser.errors == []


def test_controls_change_the_curves(browser, page):
    opened(browser, page)
    axis = "linformerReport.charts.find(c => c.id === 'loss').instance.getOption()"

    def choose(label, value):
        browser.run(f"(() => {{ const s = [...document.querySelectorAll('#loss label')].find(l => l.innerText.startsWith('{label}')).querySelector('select'); s.value = '{value}'; s.dispatchEvent(new Event('change')); }})()")

    steps = browser.run(f"{axis}.series[0].data.at(-1)[0]")
    choose("Against", "tokens")
    assert browser.run(f"{axis}.series[0].data.at(-1)[0]") == steps * 8 * 128
    choose("In", "bits")
    assert browser.run(f"{axis}.yAxis[0].name") == "bits a byte"
    choose("Draw", "validation")
    assert browser.run(f"{axis}.series.length") == 3
    assert browser.errors == []


def test_speed_lines_have_names_and_colours_of_their_own(browser, tmp_path):
    forms = ("softmax", "softmax-plain", "bidirectional-softmax", "bidirectional-softmax-plain", "bidirectional", "prefix", "running", "window-only")
    points = [make.point("grid", "forward", form, n, 1e-4 * n, 1e4 * n) for form in forms for n in (256, 512, 1024)]
    points += [make.point("grid", "forward", "block", n, 1e-4 * n, 1e4 * n, slots=n // 8) for n in (256, 512, 1024)]  # slots follow from the length: one line
    points += [make.point("grid", "forward", "running", n, 2e-4 * n, 1e4 * n, slots=128) for n in (256, 512, 1024)]
    make.write_lines(tmp_path / "benchmark" / "benchmark.jsonl", points)
    report(tmp_path, out=tmp_path / "page.html")
    for scheme in ("light", "dark"):
        opened(browser, tmp_path / "page.html", scheme=scheme)
        series = browser.run("linformerReport.charts.find((c) => c.id === 'speed-0-time').instance.getOption().series.map((s) => [s.name, s.lineStyle.color])")
        names = [name for name, _ in series]
        assert len(names) == len(set(names)) == 10 and {"Transformer", "Transformer, bidirectional", "Linformer, block", "Linformer, running, K 64", "Linformer, running, K 128"} <= set(names)
        assert len({colour for _, colour in series}) == 10
    assert browser.errors == []


def test_a_crossing_holds_from_there_on(browser, tmp_path):
    """Ahead at 256, behind at 512, ahead again: the crossing is the last of them; ahead at 256 alone is none. A Transformer that failed is not behind."""
    seconds = {"softmax": (4, 4, 4, 4), "running": (3, 5, 3, 3), "block": (3, 5, 5, 5)}
    points = [make.point(None, "train", form, n, s, 1e4 * n) for form, all_seconds in seconds.items() for n, s in zip((256, 512, 1024, 2048), all_seconds)]
    points += [make.point(None, "train", "softmax", 4096, 4, 1e4, status="failed"), make.point(None, "train", "prefix", 4096, 3, 1e4)]
    make.write_lines(tmp_path / "benchmark" / "benchmark.jsonl", points)
    report(tmp_path, out=tmp_path / "page.html")
    opened(browser, tmp_path / "page.html")
    assert "Faster than the Transformer from N = 1,024 (running) on." in browser.run("document.getElementById('speed-0-time').innerText")
    option = "linformerReport.charts.find((c) => c.id === 'speed-0-time').instance.getOption()"
    assert browser.run(f"{option}.series[0].markLine.data.map((mark) => mark.xAxis)") == [1024]
    assert browser.run(f"[{option}.yAxis[0].min, {option}.yAxis[0].max, {option}.yAxis[0].axisLabel.customValues]") == [2, 5, [2, 5]]


def test_legends_show_every_name_on_a_phone(browser, page):
    opened(browser, page, 390)
    legends = browser.run("linformerReport.charts.map((c) => [c.id, c.instance.getOption().legend?.[0], c.place.clientHeight, c.instance.getHeight(), c.instance.getOption().grid?.[0].bottom])")
    assert {name for name, legend, *_ in legends if legend and legend["type"] == "scroll"} == set()
    sizes = {name: (place, canvas, bottom) for name, _, place, canvas, bottom in legends}
    place, canvas, bottom = sizes["speed-0-time"]  # four names, two lines at least
    assert place == canvas >= 400 and bottom >= 100 and place - bottom == 380 - 80
    assert browser.errors == []


def test_what_does_not_fit_is_said(browser, page):
    opened(browser, page)
    assert "the Transformer does not fit" in browser.run("document.getElementById('paper-time').innerText")
    cells = browser.run("linformerReport.charts.find((c) => c.id === 'paper-time').instance.getOption().series[0].data.map((cell) => cell.value[2])")
    assert cells.count(0) == 2
    assert "3,000 steps" in browser.run("document.getElementById('speed').innerText")


def test_charts_fit_whatever_width_the_page_takes(browser, page):
    """And keep their zoom while the reader scrolls away, and their tooltips through redraws."""
    opened(browser, page)
    loss = "linformerReport.charts.find((c) => c.id === 'loss').instance"
    browser.run("document.getElementById('loss').scrollIntoView({behavior: 'instant'})")
    browser.run(f"{loss}.dispatchAction({{type: 'dataZoom', dataZoomIndex: 0, start: 25, end: 75}})")
    browser.size(390)
    browser.wait(f"{loss}.getWidth() < 390", 5)
    last = "linformerReport.charts.at(-1)"
    assert browser.run(f"{last}.instance.getWidth()") > 390  # out of sight
    browser.run(f"{last}.place.scrollIntoView({{behavior: 'instant'}})")
    browser.wait(f"{last}.instance.getWidth() < 390", 5)
    browser.run("document.getElementById('loss').scrollIntoView({behavior: 'instant'})")
    browser.run("new Promise(done => setTimeout(done, 200))")
    assert browser.run(f"{loss}.getOption().dataZoom[0].start") == 25
    browser.run(f"{loss}.dispatchAction({{type: 'showTip', seriesIndex: 1, dataIndex: 3}})")
    browser.run("document.querySelector('#loss input[type=range]').dispatchEvent(new Event('input'))")
    browser.run("linformerReport.drawAll()")
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.errors == []


def test_long_paths_do_not_widen_a_phone(browser, tmp_path):
    path = tmp_path / ("a-folder-with-a-long-name-" * 3) / "with-another-below-it-that-has-no-space-either"
    make.run(path / "run", steps=20)
    make.inspection(path / "inspection", model=str(path / "run"))
    make.ablation(path / "grid", title="t" * 90)
    report(path / "run", path / "inspection", path / "grid", out=tmp_path / "page.html")
    opened(browser, tmp_path / "page.html", 390)
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]


@pytest.fixture(scope="module")
def two_hundred_runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    one = make.run(root / "run-000", steps=800)
    for i in range(1, 200):
        shutil.copytree(one, root / f"run-{i:03d}")
    report(root, out=root / "page.html")
    return root / "page.html"


def test_two_hundred_runs(browser, two_hundred_runs):
    opened(browser, two_hundred_runs)
    assert browser.run("document.querySelectorAll('#run-table tbody tr').length") == 200
    assert browser.errors == []


@pytest.mark.perf
def test_two_hundred_runs_open_in_two_seconds(browser, two_hundred_runs):
    assert min(opened(browser, two_hundred_runs) for _ in range(3)) < 2  # the best: other work on the machine is not the page's


def test_hostile_text_stays_text(browser, tmp_path):
    evil = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    folder = make.run(tmp_path / evil.replace("/", "\\"), steps=60, every=10)
    text = evil + "</script><!--"
    make.samples(folder, text)
    changed = json.loads((folder / "config.json").read_text())
    changed["data"]["folder"] = changed["tokenizer"]["name"] = evil
    (folder / "config.json").write_text(json.dumps(changed))
    make.ablation(tmp_path / "grid", title=evil, points=("base", "<img src=x onerror='window.hit = 3'>"))
    make.inspection(tmp_path / "look", model=evil)
    make.evaluation(tmp_path / "evaluation", [make.evaluation_line(evil, data=evil), make.evaluation_line(evil + "2", data=evil)])
    report(tmp_path, out=tmp_path / "page.html")
    opened(browser, tmp_path / "page.html")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    # Hovering draws tooltips, which hold names too.
    browser.run("linformerReport.charts.forEach(c => { for (const type of ['showTip']) for (const seriesIndex of [0, 1]) c.instance.dispatchAction({type, seriesIndex, dataIndex: 1}) })")
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.run("window.hit") is None
    assert browser.run("document.querySelectorAll('main img').length") == 0
    assert text in browser.run("document.getElementById('samples').innerText")
    assert browser.errors == []


def test_loss_by_position_of_several_models_in_one_chart(browser, tmp_path):
    odd = [None, "x", {"from": 0, "to": "127", "loss": 2}, {"from": 0, "to": 127, "loss": None}]
    lines = [make.evaluation_line("runs/a/linformer", length=2048, drop=0.12), make.evaluation_line("runs/a/linformer", length=256), make.evaluation_line("runs/b/linformer", drop=-0.1),
             make.evaluation_line("runs/softmax", kind="softmax", length=256), make.evaluation_line("runs/odd", octaves=odd), make.evaluation_line("runs/text", octaves="text"),
             make.evaluation_line(7), make.evaluation_line("runs/bytes", data="code"), make.evaluation_line("runs/words", data="code", vocabulary="b" * 64)]
    make.evaluation(tmp_path / "evaluation", lines)
    report(tmp_path, out=tmp_path / "page.html")
    opened(browser, tmp_path / "page.html")
    option = "linformerReport.charts.find(c => c.id === 'evaluations-1-position').instance.getOption()"
    assert browser.run(option + ".series.map(s => [s.name, s.data.length, s.data[0][0], s.data[1][1]])") == [
        ["a/linformer, N 2,048", 5, 128, 2.38], ["a/linformer, N 256", 2, 128, 2.4], ["b/linformer", 4, 128, 2.6], ["softmax", 2, 128, 2.4]]
    colours = browser.run(option + ".series.map(s => s.lineStyle.color)")
    assert len(set(colours)) == 4 and colours[3] == browser.run("grey('softmax')")
    assert browser.run(option + ".series[0].markLine.data.map(d => d.text)") == ["trained at 256"]
    assert browser.run("linformerReport.charts.find(c => c.id === 'evaluations-2-position').instance.getOption().yAxis[0].name") == "bits a byte"
    summary = browser.run("document.getElementById('summary').innerText")
    # Of the longest: 2.02 in the last octave against 2.38 in the last one of training.
    assert "8 times the trained length" in summary and "−15 %" in summary
    assert "8 evaluations" in summary
    rows = browser.run("[...document.querySelectorAll('#evaluations > .scroll tbody tr')].map(row => row.cells[0].innerText)")
    assert rows[0] == "a/linformer, N 2,048" and len(rows) == 8
    assert browser.errors == []


def test_mixed_vocabularies_are_compared_by_bits_per_byte(browser, tmp_path):
    make.run(tmp_path / "bytes", steps=60, every=10)
    make.run(tmp_path / "words", steps=60, every=10, vocabulary="b" * 64, bytes_per_token=4.0)
    report(tmp_path, out=tmp_path / "page.html")
    opened(browser, tmp_path / "page.html")
    assert "compared by bits per byte" in browser.run("document.querySelector('.remarks').innerText")
    assert browser.run("linformerReport.charts[0].instance.getOption().yAxis[0].name") == "bits a byte"


def test_damage_is_remarked_on_and_the_rest_is_shown(browser, tmp_path):
    folder = make.run(tmp_path / "killed", steps=60, every=10)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step":61,"lo')
    make.run(tmp_path / "newer", steps=60, every=10)
    changed = json.loads((tmp_path / "newer" / "config.json").read_text())
    (tmp_path / "newer" / "config.json").write_text(json.dumps({**changed, "format_version": 9, "attention": "none of this"}))
    result = report(tmp_path / "killed", tmp_path / "newer", tmp_path / "absent", out=tmp_path / "page.html")
    for part in ("last line is cut", "format version 9", "no such folder"):
        assert part in result.stderr
    opened(browser, tmp_path / "page.html")
    assert browser.run("document.querySelectorAll('.remarks li').length") == 3
    assert browser.run("document.querySelectorAll('#run-table tbody tr').length") == 2
    assert browser.errors == []


def test_nothing_usable_is_an_error(tmp_path):
    result = report(tmp_path, out=tmp_path / "page.html", status=2)
    assert "nothing to report" in result.stderr and not (tmp_path / "page.html").exists()


def test_hybrids_say_which_layers_are_softmax(browser, tmp_path):
    for name, layers in (("two", [0, 3]), ("one", [1])):
        make.run(tmp_path / name, softmax_layers=layers, sinks=4)
    report(tmp_path / "one", tmp_path / "two", out=tmp_path / "page.html")
    opened(browser, tmp_path / "page.html")
    table = browser.run("document.getElementById('run-table').innerText")
    assert "Linformer running, 32 slots, window 32, 4 sinks, softmax in layers 0, 3" in table and "4 sinks, softmax in layer 1" in table


def tiny_run(root):
    """A run of the real program."""
    (root / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 400)
    fields = {"model.length": 24, "model.width": 12, "model.layers": 2, "model.heads": 2, "attention.window": 4, "attention.slots": 5, "train.batch": 3, "train.dtype": "float32",
              "train.steps": 40, "train.evaluate_every": 10}
    for command in (["prepare", "--input", root / "text.txt", "--tokenizer", "bytes", "--out", root / "data"],
                    ["train", "--threads", "1", "--data", root / "data", "--out", root / "run", *(x for f, v in fields.items() for x in ("--" + f, v))]):
        subprocess.run([PROGRAM, *map(str, command)], check=True, capture_output=True, timeout=60)
    return root / "run"


def test_real_run(browser, tmp_path):
    folder = tiny_run(tmp_path)
    assert report(folder, out=tmp_path / "page.html").stderr == ""
    opened(browser, tmp_path / "page.html")
    assert "Linformer running, 5 slots, window 4" in browser.run("document.getElementById('run-table').innerText")
    # The command shown makes the same run again.
    command = browser.run("[...document.querySelectorAll('.command code')].map(c => c.textContent).find(c => c.startsWith('linformer train'))")
    again = command.replace("linformer train", f"{PROGRAM} train --threads 1").replace(str(folder), str(tmp_path / "again"))
    subprocess.run(again, shell=True, check=True, capture_output=True, timeout=60)
    losses = [[json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (folder, tmp_path / "again")]
    assert losses[0] == losses[1]
    assert browser.errors == []


class Watched:
    """`linformer watch` of a folder."""

    def __init__(self, folder):
        self.process = subprocess.Popen([PROGRAM, "watch", str(folder), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.address = json.loads(self.process.stdout.readline())["address"]
        self.port = int(self.address.rstrip("/").rpartition(":")[2])

    def get(self, path="/", method="GET", host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{self.port}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=10)


@pytest.fixture
def watched(tmp_path):
    one = Watched(make.run(tmp_path / "run", steps=40, every=10))
    yield one
    one.process.kill()
    one.process.wait()


def test_watch_answers_this_machine_only(watched):
    assert watched.get()[0] == 200 and watched.get("/data.json")[0] == 200
    assert watched.get(host=f"localhost:{watched.port}")[0] == 200
    for host in ("evil.example", f"evil.example:{watched.port}", "localhost", "127.0.0.1:1"):
        assert watched.get("/data.json", host=host)[0] == 403
    assert watched.get("/etc/passwd")[0] == 404
    assert watched.get(method="POST")[0] == 405
    assert watched.get(method="HEAD") == (200, "")
    listening = [line.split()[1] for line in open("/proc/net/tcp") if line.split()[1].endswith(f":{watched.port:04X}") and line.split()[3] == "0A"]
    assert listening == [f"0100007F:{watched.port:04X}"]
    assert watched.end() == 0


def test_watch_outlasts_connections_that_say_nothing_or_too_much(watched):
    silent = [socket.create_connection(("127.0.0.1", watched.port)) for _ in range(9)]
    loud = socket.create_connection(("127.0.0.1", watched.port))
    loud.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
    assert loud.recv(12) == b"HTTP/1.1 431"
    silent[0].sendall(b"\x00\xff\r\n\r\n")
    assert silent[0].recv(12) == b"HTTP/1.1 400"
    assert watched.get()[0] == 200
    for one in (*silent, loud):
        one.close()


def test_watch_follows_a_run_as_it_grows(browser, watched, tmp_path):
    browser.size(1280)
    browser.open(watched.address)
    browser.run("linformerReport.drawAll()")
    last = "linformerReport.charts[0].instance.getOption().series.at(-2).data.at(-1)[0]"
    assert browser.run(last) == 40
    browser.run("linformerReport.charts[0].instance.dispatchAction({type: 'dataZoom', dataZoomIndex: 0, start: 25, end: 75})")
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 41, "loss": 1.5, "tokens_per_second": 100.0, "learning_rate": 1e-4}) + "\n" + '{"step":42,"lo')
    browser.wait(last + " === 41", 15)
    assert browser.run("linformerReport.charts[0].instance.getOption().dataZoom[0].start") == 25
    assert "last line is cut" in browser.run("document.querySelector('.remarks').innerText")
    assert browser.errors == []
    assert watched.end() == 0
    browser.wait("document.getElementById('live').innerText.includes('no longer answers')", 15)


def test_watch_waits_for_the_first_step(browser, tmp_path):
    (tmp_path / "run").mkdir()
    watched = Watched(tmp_path / "run")
    browser.open(watched.address)
    assert "Nothing is recorded yet" in browser.run("document.body.innerText")
    make.run(tmp_path / "run", steps=20, every=10)
    browser.wait("document.getElementById('loss') !== null", 15)
    assert browser.errors == []
    assert watched.end() == 0


def test_watch_of_nothing_or_at_a_taken_port(watched, tmp_path):
    for arguments in ([tmp_path / "absent"], [tmp_path, "--port", watched.port], [tmp_path, "--port", 70000]):
        assert subprocess.run([PROGRAM, "watch", *map(str, arguments)], capture_output=True, timeout=20).returncode == 2


def test_pictures_for_papers(tmp_path):
    make.run(tmp_path / "it's $HOME `id` 50%_a^b", steps=60, every=10)
    make.benchmark(tmp_path / "benchmark")
    make.ablation(tmp_path / "kinds")
    make.inspection(tmp_path / "look", model=str(tmp_path / "runs" / "softmax"))
    result = subprocess.run([PROGRAM, "report", tmp_path, "--out", tmp_path / "page.html", "--pictures", tmp_path / "pictures", "--json"], capture_output=True, text=True, timeout=120)
    if shutil.which("gnuplot") is None:
        assert result.returncode == 2 and "apt-get install gnuplot-nox" in result.stderr
        return
    assert result.returncode == 0, result.stderr
    pictures = json.loads(result.stdout)["pictures"]
    starts = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert {os.path.basename(p) for p in pictures} >= {f"{n}.{e}" for n in ("loss", "time-train-crossover", "memory-train-crossover", "ablation-kinds", "spectrum-look") for e in starts}
    for picture in pictures:
        with open(picture, "rb") as file:
            content = file.read()
        assert content.startswith(starts[picture[-3:]]) and len(content) > 3000, picture
    assert "it's $HOME `id` 50%_a^b" in open(tmp_path / "pictures" / "loss.svg").read().replace("&#39;", "'").replace("&#96;", "`").replace("\n", "")


def test_pictures_without_gnuplot(tmp_path):
    make.run(tmp_path / "run", steps=20, every=10)
    result = subprocess.run([PROGRAM, "report", tmp_path, "--out", tmp_path / "page.html", "--pictures", tmp_path / "pictures"], capture_output=True, text=True, timeout=60, env={"PATH": str(tmp_path)})
    assert result.returncode == 2 and "apt-get install gnuplot-nox" in result.stderr and (tmp_path / "page.html").exists()
