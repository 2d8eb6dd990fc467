// What a reader should know after ten seconds.

const baselineOf = (form) => (form.startsWith("bidirectional") ? "bidirectional-softmax" : "softmax");
const lossOf = (run) => run.summary.best_bits_per_byte ?? run.summary.best_validation_loss;

/** Vocabularies of the runs: more than one, and losses a token can't be compared. */
const vocabularies = (runs) => unique(runs.map((run) => run.config?.tokenizer?.hash || run.config?.data?.vocabulary_hash || "").filter(Boolean));

function runFindings(runs) {
  // A run that sees its targets has no loss worth comparing.
  const judged = runs.filter((run) => known(lossOf(run)) && (!run.audit || run.audit.verdict === "clean")).sort((a, b) => lossOf(a) - lossOf(b));
  if (!judged.length) return [];
  const best = judged[0];
  const findings = [{topic: runs.length > 1 ? `Best of ${runs.length} runs` : "Validation loss", link: "#runs",
    value: known(best.summary.best_bits_per_byte) ? `${fixed(best.summary.best_bits_per_byte, 3)} bits/byte` : `${fixed(lossOf(best), 3)} nats`,
    what: `${best.name}: ${attentionOf(best).text}, after ${short(best.summary.tokens)} tokens`}];
  const transformer = judged.find((run) => isTransformer(attentionOf(run).form));
  const linformer = judged.find((run) => !isTransformer(attentionOf(run).form) && attentionOf(run).form !== "unknown");
  if (transformer && linformer) {
    const gap = lossOf(linformer) / lossOf(transformer) - 1;
    const speed = linformer.summary.tokens_per_second / transformer.summary.tokens_per_second;
    const same = linformer.summary.step === transformer.summary.step ? `at ${whole(linformer.summary.step)} steps each` : "at different numbers of steps";
    findings.push({topic: "Quality against the Transformer", link: "#runs", tone: gap <= 0 ? "good" : null, value: signed(100 * gap, (x) => digits(x, 2)) + " %",
      what: `${gap > 0 ? "worse" : "better"} ${known(best.summary.best_bits_per_byte) ? "bits a byte" : "loss"} (${linformer.name}), ${same}`});
    if (known(speed)) findings.push({topic: "Training speed against the Transformer", link: "#runs", tone: speed >= 1 ? "good" : null, value: times(speed),
      what: `${short(linformer.summary.tokens_per_second)} against ${short(transformer.summary.tokens_per_second)} tokens a second`});
  }
  return findings;
}

function auditFindings(runs) {
  const audited = runs.filter((run) => run.audit);
  if (!audited.length) return [];
  const leaking = audited.filter((run) => run.audit.verdict !== "clean");
  return [leaking.length ? {topic: "Audit", tone: "bad", link: "#runs", value: `${leaking.length} of ${audited.length} leak`, what: `${leaking[0].name} sees its own targets: its losses mean nothing`}
    : {topic: "Audit", tone: "good", link: "#runs", value: `${audited.length} of ${audited.length} clean`, what: "no output depends on a later token"}];
}

/** The largest saving over the Transformer among the points that differ in form alone; `value` of a point: smaller is better. */
function bestRatio(points, value) {
  let best = null;
  for (const point of points.filter((p) => !isTransformer(p.form) && p.form !== "window-only" && known(value(p)))) {
    const same = points.find((p) => p.form === baselineOf(point.form) && p.preset === point.preset && p.task === point.task && p.length === point.length && p.batch === point.batch && p.width === point.width && p.layers === point.layers && known(value(p)));
    if (same && (!best || value(same) / value(point) > best.ratio)) best = {ratio: value(same) / value(point), point};
  }
  return best;
}

function benchmarkFindings(benchmarks) {
  const points = benchmarks.flatMap((one) => one.points).filter((p) => p.status === "ok");
  const findings = [];
  for (const [task, topic] of [["train", "Training step, saved time"], ["forward", "Forward pass, saved time"], ["generate", "Generation, saved time"]]) {
    const best = bestRatio(points.filter((p) => p.task === task && p.decode !== "reread"), (p) => (p.tokens_per_second > 0 ? 1 / p.tokens_per_second : p.seconds / p.tokens));
    if (best) findings.push({topic, link: "#speed", tone: best.ratio >= 1 ? "good" : null, value: `${times(best.ratio)} ${best.ratio >= 1 ? "faster" : "the speed"}`,
      what: `${formName(best.point.form)}, N = ${whole(best.point.length)}${best.point.slots ? `, K = ${best.point.slots}` : ""}, against the fused Transformer: the best measured`});
  }
  const memory = bestRatio(points.filter((p) => p.task !== "generate"), (p) => p.resident_peak_bytes);
  if (memory) findings.push({topic: "Memory", link: "#speed", tone: memory.ratio >= 1 ? "good" : null, value: memory.ratio >= 1 ? `${times(memory.ratio)} less` : `${Math.round(100 / memory.ratio - 100)} % more`, what: `${formName(memory.point.form)}, N = ${whole(memory.point.length)}, ${memory.point.task === "train" ? "training step" : "forward pass"}: the best measured`});
  const crossings = benchmarks.flatMap((one) => one.crossovers).filter((c) => known(c.time_length) && c.form !== "window-only").sort(by("time_length"));
  if (crossings.length) findings.push({topic: "Pays from", link: "#speed", value: `N = ${whole(crossings[0].time_length)}`, what: `${formName(crossings[0].form)} is faster than the Transformer from there on (${crossings[0].task})`});
  return findings;
}

