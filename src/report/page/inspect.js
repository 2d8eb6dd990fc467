// Inspections: spectrum, what slots read, where attention goes.

const inspectUi = {};
const layersOf = (count) => Array.from({length: count}, (_, i) => String(i + 1));
const layerColour = (i, count) => mix(dark() ? "#3f6db5" : "#a9c6ee", dark() ? "#f3f0a8" : "#0c2350", count > 1 ? i / (count - 1) : 1);

function spectrumCards(spectrum, id) {
  const heads = (layer) => spectrum.cumulative[layer];
  const curve = (layer) => spectrum.positions.map((position, i) => [position, mean(heads(layer).map((head) => head[i]).filter(known))]);
  const where = shortened(String(spectrum.model), 60);
  return [
    chart({id: `${id}-curve`, title: "Spectrum of attention", height: 380, note: `${where}${spectrum.causal ? ", causal: a triangle, whose spectrum is flatter" : ""}. Cumulative share of the singular values, mean over ${spectrum.heads} heads and ${spectrum.matrices} windows of text.`, summary: `By layer; at K = ${spectrum.slots} of N = ${spectrum.length} ${percent(mean(spectrum.at_slots.flat().filter(known)))} on average.`,
      option: () => ({
        xAxis: {type: "value", name: "singular values counted", max: spectrum.length}, yAxis: {type: "value", name: "share of their sum", min: 0, max: 1, nameGap: 42, axisLabel: {formatter: (x) => percent(x)}}, grid: {left: 62, right: 20, top: 26, bottom: 78}, legend: {},
        tooltip: {trigger: "axis", formatter: (items) => tip(`first ${items[0].axisValue} of ${spectrum.length}`, items.map((i) => [i.color, i.seriesName, percent(i.value[1])]))},
        series: Array.from({length: spectrum.layers}, (_, layer) => ({name: `layer ${layer + 1}`, type: "line", showSymbol: false, data: curve(layer), lineStyle: {width: 1.8, color: layerColour(layer, spectrum.layers)}, itemStyle: {color: layerColour(layer, spectrum.layers)},
          markLine: layer === 0 && known(spectrum.slots) ? {symbol: "none", silent: true, lineStyle: {type: [4, 4], color: css("--muted")}, label: {formatter: `K = ${spectrum.slots}`, color: css("--muted"), position: "end"}, data: [{xAxis: spectrum.slots}]} : undefined}))}),
      table: () => plainTable(["Values counted", ...layersOf(spectrum.layers).map((l) => `Layer ${l}`)], every(spectrum.positions.map((_, i) => i), 24).map((i) => [spectrum.positions[i], ...layersOf(spectrum.layers).map((_, layer) => curve(layer)[i][1])]))}),
    chart({id: `${id}-heat`, title: `Share at K = ${spectrum.slots}`, height: 380, note: `By layer and head, of N = ${spectrum.length}. Near 100 %, ${spectrum.slots} slots could hold the matrix.`, summary: "By layer and head.",
      option: () => heatMap({columns: layersOf(spectrum.heads), rows: layersOf(spectrum.layers), values: spectrum.at_slots, x: "head", y: "layer", label: (x) => percent(x, 2)}),
      table: () => plainTable(["Layer", ...layersOf(spectrum.heads).map((h) => `Head ${h}`)], spectrum.at_slots.map((row, i) => [i + 1, ...row]))})];
}

/** One heat map of many, chosen by a select: maps [{text, x, rows, values, …}]. */
function pickedMap(id, title, note, maps, y) {
  inspectUi[id] ??= 0;
  if (inspectUi[id] >= maps.length) inspectUi[id] = 0;
  const map = () => maps[Number(inspectUi[id])];
  const numbers = (count) => layersOf(count);
  return chart({id, title, height: 400, note, summary: `${maps.length} maps to choose from.`,
    controls: maps.length > 1 ? [choice("Of", inspectUi, id, maps.map((one, i) => [i, one.text]), () => redraw(id))] : null,
    option: () => heatMap({columns: numbers(map().values[0].length), rows: numbers(map().values.length), values: map().values, x: map().x, y}),
    table: () => plainTable([`${y} \\ ${map().x}`, ...numbers(map().values[0].length)], map().values.map((row, i) => [i + 1, ...row]))});
}

