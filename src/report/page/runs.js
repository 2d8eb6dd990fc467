// Runs: their table, loss curves, learning rate and throughput.

const SHOWN_AT_FIRST = 8;
const runUi = {axis: "step", part: "both", measure: null, smooth: 0.6, scale: "linear", shown: null, filter: "", sort: {}};

function shownRuns() {
  if (!runUi.shown) {
    const order = [...report.runs].sort((a, b) => (lossOf(a) ?? Infinity) - (lossOf(b) ?? Infinity));
    runUi.shown = new Set(order.slice(0, report.runs.length > 12 ? SHOWN_AT_FIRST : 12).map((run) => run.path));
  }
  return report.runs.filter((run) => runUi.shown.has(run.path));
}
/** A run keeps its colour while it is shown. The one Transformer among few runs is grey, as everywhere. */
function runColour(run) {
  const shown = shownRuns();
  const transformers = shown.filter((one) => isTransformer(attentionOf(one).form));
  if (transformers.length === 1 && transformers[0] === run) return formColour(attentionOf(run).form);
  return palette(Math.max(0, shown.filter((one) => !(transformers.length === 1 && one === transformers[0])).indexOf(run)));
}

const axisOf = (run, steps, seconds) => (runUi.axis === "seconds" ? seconds : runUi.axis === "tokens" ? steps.map((step) => step * run.tokens_per_step) : steps);
const AXES = {step: "step", tokens: "tokens", seconds: "time in training steps"};
const axisText = (x) => (runUi.axis === "seconds" ? duration(x) : short(x));

/** Debiased exponential mean over steps, with the same decay whatever the spacing of the points. */
function smoothed(steps, values, strength) {
  if (strength <= 0 || values.length < 3) return values;
  const reach = (steps[steps.length - 1] - steps[0]) * strength ** 3 * 0.1;
  let sum = 0, weight = 0;
  return values.map((value, i) => {
    // Shorter at the start, where the loss falls faster than any mean could follow.
    const here = Math.min(reach, 0.08 * (steps[i] - steps[0]));
    const keep = here > 0 && i > 0 ? Math.exp(-(steps[i] - steps[i - 1]) / here) : 0;
    if (known(value)) {
      sum = sum * keep + value * (1 - keep);
      weight = weight * keep + (1 - keep);
    }
    return weight > 0 ? sum / weight : null;
  });
}

const inBits = (run) => (known(run.summary.bytes_per_token) ? 1 / (Math.LN2 * run.summary.bytes_per_token) : null);

function lossSeries() {
  const bits = runUi.measure === "bits", series = [];
  for (const run of shownRuns()) {
    const factor = bits ? inBits(run) : 1, colour = runColour(run), {curve, evaluations} = run;
    if (runUi.part !== "validation" && factor) {
      const values = smoothed(curve.step, curve.loss, runUi.smooth).map((v) => (known(v) ? v * factor : null));
      const x = axisOf(run, curve.step, curve.seconds);
      if (runUi.smooth > 0 && shownRuns().length <= 4) {
        series.push({name: run.name, run, kind: "raw", type: "line", data: curve.loss.map((v, i) => [x[i], known(v) ? v * factor : null]), showSymbol: false, silent: true, tooltip: {show: false}, lineStyle: {width: 1, opacity: 0.22, color: colour}, itemStyle: {color: colour}});
      }
      series.push({name: run.name, run, kind: "training", type: "line", data: values.map((v, i) => [x[i], v]), showSymbol: false, lineStyle: {width: 1.6, color: colour}, itemStyle: {color: colour}});
    }
    const measured = bits ? evaluations.bits_per_byte : evaluations.loss;
    if (runUi.part !== "training" && measured.length) {
      const x = axisOf(run, evaluations.step, evaluations.seconds);
      series.push({name: run.name, run, kind: "validation", type: "line", data: measured.map((v, i) => [x[i], v]), symbol: "circle", symbolSize: 6, lineStyle: {width: 1.6, type: runUi.part === "both" ? "dashed" : "solid", color: colour}, itemStyle: {color: colour}});
    }
  }
  return series;
}

