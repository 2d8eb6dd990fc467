// Benchmarks: time and memory against N, generation, what fits.

const TASKS = {train: "Training step", forward: "Forward pass", generate: "Generation"};
const VARIED = [["slots", "K"], ["window", "window"], ["sharing", "sharing"], ["width", "width"], ["layers", "layers"], ["dtype", ""], ["threads", "threads"], ["batch", "batch"]];
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

/** Where lines meet the Transformer's: recorded by the program, or else the first common N at which `value` is no larger. */
function crossings(group, key, value) {
  const found = [];
  for (const [name, points] of groupBy(group.points.filter((p) => !isTransformer(p.form)), group.name)) {
    const {form} = points[0];
    const recorded = group.benchmark.crossovers.find((c) => c.form === form && c.task === group.task);
    if (recorded && recorded[key] !== undefined) {
      if (known(recorded[key])) found.push({name, form, length: recorded[key], recorded: true});
      continue;
    }
    const base = group.points.filter((p) => p.form === baselineOf(form) && p.status === "ok");
    const beats = points.filter((p) => p.status === "ok").sort(by("length")).find((p) => base.some((b) => b.length === p.length && b.batch === p.batch && value(p) <= value(b)));
    if (beats) found.push({name, form, length: beats.length, recorded: false});
  }
  return found;
}

function againstLength(group, key, value, axis, format) {
  const lines = [...groupBy(group.points.filter((p) => p.status === "ok" && known(value(p))).sort(by("slots")), group.name)];
  const marks = unique(crossings(group, key, value).filter((c) => c.form !== "window-only").map((c) => c.length));
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
    series[0].markLine = {symbol: "none", silent: true, lineStyle: {type: [4, 4], color: css("--muted")}, label: {color: css("--muted"), position: "end", fontSize: 11, formatter: ({data}) => data.text},
      data: marks.map((length) => ({xAxis: length, text: whole(length)}))};
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
    grid: {left: 70, right: 20, top: 26, bottom: 80},
    xAxis: {type: "log", logBase: 2, name: "N, tokens", min: Math.min(...lengths), max: Math.max(...lengths), axisLabel: {formatter: (x) => (x >= 1024 && Math.round(x) % 1024 === 0 ? Math.round(x) / 1024 + "k" : String(Math.round(x)))}},
    yAxis: {type: "log", name: axis, nameGap: 54, axisLabel: {formatter: format}},
    legend: {data: lines.map(([name]) => name)},
    tooltip: {trigger: "item", formatter: (item) => tip(item.seriesName, [[item.color, `N = ${whole(item.value[0])}`, format(item.value[1])]])},
    series};
}

/** Few lengths: bars, one a configuration. */
function bars(group) {
  const points = [...group.points].filter((p) => p.status === "ok").sort((a, b) => a.tokens_per_second - b.tokens_per_second);
  const label = (p) => `${group.name(p)}${group.lengths.length > 1 ? `, N ${p.length}` : ""}`;
  return {
    grid: {left: narrow() ? 128 : 260, right: 66, top: 6, bottom: 40},
    xAxis: {type: "value", name: "tokens a second", axisLabel: {formatter: short}}, yAxis: {type: "category", data: points.map(label), axisLabel: {width: narrow() ? 118 : 246, overflow: "break", lineHeight: narrow() ? 12 : 14, interval: 0, hideOverlap: false, color: css("--text"), fontSize: narrow() ? 10 : 12}, splitLine: {show: false}},
    tooltip: {formatter: ({dataIndex}) => tip(label(points[dataIndex]), [[null, "tokens a second", short(points[dataIndex].tokens_per_second)], [null, "a token", duration(1 / points[dataIndex].tokens_per_second)], [null, "peak memory", bytes(points[dataIndex].resident_peak_bytes)]])},
    series: [{type: "bar", barMaxWidth: 18, data: points.map((p) => ({value: p.tokens_per_second, itemStyle: {color: formColour(p.form), opacity: p.decode === "reread" ? 0.5 : 1, borderRadius: 2}})), label: {show: true, position: "right", color: css("--text"), formatter: ({value}) => short(value)}}]};
}

