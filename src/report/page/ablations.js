// Ablation grids: tables with spread, both readings, recall, slot biases.

const changesText = (row) => Object.entries(row.changes || {}).map(([name, value]) => `${name} = ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ") || "as the grid's own settings";
const spread = (one, places = 4) => (known(one?.mean) ? {value: one.mean, show: el("span", {}, fixed(one.mean, places), known(one.low) && one.high > one.low ? el("div", {class: "sub"}, `${fixed(one.low, places)} … ${fixed(one.high, places)}`) : null)} : null);
const seedMean = (row, key) => {
  const values = (row.seeds || []).map((s) => s[key]).filter(known);
  return values.length ? mean(values) : undefined;
};

/** What makes a point no equal of the base, [badge, why]; parameters have a column of their own. */
const inequalities = (row) => [
  row.tokens_differ && ["⚠ other tokens", `read ${whole(row.tokens)} tokens in training, not as many as the base`],
  row.vocabulary_differs && ["⚠ other vocabulary", "losses a token are of different things: compare bits a byte"]].filter(Boolean);

function pointCell(row, ablation) {
  const badge = (kind, text, title) => el("span", {class: `badge ${kind}`, style: "margin-left:.4rem", title}, text);
  return {value: row.point, show: el("span", {}, row.point, row.point === ablation.base ? badge("", "base", "what the others are compared with") : null, inequalities(row).map(([text, why]) => badge("warn", text, why)), el("div", {class: "sub"}, changesText(row)))};
}

function ablationTable(ablation, ui) {
  const {rows} = ablation, base = rows.find((row) => row.point === ablation.base)?.validation_loss?.mean;
  const recall = rows.some((row) => row.accuracy), bits = rows.some((row) => known(row.bits_per_byte?.mean)), timed = rows.some((row) => known(row.equal_time?.validation_loss?.mean));
  const columns = [
    {title: "Point", class: "name", cell: (row) => pointCell(row, ablation)},
    recall && {title: "Accuracy", number: true, cell: (row) => spread(row.accuracy, 3)},
    {title: "Validation loss", number: true, help: "mean and range over the seeds, at equal steps", cell: (row) => spread(row.validation_loss)},
    known(base) && !recall && {title: "Against the base", number: true, cell: (row) => (known(row.validation_loss?.mean) && !row.vocabulary_differs ? {value: row.validation_loss.mean - base, show: signed(row.validation_loss.mean - base, fixed)} : null)},
    bits && !recall && {title: "Bits a byte", number: true, cell: (row) => spread(row.bits_per_byte)},
    timed && {title: "Loss at equal time", number: true, help: `after ${duration(rows.find((r) => r.equal_time)?.equal_time.seconds)} of training each`, cell: (row) => spread(row.equal_time?.validation_loss)},
    {title: "Tokens/s", number: true, cell: (row) => ({value: seedMean(row, "tokens_per_second"), show: short(seedMean(row, "tokens_per_second"))})},
    {title: "Parameters", number: true, cell: (row) => ({value: row.parameters, show: el("span", {}, short(row.parameters), row.parameters_differ ? el("div", {}, el("span", {class: "badge warn", title: "more than 10 % off the base's: the comparison is not of equals"}, "⚠ differ")) : null)})},
    {title: "Seeds", number: true, cell: (row) => (row.seeds || []).length}].filter(Boolean);
  return table(columns, rows.map((row) => columns.map((column) => column.cell(row))), ui);
}

/** Names of points differ at their ends, which truncation would cut. */
const wrapped = () => ({overflow: "breakAll", ...(narrow() ? {fontSize: 10, lineHeight: 11} : {lineHeight: 13})});

/** Dots with their range, one row a point: [{name, colour, of: row → {mean, low, high}}]. */
function dotOption(rows, readings, axis, baseValue, format) {
  const names = rows.map((row) => row.point), wide = Math.min(narrow() ? 140 : 230, 26 + 6.6 * Math.max(...names.map((name) => name.length)));
  const shift = (i) => (readings.length > 1 ? (i - (readings.length - 1) / 2) * 9 : 0);
  const series = readings.flatMap(({name, colour, of}, i) => {
    const points = rows.map((row, j) => [of(row), j]).filter(([one]) => known(one?.mean));
    return [{name, type: "custom", silent: true, itemStyle: {color: colour}, z: 1, dimensions: ["low", "high", "point"], encode: {x: [0, 1], y: 2}, data: points.map(([one, j]) => [one.low ?? one.mean, one.high ?? one.mean, j]),
      renderItem: (_, api) => {
        const [from, to] = [api.coord([api.value(0), api.value(2)]), api.coord([api.value(1), api.value(2)])];
        return {type: "line", shape: {x1: from[0], y1: from[1] + shift(i), x2: to[0], y2: to[1] + shift(i)}, style: {stroke: colour, lineWidth: 3, opacity: 0.45, lineCap: "round"}};
      }},
    {name, type: "scatter", symbolSize: 9, symbolOffset: [0, shift(i)], itemStyle: {color: colour}, data: points.map(([one, j]) => [one.mean, j]),
      markLine: i === 0 && known(baseValue) ? {symbol: "none", silent: true, label: {formatter: "base", position: "start", color: css("--muted")}, lineStyle: {type: [4, 4], color: css("--muted")}, data: [{xAxis: baseValue}]} : undefined}];
  });
  return {
    grid: {left: wide, right: 18, top: 20, bottom: readings.length > 1 ? 74 : 46},
    xAxis: {type: "value", scale: true, name: axis, axisLabel: {formatter: format}},
    yAxis: {type: "category", data: names, inverse: true, axisLabel: {width: wide - 12, ...wrapped(), interval: 0, hideOverlap: false, color: css("--text")}},
    legend: readings.length > 1 ? {data: readings.map((r) => r.name)} : undefined,
    tooltip: {formatter: ({data, seriesName}) => {
      const row = rows[data[data.length - 1]], one = readings.find((r) => r.name === seriesName).of(row);
      return tip(row.point, [[null, seriesName, format(one.mean)], [null, "range over the seeds", `${format(one.low)} … ${format(one.high)}`], [null, changesText(row), ""]]);
    }},
    series};
}

function recallCards(ablation) {
  const rows = ablation.rows.filter((row) => known(row.accuracy?.mean));
  if (!rows.length) return [];
  const state = (row) => seedMean(row, "state_bytes");
  const sized = rows.filter((row) => known(state(row))), states = sized.map(state), middle = Math.sqrt(Math.min(...states) * Math.max(...states));
  const distances = (row) => {
    const all = groupBy((row.seeds || []).flatMap((s) => s.accuracy_by_distance || []).filter((d) => known(d.accuracy)), (d) => d.distance);
    return [...all].map(([distance, list]) => [distance, mean(list.map((d) => d.accuracy))]).sort((a, b) => a[0] - b[0]);
  };
  const spaced = rows.filter((row) => distances(row).length > 1);
  // Colours go round after eight points; lines and symbols then differ.
  const style = (row) => {
    const i = rows.indexOf(row), round = Math.floor(i / 8) % 3;
    return {color: palette(i), line: ["solid", "dashed", "dotted"][round], symbol: ["circle", "rect", "triangle"][round]};
  };
  return [
    sized.length ? chart({id: `${ablation.id}-state`, title: "Recall against state", height: 380, note: "How much is kept at decoding, and how often the right value is recalled.", summary: "Accuracy by bytes of decoding state.",
      option: () => ({
        xAxis: logAxis(states, {name: "state", axisLabel: {formatter: bytes}}), yAxis: {type: "value", name: "accuracy", min: 0, max: 1, nameGap: 42, axisLabel: {formatter: (x) => percent(x)}}, grid: {left: 62, right: 20, top: 16, bottom: 78},
        legend: {icon: null, itemWidth: 10, itemHeight: 10}, tooltip: {formatter: (item) => tip(item.seriesName, [[item.color, bytes(item.value[0]), percent(item.value[1])]])},
        series: sized.map((row) => ({name: row.point, type: "scatter", symbol: style(row).symbol, symbolSize: 12, data: [[state(row), row.accuracy.mean]], itemStyle: {color: style(row).color},
          label: {show: !narrow(), formatter: "{a}", position: state(row) > middle ? "left" : "right", fontSize: 10, lineHeight: 17, color: css("--muted")}, labelLayout: {hideOverlap: true, moveOverlap: "shiftY"}}))}),
      table: () => plainTable(["Point", "State", "Accuracy", "Lowest", "Highest"], sized.map((row) => [row.point, {value: state(row), show: bytes(state(row))}, row.accuracy.mean, row.accuracy.low, row.accuracy.high]))}) : null,
    spaced.length ? chart({id: `${ablation.id}-distance`, title: "Recall against distance", height: 380, note: "Of the pair, in tokens; mean over the seeds.", summary: "Accuracy by distance of the pair.",
      option: () => ({
        xAxis: {type: "log", logBase: 2, name: "distance, tokens", min: "dataMin", max: "dataMax", axisLabel: {formatter: (x) => short(Math.round(x))}}, yAxis: {type: "value", name: "accuracy", min: 0, max: 1, nameGap: 42, axisLabel: {formatter: (x) => percent(x)}}, grid: {left: 62, right: 20, top: 16, bottom: 78},
        legend: {icon: null, itemWidth: 24}, tooltip: {trigger: "axis", formatter: (items) => tip(`distance ${items[0].axisValue}`, items.map((i) => [i.color, i.seriesName, percent(i.value[1])]))},
        series: spaced.map((row) => ({name: row.point, type: "line", symbol: style(row).symbol, symbolSize: 6, data: distances(row), lineStyle: {width: 1.8, color: style(row).color, type: style(row).line}, itemStyle: {color: style(row).color}}))}),
      table: () => plainTable(["Point", "Distance", "Accuracy"], spaced.flatMap((row) => distances(row).map(([d, a]) => [row.point, d, a])))}) : null].filter(Boolean);
}

/** Final slot bias of each layer, mean over heads and seeds. */
function biasCard(ablation) {
  const rows = ablation.rows.filter((row) => (row.seeds || []).some((s) => Array.isArray(s.slot_bias) && s.slot_bias.length));
  if (!rows.length) return null;
  const layers = Math.max(...rows.flatMap((row) => row.seeds.map((s) => (s.slot_bias || []).length)));
  const values = rows.map((row) => Array.from({length: layers}, (_, layer) => {
    const all = row.seeds.flatMap((s) => s.slot_bias?.[layer] ?? []).filter(known);
    return all.length ? mean(all) : null;
  }));
  return chart({id: `${ablation.id}-bias`, title: "Slot bias at the end", height: () => 110 + 34 * rows.length, note: "Mean over heads and seeds; higher: the slots are wider open.", summary: "Final slot bias by point and layer.",
    option: () => {
      const option = heatMap({columns: Array.from({length: layers}, (_, i) => String(i + 1)), rows: rows.map((row) => row.point), values, x: "layer", y: "", label: (x) => fixed(x, 2)});
      return {...option, grid: {...option.grid, left: narrow() ? 110 : 190}, yAxis: {...option.yAxis, axisLabel: {width: narrow() ? 100 : 176, ...wrapped(), color: css("--text")}}};
    },
    table: () => plainTable(["Point", ...values[0].map((_, i) => `Layer ${i + 1}`)], rows.map((row, j) => [row.point, ...values[j]]))});
}

function curveCard(ablation) {
  if (!ablation.curves.length) return null;
  const points = unique(ablation.curves.map((c) => c.point));
  return chart({id: `${ablation.id}-curves`, title: "Validation loss", height: 380, note: "One line a seed, one colour a point.", summary: "Validation loss over the steps.",
    option: () => ({
      xAxis: {type: "value", name: "step", axisLabel: {formatter: short}, max: "dataMax"}, yAxis: {type: "value", scale: true, name: "nats a token", nameGap: 42}, grid: {left: 58, right: 18, top: 14, bottom: 76}, legend: {data: points},
      tooltip: {trigger: "item", formatter: (i) => tip(i.seriesName, [[i.color, `step ${whole(i.value[0])}`, fixed(i.value[1])]])},
      series: ablation.curves.map((c) => ({name: c.point, type: "line", symbolSize: 4, data: c.step.map((s, i) => [s, c.loss[i]]), lineStyle: {width: 1.5, color: palette(points.indexOf(c.point)), type: points.indexOf(c.point) >= 8 ? "dashed" : "solid"}, itemStyle: {color: palette(points.indexOf(c.point))}}))}),
    table: () => plainTable(["Point", "Seed", "Step", "Validation loss"], ablation.curves.flatMap((c) => c.step.map((s, i) => [c.point, c.seed, s, c.loss[i]])))});
}

const ablationUi = new Map();

function ablationCards(ablation) {
  if (!ablationUi.has(ablation.path)) ablationUi.set(ablation.path, {});
  const {rows} = ablation, recall = rows.some((row) => known(row.accuracy?.mean)), base = rows.find((row) => row.point === ablation.base);
  const judged = rows.filter((row) => known(row.validation_loss?.mean));
  const timed = judged.some((row) => known(row.equal_time?.validation_loss?.mean));
  const readings = () => [{name: "at equal steps", colour: palette(0), of: (row) => row.validation_loss}, ...(timed ? [{name: "at equal time", colour: palette(1), of: (row) => row.equal_time?.validation_loss}] : [])];
  const seeds = Math.max(...rows.map((row) => (row.seeds || []).length));
  const means = seeds > 1 ? "Mean and range over the seeds" : "One seed";
  const heights = (list) => () => 110 + (timed ? 30 : 24) * list.length;
  return el("section", {id: ablation.id}, el("h2", {}, `Ablation: ${ablation.title || ablation.grid_name || ablation.name}`),
    el("p", {class: "lead"}, `${rows.length} points in ${ablation.name}, ${seeds > 1 ? `up to ${seeds} seeds each. Ranges are over the seeds.` : "one seed each, so that no spread is known."}`),
    ablationTable(ablation, ablationUi.get(ablation.path)),
    el("div", {class: "grid"},
      recall ? chart({id: `${ablation.id}-accuracy`, title: "Recall accuracy", wide: true, height: heights(rows), note: `${means}.`, summary: "Accuracy by point.", option: () => dotOption(rows.filter((r) => known(r.accuracy?.mean)), [{name: "accuracy", colour: palette(0), of: (row) => row.accuracy}], "accuracy", base?.accuracy?.mean, (x) => percent(x)), table: () => plainTable(["Point", "Accuracy", "Lowest", "Highest"], rows.filter((r) => r.accuracy).map((r) => [r.point, r.accuracy.mean, r.accuracy.low, r.accuracy.high]))}) : null,
      recallCards(ablation),
      judged.length && !recall ? chart({id: `${ablation.id}-loss`, title: "Validation loss by point", wide: true, height: heights(judged), note: timed ? `${means}; equal time is ${duration(judged.find((r) => r.equal_time).equal_time.seconds)} of training each.` : `${means}, at equal steps.`, summary: "Validation loss by point.", option: () => dotOption(judged, readings(), "validation loss, nats a token", base?.validation_loss?.mean, (x) => fixed(x, 3)), table: () => plainTable(["Point", "Loss", "Lowest", "Highest", "At equal time"], judged.map((r) => [r.point, r.validation_loss.mean, r.validation_loss.low, r.validation_loss.high, r.equal_time?.validation_loss?.mean ?? "–"]))}) : null,
      curveCard(ablation), biasCard(ablation)));
}

function ablationSections() {
  report.ablations.forEach((ablation, i) => (ablation.id = `ablation-${i + 1}`));
  return report.ablations.length ? el("div", {id: "ablations"}, report.ablations.map(ablationCards)) : null;
}