function lossOption() {
  const series = lossSeries();
  // The fall of the first steps would flatten everything after it.
  const late = series.flatMap((one) => one.data.slice(Math.floor(one.data.length * 0.1)).map((point) => point[1])).filter(known);
  const top = late.length ? Math.max(...late) : null, bottom = late.length ? Math.min(...late) : null;
  const all = series.flatMap((one) => one.data.map((point) => point[1])).filter(known);
  const cut = known(top) && Math.max(...all) - bottom > 1.3 * (top - bottom) && top > bottom;
  return {
    grid: {left: 58, right: 20, top: 14, bottom: 96},
    xAxis: {type: "value", name: AXES[runUi.axis], axisLabel: {formatter: axisText}, min: 0, max: "dataMax"},
    yAxis: {type: runUi.scale === "log" ? "log" : "value", name: runUi.measure === "bits" ? "bits a byte" : "nats a token", nameGap: 42, scale: true,
      min: cut ? Number((bottom - 0.04 * (top - bottom)).toPrecision(3)) : undefined, max: cut ? Number((top + 0.04 * (top - bottom)).toPrecision(3)) : undefined, axisLabel: {formatter: (x) => digits(x, 3)}},
    dataZoom: [{type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, filterMode: "none"},
      {type: "slider", height: 16, bottom: 30, filterMode: "none", borderColor: "transparent", backgroundColor: css("--soft"), fillerColor: css("--accent") + "33", handleSize: 14, showDetail: false, showDataShadow: false}],
    legend: {data: unique(series.map((one) => one.name)), formatter: (name) => shortened(name)},
    tooltip: {trigger: "axis", formatter: (items) => items.length ? tip(`${AXES[runUi.axis]} ${axisText(items[0].axisValue)}`, items.filter((i) => series[i.seriesIndex]?.kind !== "raw" && known(i.value[1])).map((i) => [i.color, `${shortened(i.seriesName)}, ${series[i.seriesIndex].kind}`, fixed(i.value[1])])) : ""},
    series: series.map(({run, kind, ...one}) => ({connectNulls: false, ...one}))};
}

function rateOption(key, name, format) {
  return {
    xAxis: {type: "value", name: "step", axisLabel: {formatter: short}, max: Math.max(...shownRuns().map((run) => run.summary.step))}, grid: {left: 66, right: 18, top: 14, bottom: 74},
    yAxis: {type: "value", name, nameGap: 50, axisLabel: {formatter: format}, min: 0},
    legend: {formatter: (text) => shortened(text)},
    tooltip: {trigger: "axis", formatter: (items) => tip(`step ${short(items[0].axisValue)}`, items.map((i) => [i.color, shortened(i.seriesName), format(i.value[1])]))},
    series: shownRuns().map((run) => ({name: run.name, type: "line", showSymbol: run.curve.rate_step.length < 3, data: run.curve.rate_step.map((step, i) => [step, run.curve[key][i]]), lineStyle: {width: 1.6, color: runColour(run)}, itemStyle: {color: runColour(run)}}))};
}

const every = (list, count) => list.filter((_, i) => i % Math.ceil(list.length / count) === 0 || i === list.length - 1);

function lossTable() {
  const rows = shownRuns().flatMap((run) => {
    const {curve, evaluations} = run;
    const steps = every(curve.step.map((_, i) => i), 12).map((i) => [run.name, "training", curve.step[i], curve.step[i] * run.tokens_per_step, curve.seconds[i], {value: curve.loss[i], show: fixed(curve.loss[i])}, "–"]);
    const judged = every(evaluations.step.map((_, i) => i), 12).map((i) => [run.name, "validation", evaluations.step[i], evaluations.step[i] * run.tokens_per_step, evaluations.seconds[i],
      {value: evaluations.loss[i], show: fixed(evaluations.loss[i])}, {value: evaluations.bits_per_byte[i], show: fixed(evaluations.bits_per_byte[i])}]);
    return [...steps, ...judged];
  });
  return plainTable(["Run", "Loss", "Step", "Tokens", "Seconds", "Nats a token", "Bits a byte"], rows);
}

function rateTable(key, title) {
  return plainTable(["Run", "Step", title], shownRuns().flatMap((run) => every(run.curve.rate_step.map((_, i) => i), 12).map((i) => [run.name, run.curve.rate_step[i], run.curve[key][i]])));
}

function auditBadge(run) {
  if (!run.audit) return el("span", {class: "badge"}, "not audited");
  if (run.audit.verdict === "clean") return el("span", {class: "badge good", title: `largest change before a changed token: ${digits(run.audit.largest_change, 2)}`}, "clean");
  const leak = run.audit.first_leak;
  return el("span", {}, el("span", {class: "badge bad"}, "leaks"), leak ? el("div", {class: "sub"}, `${leak.seen_at} sees ${leak.changed}`) : null);
}

function fillRunTable() {
  document.getElementById("run-table")?.replaceChildren(runTable());
}
function changed() {
  fillRunTable();
  redraw("loss", "rate");
}