function pointTable(group) {
  const status = (p) => (p.status === "ok" ? "ok" : p.status === "memory" ? "does not fit" : `failed: ${p.reason || ""}`);
  return plainTable(["What", "N", "Batch", "Seconds", "Lowest", "Highest", "Tokens a second", "Peak memory", "Share of the multiply rate", "Status"],
    group.points.map((p) => [group.name(p), p.length, p.batch, p.seconds, p.low, p.high, p.tokens_per_second, {value: p.resident_peak_bytes, show: bytes(p.resident_peak_bytes)}, {value: p.mfu, show: percent(p.mfu)}, status(p)]));
}

const settings = (group) => {
  const one = (key) => unique(group.points.map((p) => p[key]).filter((x) => x !== undefined && x !== null));
  return [["width", "width"], ["layers", "layers"], ["heads", "heads"], ["batch", "batch"], ["dtype", ""], ["threads", "threads"]].filter(([key]) => one(key).length === 1).map(([key, label]) => `${label} ${one(key)[0]}`.trim()).join(", ");
};

function speedCards(group, i) {
  const title = taskName(group.task), where = group.preset ? ` (${group.preset})` : "";
  const note = settings(group) + (group.constantTokens ? "; N × batch is constant" : group.batchByLength ? "; the batch falls as N grows" : "");
  if (group.lengths.length < 3) {
    return [chart({id: `speed-${i}-bars`, title: `${title}: tokens a second${where}`, note, wide: true, height: () => 70 + (narrow() ? 40 : 30) * group.points.filter((p) => p.status === "ok").length, summary: "Tokens a second by form.", option: () => bars(group), table: () => pointTable(group)})];
  }
  const said = (list, better) => {
    const each = list.filter((c) => c.form !== "window-only").sort(by("length")).map((c) => `${c.name.replace("Linformer, ", "")}: ${whole(c.length)}`);
    return each.length ? `${better} than the Transformer from N = ${each.join("; ")}.` : `Not ${better.toLowerCase()} than the Transformer at these lengths.`;
  };
  const perToken = group.task === "generate" || group.batchByLength;
  const time = perToken ? (p) => p.seconds / p.tokens : (p) => p.seconds, memory = (p) => p.resident_peak_bytes;
  return [chart({id: `speed-${i}-time`, title: `${title}: time${where}`, height: 380, note: `${said(crossings(group, "time_length", time), "Faster")} ${note}`, summary: said(crossings(group, "time_length", time), "Faster"), option: () => againstLength(group, "time_length", time, perToken ? "time a token" : "time a step", duration), table: () => pointTable(group)}),
    chart({id: `speed-${i}-memory`, title: `${title}: peak memory${where}`, height: 380, note: `${said(crossings(group, "memory_length", memory), "Smaller")} Resident, above the idle process.` + (group.points.some((p) => p.status === "memory") ? " ✕: does not fit." : ""), summary: said(crossings(group, "memory_length", memory), "Smaller"), option: () => againstLength(group, "memory_length", memory, "peak memory", bytes), table: () => pointTable(group)})];
}

/** Time over many steps, as the seed's tables give it: measured time a step × steps. */
function projectedTable() {
  const points = report.benchmarks.flatMap((one) => one.points).filter((p) => p.preset === "seed-training" && p.task === "train" && p.status === "ok");
  if (!points.length) return null;
  const counts = [500, 1000, 2000, 5000];
  return el("section", {class: "card wide"}, el("h3", {}, "Training time over many steps"), el("p", {class: "note"}, "Measured time of one step × steps, not trained through."),
    table([{title: "Form", class: "name"}, {title: "N", number: true}, {title: "Batch", number: true}, {title: "One step", number: true}, ...counts.map((n) => ({title: `${whole(n)} steps`, number: true}))],
      points.map((p) => [formName(p.form) + (isTransformer(p.form) ? "" : `, ${p.slots} slots`), p.length, p.batch, {value: p.seconds, show: duration(p.seconds)}, ...counts.map((n) => ({value: n * p.seconds, show: duration(n * p.seconds)}))])));
}

function largestTable() {
  const lines = report.benchmarks.flatMap((one) => one.largest);
  if (!lines.length) return null;
  return el("section", {class: "card wide"}, el("h3", {}, "Largest that trains in a memory budget"), table([{title: "Form", class: "name"}, {title: "Largest"}, {title: "Value", number: true}, {title: "Budget", number: true}],
    lines.map((l) => [formName(l.form), l.what === "length" ? "N" : l.what, {value: l.value, show: whole(l.value)}, {value: l.budget_bytes, show: bytes(l.budget_bytes)}])));
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
