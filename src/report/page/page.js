// Puts the sections together, switches light and dark, and follows a run that is still training.

const LINKS = [["summary", "Summary"], ["runs", "Runs"], ["speed", "Speed"], ["paper", "Table 3"], ["ablations", "Ablations"], ["inspect", "Inside"], ["evaluations", "Evaluations"], ["samples", "Samples"], ["provenance", "Provenance"]];

function build() {
  const scroll = window.scrollY;
  dropCharts();
  // Ablations get their ids first: the summary links to them.
  const ablations = ablationSections();
  const sections = [summarySection(), runsSection(), speedSection(), paperSection(), ablations, inspectSection(), evaluationsSection(), samplesSection(), provenanceSection()].filter(Boolean);
  document.getElementById("main").replaceChildren(...sections);
  document.getElementById("nav").replaceChildren(...LINKS.filter(([id]) => document.getElementById(id)).map(([id, text]) => el("a", {href: "#" + id}, text)));
  document.getElementById("footer").replaceChildren(...[report.live ? el("span", {class: "live", id: "live"}, "Live: this page follows the run. ") : null, `Made by linformer ${report.version}. Charts by Apache ECharts (Apache-2.0).`].filter(Boolean));
  document.title = report.live ? `${report.runs[0]?.name ?? "Run"} – Linformer` : "Linformer report";
  window.scrollTo(0, scroll);
}

// The remembered choice wins over the system's; a page from a file may have nothing to remember in.
const memory = {
  get: () => { try { return localStorage.getItem("linformer-theme"); } catch { return null; } },
  set: (theme) => { try { localStorage.setItem("linformer-theme", theme); } catch { /* only this visit, then */ } }};
const system = window.matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  document.getElementById("theme").setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
}
function switchTheme(theme) {
  setTheme(theme);
  fillRunTable();  // its colours are those of the lines
  charts.forEach((one) => one.refresh(true));
}
document.getElementById("theme").addEventListener("click", () => {
  const theme = dark() ? "light" : "dark";
  memory.set(theme);
  switchTheme(theme);
});
system.addEventListener("change", () => memory.get() || switchTheme(system.matches ? "dark" : "light"));

window.addEventListener("beforeprint", () => charts.forEach((one) => one.draw()));

/** What must stay for the charts to be kept, zoom and all. */
const shape = (r) => JSON.stringify([r.runs.map((run) => [run.path, run.samples.length, run.evaluations.step.length > 0]), r.benchmarks.length, r.ablations.length, r.inspections.length, r.evaluations.map((one) => one.lines.length)]);

async function newest() {
  try {
    const answer = await fetch("/data.json", {cache: "no-store"});
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

async function follow() {
  const next = await newest();
  setTimeout(follow, 3000);
  const mark = document.getElementById("live");
  mark.classList.toggle("lost", next === null);
  mark.textContent = next ? "Live: this page follows the run. " : "The program no longer answers; this is its last state. ";
  if (!next) return;
  const same = shape(next) === shape(report);
  report = {...next, live: true};
  if (!same) return build();
  document.getElementById("summary").replaceWith(summarySection());
  fillRunTable();
  charts.forEach((one) => one.refresh(false));
}

setTheme(memory.get() || (system.matches ? "dark" : "light"));
build();
if (report.live) setTimeout(follow, 3000);
// For tests, and for whoever scripts the page.
window.linformerReport = {charts, drawAll: () => charts.forEach((one) => one.draw())};
