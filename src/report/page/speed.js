// Benchmarks: time and memory against N, generation, what fits.

const TASKS = {train: "Training step", forward: "Forward pass", generate: "Generation"};
const VARIED = [["slots", "K"], ["window", "window"], ["sharing", "sharing"], ["width", "width"], ["layers", "layers"], ["dtype", ""], ["threads", "threads"], ["batch", "batch"], ["fields", ""]];
const taskName = (task) => TASKS[task] || task;

/** Points that belong into one chart, with the name of each one's line: its form and what else varies. src/report/plots.cpp makes the same lines. */
function speedGroups() {
  const groups = [];
  for (const benchmark of report.benchmarks) {
    const kinds = groupBy(benchmark.points, (p) => `${p.preset || "grid"} ${p.task}`);
    for (const points of kinds.values()) {
      // What differs among points of one form at one length makes lines of their own; what follows from the length (a batch of constant tokens, the slots that blocks
      // can have) does not.
      const differs = (same, key) => unique(same.map((p) => p[key] ?? null)).length > 1;
      const varied = new Map([...groupBy(points, (p) => p.form)].map(([form, own]) => [form, VARIED.filter(([key]) => [...groupBy(own, (p) => p.length).values()].some((same) => differs(same, key)))]));
      const name = (p) => [formName(p.form), p.decode === "reread" ? "rereads its window" : null, ...varied.get(p.form).filter(([key]) => (p[key] ?? null) !== null).map(([key, label]) => `${label} ${p[key]}`.trim())].filter(Boolean).join(", ");
      const product = unique(points.map((p) => p.length * p.batch)).length, batches = unique(points.map((p) => p.batch)).length, byBatch = [...varied.values()].flat().some(([key]) => key === "batch");
      groups.push({benchmark, points, name, task: points[0].task, preset: points[0].preset, constantTokens: batches > 1 && product === 1, batchByLength: batches > 1 && !byBatch, lengths: unique(points.map((p) => p.length))});
    }
  }
  return groups;
}

/** Where lines leave the Transformer's behind: recorded by the program, or else, as it does, the smallest N from which on `value` is smaller at every common N. */
function crossings(group, key, value) {
  const found = [];
  for (const [name, points] of groupBy(group.points.filter((p) => !isTransformer(p.form)), group.name)) {
    const {form} = points[0];
    const recorded = group.benchmark.crossovers.find((c) => c.form === form && c.task === group.task);
    if (recorded && recorded[key] !== undefined) {
      if (known(recorded[key])) found.push({name, form, length: recorded[key], recorded: true});
      continue;
    }
    let from = null;
    for (const p of [...points].sort(by("length"))) {
      const base = group.points.find((b) => b.form === baselineOf(form) && b.decode === p.decode && b.length === p.length && b.batch === p.batch);
      if (!base) continue;
      const better = p.status === "ok" && (base.status === "memory" || (base.status === "ok" && value(p) < value(base)));
      from = better ? from ?? p.length : null;
    }
    if (from !== null) found.push({name, form, length: from, recorded: false});
  }
  return found;
}

/** `format` writes a value, `tick` one of the axis. */
function againstLength(group, key, value, axis, format, tick) {
  const lines = [...groupBy(group.points.filter((p) => p.status === "ok" && known(value(p))).sort(by("slots")), group.name)];
  const marks = [...groupBy(crossings(group, key, value).filter((c) => c.form !== "window-only").sort(by("length")), (c) => c.length)];
  const failed = group.points.filter((p) => p.status === "memory");
  const alike = groupBy(lines, ([, points]) => points[0].form);
  const colourOf = (points, name) => {
    const same = alike.get(points[0].form).map(([n]) => n), base = formColour(points[0].form), other = dark() ? "#ffffff" : "#0a1522";
    return same.length === 1 ? base : mix(mix(base, css("--card"), 0.55), mix(base, other, 0.25), same.indexOf(name) / (same.length - 1));
  };
  const series = lines.map(([name, points]) => ({
    name, type: "line", symbol: !isTransformer(points[0].form) ? "circle" : points[0].form.startsWith("bidirectional") ? "diamond" : "rect", symbolSize: 7, data: points.sort(by("length")).map((p) => [p.length, value(p)]),
    lineStyle: {width: 2, type: points[0].form.endsWith("plain") || points[0].decode === "reread" ? "dashed" : "solid", color: colourOf(points, name)}, itemStyle: {color: colourOf(points, name)}}));
  if (series.length) {
    // In the colour of the form where it is one alone; neighbours' labels at two heights, both above the labels of the axis.
    const shade = (forms) => (forms.length === 1 ? formColour(forms[0]) : css("--muted"));
    series[0].markLine = {symbol: "none", silent: true, label: {position: "end", fontSize: 11, formatter: ({data}) => data.text},
      data: marks.map(([length, all], i) => {
        const color = shade(unique(all.map((c) => c.form)));
        return {xAxis: length, text: whole(length), lineStyle: {type: [4, 4], width: 1.2, color}, label: {color, distance: i % 2 ? 20 : 8}};
      })};
    for (const [name, points] of groupBy(failed, group.name)) {
      const [, line] = lines.find(([n]) => n === name) || [null, null];
      const top = Math.max(...lines.flatMap(([, all]) => all.map(value)));
      const shade = line ? colourOf(line, name) : formColour(points[0].form);
      series.push({name: `${name}: does not fit`, type: "scatter", symbol: "path://M0 0L2 0L5 3.6L8 0L10 0L6 5L10 10L8 10L5 6.4L2 10L0 10L4 5Z", symbolSize: 11, itemStyle: {color: shade}, data: points.map((p) => [p.length, top]),
        tooltip: {formatter: ({data}) => tip(name, [[null, `N = ${whole(data[0])}`, "does not fit in memory"]])}});
    }
  }
  const lengths = group.lengths;
  return {
    grid: {left: 70, right: 20, top: 40, bottom: 80},
    xAxis: {type: "log", logBase: 2, name: "N, tokens", min: Math.min(...lengths), max: Math.max(...lengths), axisLabel: {formatter: (x) => (x >= 1024 && Math.round(x) % 1024 === 0 ? Math.round(x) / 1024 + "k" : String(Math.round(x)))}},
    yAxis: logAxis(lines.length ? lines.flatMap(([, points]) => points.map(value)) : [1], {name: axis, nameGap: 54, axisLabel: {formatter: tick}}),
    legend: {data: lines.map(([name]) => name), icon: null, itemWidth: 24},
    tooltip: {trigger: "item", formatter: (item) => tip(item.seriesName, [[item.color, `N = ${whole(item.value[0])}`, format(item.value[1])]])},
    series};
}

