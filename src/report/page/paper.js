// Table 3 of the paper beside what this machine measured.

// Wang et al. 2020, "Linformer: Self-Attention with Linear Complexity", Table 3: time and memory saved by N and K = 128, 256, 512, 1024, 2048.
const PAPER_SLOTS = [128, 256, 512, 1024, 2048];
const PAPER = {
  time_saved: {512: [1.5, 1.3], 1024: [1.7, 1.6, 1.3], 2048: [2.6, 2.4, 2.1, 1.3], 4096: [3.4, 3.2, 2.8, 2.2, 1.3], 8192: [5.5, 5.0, 4.4, 3.5, 2.1],
    16384: [8.6, 7.8, 7.0, 5.6, 3.3], 32768: [13, 12, 11, 8.8, 5.0], 65536: [20, 18, 16, 14, 7.9]},
  memory_saved: {512: [1.7, 1.5], 1024: [3.0, 2.9, 1.8], 2048: [6.1, 5.6, 3.6, 2.0], 4096: [14, 13, 8.3, 4.3, 2.3], 8192: [28, 26, 17, 8.5, 4.5],
    16384: [56, 48, 32, 16, 8], 32768: [56, 48, 36, 18, 16], 65536: [60, 52, 40, 20, 18]}};
const SAVINGS = {time_saved: "Time saved", memory_saved: "Memory saved"};
const AGAINST = {"softmax-plain": "the Transformer with plain softmax, as in the paper", softmax: "the Transformer with fused attention"};
const paperUi = {against: null};

const savingLines = () => report.benchmarks.flatMap((one) => one.savings);
/** Slower or larger than the Transformer is red; 1 is the card's colour; 60 times is the deepest. */
function savingColour(ratio) {
  if (ratio < 1) return mix(css("--card"), dark() ? "#c2554a" : "#e0887f", Math.min(1, -Math.log2(ratio) / 2 + 0.15));
  return mix(dark() ? "#1d2a40" : "#eaf1fb", dark() ? "#8fb8ff" : "#1c4fb8", Math.log2(ratio) / Math.log2(60));
}
/** The Transformer alone doesn't fit: nothing to divide by. */
const outgrown = (line) => line.batch === 0 && line.linformer_batch > 0;

function savingOption(key) {
  const lines = savingLines().filter((s) => s.against === paperUi.against && (known(s[key]) || outgrown(s)));
  const lengths = unique([...lines.map((s) => s.length), ...Object.keys(PAPER[key]).map(Number)]).sort((a, b) => a - b);
  const slots = unique([...lines.map((s) => s.slots), ...PAPER_SLOTS]).sort((a, b) => a - b);
  const cell = (n, k, ratio = 0) => {  // 0: outgrown; ECharts draws no cell without a number
    const color = ratio ? savingColour(ratio) : css("--soft");
    return {value: [slots.indexOf(k), lengths.indexOf(n), ratio], itemStyle: {color}, label: {color: ratio ? inkOn(color) : css("--muted")}};
  };
  const shown = (ratio) => (ratio === 0 ? "✕" : ratio >= 10 ? digits(ratio, 2) : ratio.toFixed(1));
  const ours = lines.map((s) => cell(s.length, s.slots, s[key]));
  const theirs = Object.entries(PAPER[key]).flatMap(([n, row]) => row.map((ratio, i) => cell(Number(n), PAPER_SLOTS[i], ratio)));
  const stacked = narrow();
  const places = stacked ? [{left: 52, right: 8, top: 30, height: 270}, {left: 52, right: 8, top: 372, height: 270}] : [{left: 62, right: "52%", top: 30, bottom: 44}, {left: "54%", right: 8, top: 30, bottom: 44}];
  const name = (n) => (n >= 1024 ? n / 1024 + "k" : String(n));
  return {
    title: [["This machine", places[0]], ["Paper, 2020 (one GPU of its day)", places[1]]].map(([text, place]) => ({text, left: place.left, top: place.top - 28, textStyle: {fontSize: 13, fontWeight: 600, color: css("--text")}})),
    grid: places,
    xAxis: places.map((_, i) => ({type: "category", gridIndex: i, data: slots.map(String), name: "K, slots", axisLine: {show: false}, splitLine: {show: false}})),
    yAxis: places.map((_, i) => ({type: "category", gridIndex: i, data: lengths.map(name), name: i === 0 || stacked ? "N" : "", nameGap: 34, inverse: true, axisLine: {show: false}, splitLine: {show: false}})),
    tooltip: {formatter: (item) => tip(item.seriesName, [[null, `N ${whole(lengths[item.value[1]])}, K ${slots[item.value[0]]}`, item.value[2] ? times(item.value[2]) : "the Transformer does not fit"]])},
    series: [["This machine", ours], ["Paper", theirs]].map(([title, data], i) => ({name: title, type: "heatmap", xAxisIndex: i, yAxisIndex: i, data, label: {show: true, fontSize: narrow() ? 10 : 12, formatter: ({value}) => shown(value[2])}, itemStyle: {borderColor: css("--card"), borderWidth: 2, borderRadius: 4}})),
    // ECharts draws no heat map without one; each cell has its own colour.
    visualMap: {show: false, min: 0, max: 1, seriesIndex: []}};
}

function savingTable(key) {
  return plainTable(["N", "K", "Against", "This machine", "Paper", "Batch of the Transformer", "Batch of the Linformer", "Memory budget"], savingLines().filter((s) => known(s[key])).map((s) =>
    [s.length, s.slots, s.against, s[key], PAPER[key][s.length]?.[PAPER_SLOTS.indexOf(s.slots)] ?? "–", s.batch ?? "–", s.linformer_batch ?? "–", {value: s.budget_bytes, show: bytes(s.budget_bytes)}]));
}

function paperSection() {
  const against = unique(savingLines().map((s) => s.against));
  if (!against.length) return null;
  if (!against.includes(paperUi.against)) paperUi.against = against.includes("softmax-plain") ? "softmax-plain" : against[0];
  const control = () => (against.length > 1 ? [choice("Against", paperUi, "against", against.map((a) => [a, AGAINST[a] || a]), () => redraw("paper"))] : null);
  const outgrew = savingLines().some(outgrown) ? " ✕: the Transformer does not fit in memory." : "";
  const card = (key, note) => chart({id: `paper-${key.split("_")[0]}`, title: SAVINGS[key], wide: true, height: () => (narrow() ? 690 : 380), note: note + outgrew, controls: control(), summary: "Ratios by N and K, this machine's beside the paper's.", option: () => savingOption(key), table: () => savingTable(key)});
  return el("section", {id: "paper"}, el("h2", {}, "Table 3 of the paper"), el("p", {class: "lead"}, "Wang et al. 2020 (arXiv 2006.04768): how many times faster and smaller the bidirectional Linformer is than the Transformer. The paper measured softmax(QKᵀ)V from before fused attention; both comparisons are here."),
    el("div", {class: "grid"}, card("time_saved", "Forward pass: time of the Transformer over time of the Linformer."), savingLines().some((s) => known(s.memory_saved)) ? card("memory_saved", "Largest batch of the Linformer over the Transformer's in one memory budget.") : null));
}
