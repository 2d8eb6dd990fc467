// A chart in its card: drawn when it comes into view, with its table and its picture.

const charts = [];
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) charts.find((chart) => chart.place === entry.target)?.draw();
}, {rootMargin: "300px"});

const narrow = () => window.innerWidth < 560;

/** What every chart has; `option` wins. */
function dressed(option) {
  const text = css("--text"), muted = css("--muted"), line = css("--line");
  const axis = (one) => ({
    nameTextStyle: {color: muted}, nameLocation: "middle", nameGap: 28, axisLine: {lineStyle: {color: line}}, axisTick: {show: false},
    splitLine: {lineStyle: {color: line, opacity: 0.7}}, minorTick: {show: false}, ...one,
    axisLabel: {color: muted, hideOverlap: true, ...(one.axisLabel || {})}});
  const each = (one, dress) => (one === undefined ? undefined : Array.isArray(one) ? one.map(dress) : dress(one));
  return {
    animation: false, backgroundColor: "transparent",
    textStyle: {fontFamily: getComputedStyle(document.body).fontFamily, color: text, fontSize: 12},
    ...option,
    xAxis: each(option.xAxis, axis), yAxis: each(option.yAxis, axis),
    grid: each(option.grid || {}, (one) => ({left: 58, right: 18, top: 14, bottom: 46, ...one})),
    tooltip: {confine: true, backgroundColor: css("--card"), borderColor: line, textStyle: {color: text, fontSize: 12}, ...(option.tooltip || {})},
    legend: option.legend ? {type: "scroll", bottom: 0, left: 0, itemWidth: 16, itemHeight: 8, itemGap: 14, icon: "roundRect",
      textStyle: {color: text, lineHeight: 18}, pageTextStyle: {color: muted}, pageIconColor: muted, pageIconInactiveColor: line, ...option.legend} : undefined};
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
  const size = () => (place.style.height = (typeof given.height === "function" ? given.height() : given.height || 320) + "px");
  const self = {id: given.id, place, instance: null, lastOption: null};
  self.draw = () => {
    size();
    if (!self.instance) self.instance = echarts.init(place, null, {renderer: "canvas"});
    self.refresh(true);
  };
  self.refresh = (anew) => {
    if (!self.instance) return;
    self.lastOption = dressed(given.option());
    self.instance.setOption(self.lastOption, anew ? {notMerge: true} : {replaceMerge: ["series"]});
    place.dataset.drawn = "true";
    if (details.open) fill();
  };
  self.resize = () => {
    if (!self.instance) return;
    size();
    self.instance.resize();
    self.refresh(false);
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
  return el("section", {class: "card" + (given.wide ? " wide" : ""), id: given.id},
    el("div", {class: "card-head"}, el("h3", {}, given.title), el("div", {class: "save"}, el("span", {}, "Save picture"), save("png"), save("svg"))),
    given.note ? el("p", {class: "note"}, given.note) : null, given.controls ? el("div", {class: "controls"}, given.controls) : null, place, details);
}

function dropCharts() {
  watcher.disconnect();
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
  const ramp = colours || heat();
  return {
    grid: {left: 62, right: 14, top: 8, bottom: 78},
    xAxis: {type: "category", data: columns, name: x, splitLine: {show: false}, axisLabel: {hideOverlap: false}},
    yAxis: {type: "category", data: rows, name: y, inverse: true, nameGap: 44, splitLine: {show: false}, axisLabel: {hideOverlap: false, interval: Math.ceil(rows.length / 16) - 1}},
    tooltip: {formatter: ({data}) => tip(`${y} ${rows[data[1]]}, ${x} ${columns[data[0]]}`, [[null, "", digits(data[2], 4)]])},
    visualMap: {min: least, max: most > least ? most : least + 1, calculable: false, orient: "horizontal", left: "center", bottom: 2, itemWidth: 10, itemHeight: 120,
      inRange: {color: ramp}, textStyle: {color: css("--muted")}, text: [label ? label(most) : digits(most, 3), label ? label(least) : digits(least, 3)]},
    series: [{type: "heatmap", data: cells, label: {show: Boolean(label), formatter: ({data}) => label?.(data[2]), fontSize: narrow() ? 9 : 11}, emphasis: {itemStyle: {borderColor: css("--text"), borderWidth: 1}}}]};
}