function ablationFindings(ablations) {
  return ablations.slice(0, 6).flatMap((ablation) => {
    const recall = ablation.rows.some((row) => known(row.accuracy?.mean));
    const rows = ablation.rows.filter((row) => !row.vocabulary_differs && known(recall ? row.accuracy?.mean : row.validation_loss?.mean)).sort((a, b) => (recall ? b.accuracy.mean - a.accuracy.mean : a.validation_loss.mean - b.validation_loss.mean));
    if (!rows.length) return [];
    const figure = (row) => (recall ? percent(row.accuracy.mean) : fixed(row.validation_loss.mean, 3));
    const base = rows.findIndex((row) => row.point === ablation.base);
    // A best that the next is close to, or that is the base itself, is no finding; so both are said.
    const others = [rows.length > 1 ? `then ${rows[1].point}, ${figure(rows[1])}` : null, base > 1 ? `the base, ${rows[base].point}: ${figure(rows[base])}` : null].filter(Boolean);
    return [{topic: ablation.title || ablation.name, link: "#" + ablation.id, value: figure(rows[0]) + (recall ? "" : " nats"),
      what: [`${recall ? "best recall" : "lowest loss"} of ${rows.length} points: ${rows[0].point}${base === 0 ? ", the base" : ""}`, ...others].join("; ")}];
  });
}

function spectrumFindings(inspections) {
  const spectrum = inspections.flatMap((one) => one.spectra).find((s) => s.at_slots);
  if (!spectrum) return [];
  return [{topic: "Rank of attention", link: "#inspect", value: percent(mean(spectrum.at_slots.flat().filter(known))),
    what: `of the spectrum lies in the first ${spectrum.slots} of ${spectrum.length} singular values, on average (${String(spectrum.model).split("/").slice(-2).join("/")})`}];
}

function summarySection() {
  const findings = [...runFindings(report.runs), ...auditFindings(report.runs), ...benchmarkFindings(report.benchmarks), ...ablationFindings(report.ablations), ...spectrumFindings(report.inspections), ...positionFindings()];
  const count = (list, one, many) => (list.length ? `${list.length} ${list.length === 1 ? one : many}` : null);
  const holds = [count(report.runs, "run", "runs"), count(report.benchmarks, "benchmark", "benchmarks"), count(report.ablations, "ablation", "ablations"), count(report.inspections, "inspection", "inspections"), count(evaluationLines(), "evaluation", "evaluations")].filter(Boolean);
  if (!holds.length) return el("section", {id: "summary"}, el("h1", {}, "Nothing is recorded yet"), el("p", {class: "lead"}, "The page fills itself as soon as there is a first step."), remarksBox());
  return el("section", {id: "summary"}, el("h1", {}, "What was found"),
    el("p", {class: "lead"}, `From ${holds.join(", ")}, ${new Date(report.time * 1000).toLocaleString("en-GB", {dateStyle: "long", timeStyle: "short"})}. Each figure leads to its chart.`),
    el("div", {class: "findings"}, findings.map((f) => el("a", {class: `finding ${f.tone || ""}`, href: f.link}, el("div", {class: "topic"}, f.topic), el("div", {class: "value"}, f.value), el("div", {class: "what"}, f.what)))),
    remarksBox());
}

function remarksBox() {
  const list = [...report.remarks];
  if (vocabularies(report.runs).length > 1) list.push({path: "", text: "The runs have different vocabularies: a nat a token means something else in each. They are compared by bits per byte."});
  if (!list.length) return null;
  return el("div", {class: "remarks", role: "note"}, el("strong", {}, list.length === 1 ? "One remark" : `${list.length} remarks`),
    el("ul", {}, list.map((r) => el("li", {}, r.path ? [el("code", {}, r.path), " "] : null, r.text))));
}
