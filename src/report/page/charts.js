// A chart in its card: drawn when it comes into view and fitted when its width changes, with its table and its picture.

const charts = [];
const AROUND = 300;  // pixels above and below what is seen
const chartAt = (place) => charts.find((chart) => chart.place === place);
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) chartAt(entry.target)?.show();
}, {rootMargin: `${AROUND}px`});
// Before the page is painted, unlike a resize of the window that is waited out. Charts out of sight are fitted when they are seen.
const sizes = new ResizeObserver((entries) => {
  for (const {target} of entries) {
    const {top, bottom} = target.getBoundingClientRect();
    if (bottom > -AROUND && top < window.innerHeight + AROUND) chartAt(target)?.show();
  }
});

const narrow = () => window.innerWidth < 560;

/** A log axis around `values` with ticks at 1, 2 and 5 of each power of ten, or at powers alone where those are too many. ECharts' own begins and ends at powers. */
function logAxis(values, axis) {
  const ticks = [], [low, high] = [Math.min(...values), Math.max(...values)];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)) + 1; power++) ticks.push(...[1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
  const first = ticks.findLastIndex((tick) => tick <= low), last = Math.max(first + 1, ticks.findIndex((tick) => tick >= high));
  const customValues = ticks.filter((_, i) => i >= first && i <= last && (last - first < 8 || i % 3 === 0));
  return {type: "log", min: ticks[first], max: ticks[last], ...axis, axisLabel: {customValues, ...axis.axisLabel}, splitLine: {customValues}};
}

const LEGEND = {itemWidth: 16, itemHeight: 8, itemGap: 6, textStyle: {fontSize: 12, lineHeight: 14, padding: [0, 8, 0, 0]}};
const LEGEND_LINE = 20, LEGEND_LINES = 12;
const pen = document.createElement("canvas").getContext("2d");

/** Into how many lines the legend wraps. ECharts doesn't make room for them. */
function legendLines({legend, series, textStyle}, width) {
  pen.font = `12px ${textStyle.fontFamily}`;
  let lines = 1, used = 0;
  for (const name of legend.data || unique(series.map((one) => one.name))) {
    const wide = legend.itemWidth + 5 + pen.measureText(legend.formatter ? legend.formatter(name) : name).width + 8 + legend.itemGap;
    if (used > 0 && used + wide > width - 10) [lines, used] = [lines + 1, 0];
    used += wide;
  }
  return lines;
}

/** Lifts what stands above the legend by its further lines: [option, pixels that the chart grows]. Hundreds of names are paged through instead. */
function withLegend(option, width) {
  const lines = option.legend ? legendLines(option, width) : 1;
  if (lines > LEGEND_LINES) return [{...option, legend: {...option.legend, type: "scroll"}}, 0];
  const grown = LEGEND_LINE * (lines - 1), lifted = (one) => (known(one.bottom) ? {...one, bottom: one.bottom + grown} : one);
  return [{...option, grid: [option.grid].flat().map(lifted), dataZoom: option.dataZoom?.map(lifted)}, grown];
}

/** What every chart has; `option` wins. */
function dressed(option) {
  const text = css("--text"), muted = css("--muted"), line = css("--line");
  const axis = (one) => ({
    nameTextStyle: {color: muted}, nameLocation: "middle", nameGap: 28, axisLine: {lineStyle: {color: line}}, axisTick: {show: false},
    minorTick: {show: false}, ...one, splitLine: {lineStyle: {color: line, opacity: 0.7}, ...(one.splitLine || {})},
    axisLabel: {color: muted, hideOverlap: true, ...(one.axisLabel || {})}});
  const each = (one, dress) => (one === undefined ? undefined : Array.isArray(one) ? one.map(dress) : dress(one));
  return {
    animation: false, backgroundColor: "transparent",
    textStyle: {fontFamily: getComputedStyle(document.body).fontFamily, color: text, fontSize: 12},
    ...option,
    xAxis: each(option.xAxis, axis), yAxis: each(option.yAxis, axis),
    grid: each(option.grid || {}, (one) => ({left: 58, right: 18, top: 14, bottom: 46, ...one})),
    tooltip: {confine: true, backgroundColor: css("--card"), borderColor: line, textStyle: {color: text, fontSize: 12}, ...(option.tooltip || {})},
    legend: option.legend ? {type: "plain", bottom: 0, left: 0, icon: "roundRect", ...LEGEND, textStyle: {...LEGEND.textStyle, color: text}, pageTextStyle: {color: muted}, pageIconColor: muted, pageIconInactiveColor: line,
      ...option.legend} : undefined};
}

/** Tooltip text from lines of [colour or null, name, value]: nodes, so that names can't become markup. */
function tip(title, lines) {
  return el("div", {style: "max-width:22rem;white-space:normal;overflow-wrap:anywhere"}, el("div", {style: "font-weight:600"}, title),
    lines.map(([colour, name, value]) => el("div", {style: "display:flex;gap:.6rem;justify-content:space-between"},
      el("span", {}, colour ? el("span", {class: "swatch", style: `background:${colour}`}) : null, name), el("span", {}, value))));
}

function download(name, url) {
  const link = el("a", {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
}

function pictureOf(chart, kind) {
  const option = {...chart.lastOption, backgroundColor: css("--card")};
  const host = el("div", {style: `width:${chart.place.clientWidth}px;height:${chart.place.clientHeight}px;position:absolute;left:-9999px`});
  document.body.append(host);
  const copy = echarts.init(host, null, {renderer: kind === "svg" ? "svg" : "canvas", devicePixelRatio: 3});
  copy.setOption(option);
  const url = kind === "svg" ? "data:image/svg+xml;charset=utf-8," + encodeURIComponent(copy.renderToSVGString()) : copy.getDataURL({type: "png", pixelRatio: 3, backgroundColor: css("--card")});
  copy.dispose();
  host.remove();
  return url;
}

/**
 * chart({id, title, note?, height?, wide?, controls?: [node], option: () => ECharts option, table: () => node, summary: text for readers of
 * the screen}) → card. The option is asked for anew at every redraw.
 */
function chart(given) {
  const place = el("div", {class: "chart", role: "img", "aria-label": `${given.title}. ${given.summary || ""} The table below holds the same figures.`});
  const height = () => (typeof given.height === "function" ? given.height() : given.height || 320);
  place.style.height = height() + "px";
  const self = {id: given.id, place, instance: null, lastOption: null};
  self.draw = () => {
    if (!self.instance) self.instance = echarts.init(place, null, {renderer: "canvas"});
    self.refresh(true);
  };
  self.refresh = (anew) => {
    if (!self.instance) return;
    const [option, grown] = withLegend(dressed(given.option()), place.clientWidth);
    self.lastOption = option;
    place.style.height = height() + grown + "px";
    self.instance.resize();
    if (anew) self.instance.dispatchAction({type: "hideTip"});  // ECharts would bring it back into what is gone by then
    self.instance.setOption(self.lastOption, anew ? {notMerge: true} : {replaceMerge: ["series"]});
    place.dataset.drawn = "true";
    if (details.open) fill();
  };
  /** Keeps zoom and legend of what is drawn already. */
  self.show = () => {
    if (!self.instance) self.draw();
    else if (self.instance.getWidth() !== place.clientWidth) self.refresh(false);
  };
  const holder = el("div");
  const fill = () => holder.replaceChildren(given.table());
  const details = el("details", {ontoggle: () => details.open && fill()}, el("summary", {}, "Show as a table"), holder);
  const save = (kind) => el("button", {type: "button", "aria-label": `Save picture as ${kind.toUpperCase()}: ${given.title}`, onclick: () => {
    self.draw();
    download(`${given.id}.${kind}`, pictureOf(self, kind));
  }}, kind.toUpperCase());
  charts.push(self);
  watcher.observe(place);
  sizes.observe(place);
  return el("section", {class: "card" + (given.wide ? " wide" : ""), id: given.id},
    el("div", {class: "card-head"}, el("h3", {}, given.title), el("div", {class: "save"}, el("span", {}, "Save picture"), save("png"), save("svg"))),
    given.note ? el("p", {class: "note"}, given.note) : null, given.controls ? el("div", {class: "controls"}, given.controls) : null, place, details);
}

function dropCharts() {
  watcher.disconnect();
  sizes.disconnect();
  for (const one of charts.splice(0)) one.instance?.dispose();
}

/** A select that keeps its choice in ui[key]. `choices`: [[value, text]]. */
function choice(label, ui, key, choices, changed) {
  const select = el("select", {onchange: () => {
    ui[key] = select.value;
    changed();
  }}, choices.map(([value, text]) => el("option", {value, selected: String(ui[key]) === String(value)}, text)));
  return el("label", {}, label, select);
}

/** redraw("loss", "speed") redraws the charts whose id begins so. */
const redraw = (...names) => charts.filter((one) => names.some((name) => one.id.startsWith(name))).forEach((one) => one.refresh(true));

/** A heat map's option: values[y][x], null = empty. `label(value)` is written into the cells. */
function heatMap({columns, rows, values, x, y, label, low, high, colours}) {
  const cells = values.flatMap((row, j) => row.map((value, i) => [i, j, value])).filter((cell) => known(cell[2]));
  const [least, most] = [low ?? Math.min(...cells.map((c) => c[2])), high ?? Math.max(...cells.map((c) => c[2]))];
  const ramp = colours || heat(), crowded = narrow() && columns.length > 8;  // no room for a unit, which the scale below has
  return {
    grid: {left: 62, right: 14, top: 8, bottom: 78},
    xAxis: {type: "category", data: columns, name: x, splitLine: {show: false}, axisLabel: {hideOverlap: false}},
    yAxis: {type: "category", data: rows, name: y, inverse: true, nameGap: 44, splitLine: {show: false}, axisLabel: {hideOverlap: false, interval: Math.ceil(rows.length / 16) - 1}},
    tooltip: {formatter: ({data}) => tip(`${y} ${rows[data[1]]}, ${x} ${columns[data[0]]}`, [[null, "", digits(data[2], 4)]])},
    visualMap: {min: least, max: most > least ? most : least + 1, calculable: false, orient: "horizontal", left: "center", bottom: 2, itemWidth: 10, itemHeight: 120,
      inRange: {color: ramp}, textStyle: {color: css("--muted")}, text: [label ? label(most) : digits(most, 3), label ? label(least) : digits(least, 3)]},
    series: [{type: "heatmap", data: cells, label: {show: Boolean(label), formatter: ({data}) => (crowded ? label?.(data[2]).replace(" %", "") : label?.(data[2])), fontSize: narrow() ? 9 : 11}, emphasis: {itemStyle: {borderColor: css("--text"), borderWidth: 1}}}]};
}