const usable = (values) => Array.isArray(values) && values.length && Array.isArray(values[0]) && values.flat().some(known);
const ofHead = (one) => `layer ${one.layer + 1}${known(one.head) ? `, head ${one.head + 1}` : ""}`;

function weightCard(lines, id) {
  const layers = Math.max(...lines.map((l) => l.layer)) + 1, heads = Math.max(...lines.map((l) => l.head)) + 1;
  const values = Array.from({length: layers}, (_, i) => Array.from({length: heads}, (_, j) => lines.find((l) => l.layer === i && l.head === j)?.slot_share ?? null));
  const lines_by_layer = () => Array.from({length: layers}, (_, layer) => {
    const own = lines.filter((l) => l.layer === layer && Array.isArray(l.by_position));
    return own.length ? own[0].by_position.map((_, i) => mean(own.map((l) => l.by_position[i]).filter(known))) : [];
  });
  return [
    chart({id: `${id}-share`, title: "Weight that queries give to slots", height: 360, note: "The rest goes to their window. By layer and head.", summary: "Share of the weight on slots.",
      option: () => heatMap({columns: layersOf(heads), rows: layersOf(layers), values, x: "head", y: "layer", label: (x) => percent(x, 2), low: 0}), table: () => plainTable(["Layer", ...layersOf(heads).map((h) => `Head ${h}`)], values.map((row, i) => [i + 1, ...row]))}),
    lines.some((l) => Array.isArray(l.by_position)) ? chart({id: `${id}-position`, title: "Weight on slots along the text", height: 360, note: "Mean over heads; each step is an equal part of the sequence.", summary: "Share of the weight on slots by position.",
      option: () => ({xAxis: {type: "category", name: "part of the sequence", data: layersOf(Math.max(...lines_by_layer().map((l) => l.length)))}, yAxis: {type: "value", name: "weight on slots", nameGap: 42, min: 0, axisLabel: {formatter: (x) => percent(x)}}, grid: {left: 62, right: 20, top: 16, bottom: 78}, legend: {},
        tooltip: {trigger: "axis", formatter: (items) => tip(`part ${items[0].axisValue}`, items.map((i) => [i.color, i.seriesName, percent(i.value)]))},
        series: lines_by_layer().map((data, layer) => ({name: `layer ${layer + 1}`, type: "line", showSymbol: false, data, lineStyle: {width: 1.8, color: layerColour(layer, layers)}, itemStyle: {color: layerColour(layer, layers)}}))}),
      table: () => plainTable(["Layer", ...layersOf(lines_by_layer()[0].length)], lines_by_layer().map((row, i) => [i + 1, ...row]))}) : null].filter(Boolean);
}

function inspectionCards(inspection, i) {
  const id = `inspect-${i + 1}`;
  const maps = (lines, text, x) => lines.filter((one) => usable(one.values)).map((one) => ({...one, text: text(one), x: x(one)}));
  const projections = maps(inspection.projections, (one) => `${one.which}, ${ofHead(one)}`, (one) => `part of the ${one.over && one.over !== "text" ? one.over : "sequence"}`);
  const attention = maps(inspection.attention, ofHead, (one) => (one.over === "slots" ? "slot" : "part of the sequence, attended"));
  return [...inspection.spectra.filter((s) => usable(s.at_slots) && Array.isArray(s.cumulative)).flatMap((s, k) => spectrumCards(s, `${id}-spectrum-${k + 1}`)),
    ...(inspection.weights.length ? weightCard(inspection.weights.filter((w) => known(w.layer) && known(w.head)), `${id}-weights`) : []),
    projections.length ? pickedMap(`${id}-projection`, "What slots read", "Mean weight of each part of the sequence in each slot (the rows of E and F).", projections, "slot") : null,
    attention.length ? pickedMap(`${id}-attention`, "Attention over the text", "Weight of queries (rows) on what they attend to (columns): slots (P̄) or positions (P), by parts of the sequence.", attention, "part of the sequence, asking") : null].filter(Boolean);
}

function inspectSection() {
  const cards = report.inspections.flatMap(inspectionCards);
  if (!cards.length) return null;
  return el("section", {id: "inspect"}, el("h2", {}, "Inside the models"), el("p", {class: "lead"}, "If attention has a low rank, few slots hold it: the paper's Figure 1, and what the slots of trained models do."), el("div", {class: "grid"}, cards));
}
