// Evaluations: loss by position, also past the length that a model was trained at.

/** The lines of all evaluations, with a name that tells their models apart. */
function evaluationLines() {
  const lines = report.evaluations.flatMap((one) => one.lines).filter((line) => typeof line.model === "string" && known(line.loss));
  const models = unique(lines.map((line) => line.model)), parts = (model, count) => model.split("/").filter(Boolean).slice(-count).join("/");
  const nameOf = (model) => {
    let count = 1;
    while (count < 8 && models.some((other) => other !== model && parts(other, count) === parts(model, count))) count++;
    return parts(model, count) || model;
  };
  const lengths = groupBy(lines, (line) => `${line.model}\n${line.data}`);
  return lines.map((line) => ({...line, name: nameOf(line.model) + (unique(lengths.get(`${line.model}\n${line.data}`).map((one) => one.length)).length > 1 ? `, N ${whole(line.length)}` : "")}));
}

const octaves = (line) => (Array.isArray(line.loss_by_position) ? line.loss_by_position.filter((one) => one && known(one.from) && known(one.to) && known(one.loss)) : []);
const trainedLength = (line) => line.config?.model?.length;

/** The one Transformer of a chart is grey, as everywhere. */
function evaluationColour(lines, line) {
  const transformer = (one) => isTransformer(attentionOf(one).form), others = lines.filter((one) => !transformer(one));
  if (transformer(line) && lines.filter(transformer).length === 1) return formColour(attentionOf(line).form);
  return palette((transformer(line) ? lines : others).indexOf(line));
}

function positionCard(lines, data, id) {
  // A nat a token means something else in each vocabulary.
  const bits = unique(lines.map((line) => line.tokenizer?.hash)).length > 1 && lines.every((line) => known(line.bits_per_byte) && line.loss > 0);
  const value = (line, one) => (bits ? one.loss * line.bits_per_byte / line.loss : one.loss), unit = bits ? "bits a byte" : "nats a token";
  const trained = unique(lines.map(trainedLength).filter(known)).sort((a, b) => a - b);
  const ends = lines.flatMap((line) => octaves(line).map((one) => one.to + 1));
  const span = (one) => `${whole(one.from)} to ${whole(one.to)}`;
  return chart({id, title: "Loss by position", wide: true, height: 400, summary: `Loss of ${lines.length} models by octaves of position.`,
    note: `${data ? `${data}. ` : ""}Each dot is the mean over an octave of positions, drawn at its end; dashed: the length of training.`,
    option: () => ({
      grid: {left: 62, right: 24, top: 30, bottom: 82},
      xAxis: {type: "log", logBase: 2, name: "position, tokens", min: Math.min(...ends), max: Math.max(...ends, ...trained), axisLabel: {formatter: (x) => short(Math.round(x))}},
      yAxis: {type: "value", name: unit, nameGap: 42, scale: true, axisLabel: {formatter: (x) => digits(x, 3)}},
      legend: {icon: null, itemWidth: 24, formatter: (name) => shortened(name, 60)},
      tooltip: {trigger: "item", formatter: ({color, seriesIndex, dataIndex}) => {
        const line = lines[seriesIndex], one = octaves(line)[dataIndex];
        return tip(shortened(line.name), [[color, `positions ${span(one)}`, `${fixed(value(line, one))} ${unit}`], [null, attentionOf(line).text, ""]]);
      }},
      series: lines.map((line, i) => ({name: line.name, type: "line", symbol: isTransformer(attentionOf(line).form) ? "rect" : "circle", symbolSize: 7, data: octaves(line).map((one) => [one.to + 1, value(line, one)]),
        lineStyle: {width: 2, color: evaluationColour(lines, line)}, itemStyle: {color: evaluationColour(lines, line)},
        markLine: i ? undefined : {symbol: "none", silent: true, label: {position: "end", fontSize: 11, formatter: ({data: mark}) => mark.text}, data: trained.map((length) => ({xAxis: length, text: `trained at ${whole(length)}`, lineStyle: {type: [4, 4], width: 1.2, color: css("--muted")}, label: {color: css("--muted")}}))}}))}),
    table: () => plainTable(["Model", "Attention", "Positions", "Tokens", bits ? "Bits a byte" : "Nats a token"],
      lines.flatMap((line) => octaves(line).map((one) => [line.name, attentionOf(line).text, {value: one.from, show: span(one)}, one.tokens, {value: value(line, one), show: fixed(value(line, one))}])))});
}