/** Few lengths: bars, one a configuration. */
function bars(group) {
  const points = [...group.points].filter((p) => p.status === "ok").sort((a, b) => a.tokens_per_second - b.tokens_per_second);
  const label = (p) => `${group.name(p)}${group.lengths.length > 1 ? `, N ${p.length}` : ""}`;
  const brief = (text) => (narrow() ? text.replace("Linformer, ", "") : text);
  return {
    grid: {left: narrow() ? 128 : 260, right: 66, top: 6, bottom: 40},
    xAxis: {type: "value", name: "tokens a second", axisLabel: {formatter: short}}, yAxis: {type: "category", data: points.map(label), axisLabel: {formatter: brief, width: narrow() ? 118 : 246, overflow: "break", lineHeight: narrow() ? 12 : 14, interval: 0, hideOverlap: false, color: css("--text"), fontSize: narrow() ? 10 : 12}, splitLine: {show: false}},
    tooltip: {formatter: ({dataIndex}) => tip(label(points[dataIndex]), [[null, "tokens a second", short(points[dataIndex].tokens_per_second)], [null, "a token", duration(1 / points[dataIndex].tokens_per_second)], [null, "peak memory", bytes(points[dataIndex].resident_peak_bytes)]])},
    series: [{type: "bar", barMaxWidth: 18, data: points.map((p) => ({value: p.tokens_per_second, itemStyle: {color: p.decode === "reread" ? mix(formColour(p.form), css("--card"), 0.5) : formColour(p.form), borderRadius: 2}})), label: {show: true, position: "right", color: css("--text"), formatter: ({value}) => short(value)}}]};
}

function pointTable(group) {
  const status = (p) => (p.status === "ok" ? "ok" : p.status === "memory" ? "does not fit" : `failed: ${p.reason || ""}`);
  return plainTable(["What", "N", "Batch", "Seconds", "Lowest", "Highest", "Tokens a second", "Peak memory", "Share of the multiply rate", "Status"],
    group.points.map((p) => [group.name(p), p.length, p.batch, p.seconds, p.low, p.high, p.tokens_per_second, {value: p.resident_peak_bytes, show: bytes(p.resident_peak_bytes)}, {value: p.mfu, show: percent(p.mfu)}, status(p)]));
}

const settings = (group) => {
  const one = (key) => unique(group.points.map((p) => p[key]).filter((x) => x !== undefined && x !== null));
  const count = (what) => (x) => `${x} ${what}${x === 1 ? "" : "s"}`;
  const said = {width: (x) => `Width ${x}`, layers: count("layer"), heads: count("head"), batch: (x) => `batch ${x}`, dtype: String, threads: count("thread")};
  return Object.entries(said).filter(([key]) => one(key).length === 1).map(([key, say]) => say(one(key)[0])).join(", ");
};

