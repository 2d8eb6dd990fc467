// Elements, numbers and colours. Text of users enters the page as text nodes alone.

let report = JSON.parse(document.getElementById("data").textContent);

/** el("p", {class: "note", onclick: f}, "text", node, …); null and undefined children are left out. */
function el(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

const known = (x) => typeof x === "number" && Number.isFinite(x);
const unique = (list) => [...new Set(list)];
const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;
const by = (key) => (a, b) => a[key] - b[key];

function groupBy(list, key) {
  const groups = new Map();
  for (const one of list) {
    const name = key(one);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  return groups;
}

function digits(x, count = 3) {
  if (!known(x)) return "–";
  if (x !== 0 && (Math.abs(x) >= 1e6 || Math.abs(x) < 1e-4)) return x.toExponential(count - 1).replace("e+", "e");
  return Number(x.toPrecision(count)).toLocaleString("en-US", {maximumFractionDigits: 8});
}
const fixed = (x, places = 4) => (known(x) ? x.toFixed(places).replace("-", "−") : "–");
/** With its sign, for differences; `text` shows the size. */
const signed = (x, text) => (x > 0 ? "+" : x < 0 ? "−" : "") + text(Math.abs(x));
const whole = (x) => (known(x) ? Math.round(x).toLocaleString("en-US") : "–");

function short(x) {
  if (!known(x)) return "–";
  const size = Math.abs(x);
  for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit) return digits(x / unit) + " " + letter;
  }
  return digits(x);
}

function bytes(x) {
  if (!known(x)) return "–";
  for (const [unit, name] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) if (Math.abs(x) >= unit) return digits(x / unit) + " " + name;
  return digits(x) + " B";
}

function duration(x) {
  if (!known(x)) return "–";
  if (x >= 3600) return `${Math.floor(x / 3600)} h ${String(Math.floor(x / 60) % 60).padStart(2, "0")} min`;
  if (x >= 60) return `${Math.floor(x / 60)} min ${String(Math.floor(x) % 60).padStart(2, "0")} s`;
  if (x >= 1) return digits(x) + " s";
  return x >= 1e-3 ? digits(x * 1e3) + " ms" : digits(x * 1e6) + " µs";
}

/** On a log axis, where 1 min 40 s would be a strange step. */
const seconds = (x) => (x >= 1 ? digits(x) + " s" : duration(x));
const times = (x) => (known(x) ? (x >= 10 ? digits(x, 3) : digits(x, 2)) + "×" : "–");
const percent = (x, count = 3) => (known(x) ? digits(100 * x, count) + " %" : "–");
const shortened = (text, length = 34) => (text.length > length ? "…" + text.slice(text.length - length + 1) : text);

// Colours: the reader's system decides until the switch is used. All pairs stay apart for colour-blind readers.
const PALETTE = {
  light: ["#2257cf", "#d4581a", "#14794c", "#8e3bb0", "#a87700", "#0b8199", "#c2255c", "#6a4b35"],
  dark: ["#82aaff", "#ff9a5c", "#5fd39a", "#d59bf6", "#e8c25a", "#58cfe6", "#ff8fb3", "#c9a78f"]};
const FORM_COLOURS = {running: 0, block: 1, prefix: 2, "window-only": 3, bidirectional: 5};
const dark = () => document.documentElement.dataset.theme === "dark";
const palette = (i) => PALETTE[dark() ? "dark" : "light"][i % 8];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
/** The Transformer is grey in every chart, so that it is found at once: causal a cool one, bidirectional a warm one. [fused, plain] */
const GREYS = {light: {causal: ["#46515d", "#a3adb8"], bidirectional: ["#94714a", "#cdb89c"]}, dark: {causal: ["#c6ced7", "#6f7b88"], bidirectional: ["#cfa878", "#7d6a52"]}};
const grey = (form) => GREYS[dark() ? "dark" : "light"][form.startsWith("bidirectional") ? "bidirectional" : "causal"][form.endsWith("plain") ? 1 : 0];
const formColour = (form) => (form in FORM_COLOURS ? palette(FORM_COLOURS[form]) : grey(form));

const parts = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
/** A colour between two of the form #rrggbb; `share` 0…1. */
function mix(from, to, share) {
  const end = parts(to);
  return "#" + parts(from).map((part, i) => Math.round(part + (end[i] - part) * Math.min(1, Math.max(0, share))).toString(16).padStart(2, "0")).join("");
}
/** Black or white, whichever is read more easily on #rrggbb (relative luminance as in WCAG 2). */
function inkOn(colour) {
  const [red, green, blue] = parts(colour).map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#0b121a" : "#ffffff";
}
/** From the card's colour through the accent; for heat maps. */
const heat = () => (dark() ? ["#161b22", "#23406f", "#4c86c6", "#a9dcd6", "#f7f6c5"] : ["#f4f6f9", "#bcd5ef", "#5f9fd4", "#2058a6", "#0c2350"]);

const FORMS = {
  softmax: "Transformer", "softmax-plain": "Transformer, plain softmax", "bidirectional-softmax": "Transformer, bidirectional",
  "bidirectional-softmax-plain": "Transformer, bidirectional, plain softmax", bidirectional: "Linformer, bidirectional", prefix: "Linformer, prefix",
  running: "Linformer, running", block: "Linformer, block", "window-only": "Window without slots"};
const formName = (form) => FORMS[form] || form;
const isTransformer = (form) => form.includes("softmax");

/** What attends in a run: {form, name, text} from its config. */
function attentionOf(run) {
  const {model = {}, attention = {}} = run.config || {};
  const way = model.causal === false ? "bidirectional" : "causal";
  if (!attention.kind) return {form: "unknown", text: "unknown"};
  if (attention.kind === "softmax") return {form: way === "causal" ? "softmax" : "bidirectional-softmax", text: way === "causal" ? "Transformer" : "Transformer, bidirectional"};
  const windowed = attention.window > 0;
  const form = way === "bidirectional" ? "bidirectional" : !windowed ? "prefix" : attention.slots === 0 ? "window-only" : attention.summary || "running";
  const softmax = attention.softmax_layers || [];
  const size = [attention.slots ? `${attention.slots} slots` : null, windowed ? `window ${attention.window}` : null, windowed && attention.sinks ? `${attention.sinks} sinks` : null,
    softmax.length ? `softmax in layer${softmax.length > 1 ? "s" : ""} ${softmax.join(", ")}` : null].filter(Boolean).join(", ");
  return {form, text: `Linformer ${form === "window-only" ? "window alone" : form}${size ? ", " + size : ""}`};
}