function runTable() {
  const matching = report.runs.filter((run) => `${run.name} ${attentionOf(run).text}`.toLowerCase().includes(runUi.filter.toLowerCase()));
  const rows = matching.map((run) => {
    const {summary} = run, shown = runUi.shown.has(run.path);
    const box = el("input", {type: "checkbox", checked: shown, "aria-label": `show ${run.name}`, onchange: () => {
      if (box.checked) runUi.shown.add(run.path);
      else runUi.shown.delete(run.path);
      changed();
    }});
    const done = run.finished ? whole(summary.step) : [whole(summary.step), el("div", {class: "sub"}, `of ${whole(run.steps_asked)}`)];
    return [{value: shown ? 0 : 1, show: box}, {value: run.name, show: el("span", {}, shown ? el("span", {class: "swatch", style: `background:${runColour(run)}`}) : null, run.name, el("div", {class: "sub"}, attentionOf(run).text))},
      {value: summary.best_validation_loss, show: fixed(summary.best_validation_loss)}, {value: summary.best_bits_per_byte, show: fixed(summary.best_bits_per_byte)}, {value: run.audit?.verdict || "", show: auditBadge(run)},
      {value: summary.tokens_per_second, show: short(summary.tokens_per_second)}, {value: summary.seconds, show: duration(summary.seconds)}, {value: summary.step, show: el("span", {}, done)}, {value: summary.tokens, show: short(summary.tokens)},
      {value: run.parameters, show: short(run.parameters)}];
  });
  // The results first: a phone shows three columns.
  return table([{title: "Show"}, {title: "Run", class: "name"}, {title: "Validation loss", number: true, help: "lowest, nats a token"}, {title: "Bits a byte", number: true, help: "lowest"}, {title: "Audit"},
    {title: "Tokens/s", number: true, help: "median of the steps"}, {title: "Time", number: true, help: "in training steps"}, {title: "Steps", number: true}, {title: "Tokens", number: true}, {title: "Parameters", number: true}], rows, runUi.sort);
}

function runsSection() {
  if (!report.runs.length) return null;
  shownRuns();
  const again = () => redraw("loss");
  const slider = el("input", {type: "range", min: 0, max: 0.95, step: 0.05, value: runUi.smooth, oninput: () => {
    runUi.smooth = Number(slider.value);
    again();
  }});
  runUi.measure ||= vocabularies(report.runs).length > 1 ? "bits" : "nats";
  const filter = el("input", {type: "search", placeholder: "Filter runs", "aria-label": "Filter runs", value: runUi.filter, oninput: () => {
    runUi.filter = filter.value;
    fillRunTable();
  }});
  const many = report.runs.length > 12 ? ` The ${SHOWN_AT_FIRST} best are drawn; tick others to add them.` : "";
  return el("section", {id: "runs"}, el("h2", {}, "Runs"), el("p", {class: "lead"}, "Losses are the lowest of a run's evaluations." + many),
    report.runs.length > 6 ? el("div", {class: "controls"}, filter) : null, el("div", {id: "run-table"}, runTable()),
    el("div", {class: "grid"},
      chart({id: "loss", title: "Loss", wide: true, height: () => (narrow() ? 380 : 440), summary: `Training and validation loss of ${shownRuns().length} runs.`,
        note: "Solid: training, smoothed; dashed: validation. Drag the bar below, or hold Ctrl and turn the wheel, to zoom.",
        controls: [choice("Against", runUi, "axis", [["step", "steps"], ["tokens", "tokens"], ["seconds", "time"]], again), choice("Draw", runUi, "part", [["both", "training and validation"], ["training", "training"], ["validation", "validation"]], again),
          choice("In", runUi, "measure", [["nats", "nats a token"], ["bits", "bits a byte"]], again), choice("Scale", runUi, "scale", [["linear", "linear"], ["log", "logarithmic"]], again), el("label", {}, "Smoothing", slider)],
        option: lossOption, table: lossTable}),
      chart({id: "rate-throughput", title: "Throughput", note: "Tokens a second in training steps.", summary: "Tokens a second over the steps.", option: () => rateOption("tokens_per_second", "tokens a second", short), table: () => rateTable("tokens_per_second", "Tokens a second")}),
      chart({id: "rate-learning", title: "Learning rate", note: "As the schedule set it.", summary: "Learning rate over the steps.", option: () => rateOption("learning_rate", "learning rate", (x) => digits(x, 2)), table: () => rateTable("learning_rate", "Learning rate")})));
}

function samplesSection() {
  const runs = report.runs.filter((run) => run.samples.length);
  if (!runs.length) return null;
  return el("section", {id: "samples"}, el("h2", {}, "Samples"), el("p", {class: "lead"}, "The prompt is in colour; the rest is the model's."),
    el("div", {class: "grid"}, runs.flatMap((run) => run.samples.map((sample) => {
      const rest = sample.prompt && sample.text.startsWith(sample.prompt) ? sample.text.slice(sample.prompt.length) : sample.text;
      return el("section", {class: "card"}, el("div", {class: "card-head"}, el("h3", {}, run.name), el("span", {class: "muted"}, known(sample.tokens_per_second) ? `${short(sample.tokens_per_second)} tokens/s` : "")), el("p", {class: "sample"}, el("b", {}, sample.prompt), rest));
    }))));
}