function speedCards(group, i) {
  const title = taskName(group.task), named = group.preset || (report.benchmarks.length > 1 ? group.benchmark.name : ""), where = named ? ` (${named})` : "";
  const note = settings(group) + (group.constantTokens ? "; N × batch is constant." : group.batchByLength ? "; the batch falls as N grows." : ".");
  if (group.lengths.length < 3) {
    return [chart({id: `speed-${i}-bars`, title: `${title}: tokens a second${where}`, note, wide: true, height: () => 70 + (narrow() ? 40 : 30) * group.points.filter((p) => p.status === "ok").length, summary: "Tokens a second by form.", option: () => bars(group), table: () => pointTable(group)})];
  }
  const said = (list, better) => {
    const each = [...groupBy(list.filter((c) => c.form !== "window-only").sort(by("length")), (c) => c.length)].map(([length, all]) => `${whole(length)} (${all.map((c) => c.name.replace("Linformer, ", "")).join("; ")})`);
    return each.length ? `${better} than the Transformer from N = ${each.join(", ")} on.` : `Not ${better.toLowerCase()} than the Transformer at these lengths.`;
  };
  const perToken = group.task === "generate" || group.batchByLength;
  const time = perToken ? (p) => p.seconds / p.tokens : (p) => p.seconds, memory = (p) => p.resident_peak_bytes;
  return [chart({id: `speed-${i}-time`, title: `${title}: time${where}`, height: 380, note: `${said(crossings(group, "time_length", time), "Faster")} ${note}`, summary: said(crossings(group, "time_length", time), "Faster"), option: () => againstLength(group, "time_length", time, perToken ? "time a token" : "time a step", duration, seconds), table: () => pointTable(group)}),
    chart({id: `speed-${i}-memory`, title: `${title}: peak memory${where}`, height: 380, note: `${said(crossings(group, "memory_length", memory), "Smaller")} Resident, above the idle process.` + (group.points.some((p) => p.status === "memory") ? " ✕: does not fit." : ""), summary: said(crossings(group, "memory_length", memory), "Smaller"), option: () => againstLength(group, "memory_length", memory, "peak memory", bytes, bytes), table: () => pointTable(group)})];
}

/** Time over many steps, as the seed's tables give it: measured time a step × steps. */
function projectedTable() {
  const points = report.benchmarks.flatMap((one) => one.points).filter((p) => p.preset === "seed-training" && p.task === "train" && p.status === "ok");
  if (!points.length) return null;
  const recorded = unique(report.benchmarks.flatMap((one) => one.steps).map((line) => line.steps)).sort((a, b) => a - b);
  const counts = recorded.length ? recorded : [500, 1000, 2000, 5000];  // none: the benchmark hasn't ended
  return el("section", {class: "card wide"}, el("h3", {}, "Training time over many steps"), el("p", {class: "note"}, "Measured time of one step × steps, not trained through."),
    table([{title: "Form", class: "name"}, {title: "N", number: true}, {title: "Batch", number: true}, {title: "One step", number: true}, ...counts.map((n) => ({title: `${whole(n)} steps`, number: true}))],
      points.map((p) => [formName(p.form) + (isTransformer(p.form) ? "" : `, ${p.slots} slots`), p.length, p.batch, {value: p.seconds, show: duration(p.seconds)}, ...counts.map((n) => ({value: n * p.seconds, show: duration(n * p.seconds)}))])));
}

function largestTable() {
  const lines = report.benchmarks.flatMap((one) => one.largest);
  if (!lines.length) return null;
  return el("section", {class: "card wide"}, el("h3", {}, "Largest that trains in a memory budget"), table([{title: "Form", class: "name"}, {title: "Largest"}, {title: "Value", number: true}, {title: "Budget", number: true}],
    lines.map((l) => [formName(l.form) + (l.fields ? `, ${l.fields}` : ""), l.what === "length" ? "N" : l.what, {value: l.value, show: (l.at_least ? "≥ " : "") + whole(l.value)}, {value: l.budget_bytes, show: bytes(l.budget_bytes)}])));
}

function crossoverTable() {
  const lines = report.benchmarks.flatMap((one) => one.crossovers);
  if (!lines.length) return null;
  const cell = (c, key) => ({value: c[key] ?? Infinity, show: known(c[key]) ? whole(c[key]) : `not up to ${whole(c.longest_tried)}`});
  return el("section", {class: "card wide"}, el("h3", {}, "Where each form begins to pay"), el("p", {class: "note"}, "Smallest N at which it beats the Transformer with fused attention on this machine."),
    table([{title: "Form", class: "name"}, {title: "Task"}, {title: "In time from N", number: true}, {title: "In memory from N", number: true}], lines.map((c) => [formName(c.form), taskName(c.task), cell(c, "time_length"), cell(c, "memory_length")])));
}

function speedSection() {
  const groups = speedGroups();
  const cards = [...groups.flatMap(speedCards), projectedTable(), crossoverTable(), largestTable()].filter(Boolean);
  if (!cards.length) return null;
  return el("section", {id: "speed"}, el("h2", {}, "Speed and memory"), el("p", {class: "lead"}, "Medians of interleaved rounds, each point in a process of its own. Dashed uprights mark the N from which a Linformer is ahead of the Transformer."), el("div", {class: "grid"}, cards));
}