const depths = (line) => (Array.isArray(line.accuracy_by_depth) ? line.accuracy_by_depth.filter((one) => one && known(one.from) && known(one.to) && known(one.found)) : []);

/** How often a key that was hidden in filler was found, by where it was hidden. */
function depthCard(lines, data, id) {
  const range = (one) => `${percent(one.from)} to ${percent(one.to)}`;
  return chart({id, title: "Keys found by depth", wide: true, height: 360, note: `${data}. Share of the keys of which every token was the likeliest, by the share of the text before the key.`, summary: `Keys found by ${lines.length} models.`,
    option: () => ({
      grid: {left: 62, right: 24, top: 16, bottom: 82},
      xAxis: {type: "value", name: "depth", min: 0, max: 1, axisLabel: {formatter: (x) => percent(x)}}, yAxis: {type: "value", name: "keys found", min: 0, max: 1, nameGap: 42, axisLabel: {formatter: (x) => percent(x)}},
      legend: {icon: null, itemWidth: 24, formatter: (name) => shortened(name, 60)},
      tooltip: {trigger: "item", formatter: ({color, seriesIndex, dataIndex}) => {
        const line = lines[seriesIndex], one = depths(line)[dataIndex];
        return tip(shortened(line.name), [[color, range(one), `${percent(one.found)} of ${whole(one.keys)}`], [null, attentionOf(line).text, ""]]);
      }},
      series: lines.map((line) => ({name: line.name, type: "line", symbol: isTransformer(attentionOf(line).form) ? "rect" : "circle", symbolSize: 7, data: depths(line).map((one) => [(one.from + one.to) / 2, one.found]),
        lineStyle: {width: 2, color: evaluationColour(lines, line)}, itemStyle: {color: evaluationColour(lines, line)}}))}),
    table: () => plainTable(["Model", "Attention", "Depth", "Keys", "Found", "Tokens of keys"], lines.flatMap((line) => depths(line).map((one) => [line.name, attentionOf(line).text, {value: one.from, show: range(one)}, one.keys, {value: one.found, show: percent(one.found)}, {value: one.accuracy, show: percent(one.accuracy)}])))});
}

function evaluationTable(lines) {
  const answered = lines.some((line) => known(line.accuracy));
  const columns = ["Model", "Attention", "Text", "N", "Loss", "Bits a byte", "Tokens", answered && "Accuracy"].filter(Boolean);
  return plainTable(columns, lines.map((line) => [line.name, attentionOf(line).text, line.data ? String(line.data) : "of its training", line.length, {value: line.loss, show: fixed(line.loss)},
    {value: line.bits_per_byte, show: fixed(line.bits_per_byte)}, line.tokens, answered && {value: line.accuracy, show: percent(line.accuracy)}].slice(0, columns.length)));
}

/** Whether a model holds past the length that it was trained at: its last octave against the last one of training. */
function positionFindings() {
  const past = evaluationLines().flatMap((line) => {
    const all = octaves(line), trained = trainedLength(line), last = all[all.length - 1], before = all.filter((one) => one.to < trained).pop();
    return last && before && last.from >= trained ? [{line, change: last.loss / before.loss - 1, times: (last.to + 1) / trained}] : [];
  }).sort((a, b) => b.times - a.times || a.change - b.change);
  if (!past.length) return [];
  const {line, change, times: factor} = past[0];
  return [{topic: "Past the trained length", link: "#evaluations", tone: change <= 0.01 ? "good" : null, value: signed(100 * change, (x) => digits(x, 2)) + " %",
    what: `loss at ${digits(factor)} times the trained length against the last trained octave: ${line.name}, ${attentionOf(line).text}`}];
}

function evaluationsSection() {
  const lines = evaluationLines();
  if (!lines.length) return null;
  const byData = (those) => [...groupBy(lines.filter(those), (line) => String(line.data ?? ""))];
  const charts = [...byData((line) => octaves(line).length > 1).map(([data, own], i) => positionCard(own, data, `evaluations-${i + 1}-position`)),
    ...byData((line) => depths(line).length > 1).map(([data, own], i) => depthCard(own, data, `evaluations-${i + 1}-depth`))];
  return el("section", {id: "evaluations"}, el("h2", {}, "Evaluations"), el("p", {class: "lead"}, "What `evaluate` measured: does more text before a token help, and does a model hold past the length that it was trained at?"),
    evaluationTable(lines), el("div", {class: "grid"}, charts));
}
