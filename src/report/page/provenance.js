// Machines, versions, configs, and the commands that make each part again.

function commandLine(command) {
  if (!command) return null;
  const button = el("button", {type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {  // a page from a file may have no clipboard: the text is marked instead
      getSelection().selectAllChildren(code);
    }
  }}, "Copy");
  const code = el("code", {}, command);
  return el("div", {class: "command"}, code, button);
}

const MACHINE = {processor: "Processor", cores: "Cores", threads: "Threads", memory_bytes: "Memory", isa: "Kernels for", libtorch: "LibTorch", version: "linformer"};

function machineFacts(machine) {
  if (!machine) return null;
  const facts = Object.entries(MACHINE).filter(([key]) => machine[key] !== undefined && machine[key] !== null);
  return el("dl", {class: "facts"}, facts.flatMap(([key, name]) => [el("dt", {}, name), el("dd", {}, key === "memory_bytes" ? bytes(machine[key]) : machine[key])]));
}

/** The commands of a benchmark, which may have begun many times, under the facts of the machine that they ran on. */
function machineParts(machines) {
  const groups = [...groupBy(machines, (machine) => JSON.stringify(Object.keys(MACHINE).map((key) => machine[key] ?? null))).values()];
  return groups.map((same) => [unique(same.map((machine) => machine.command)).map(commandLine), machineFacts(same[0])]);
}

const part = (title, path, ...children) => el("section", {class: "card wide"}, el("h3", {}, title), el("p", {class: "note", style: "overflow-wrap:anywhere"}, path), children);
const inJson = (title, value) => {
  const pre = el("pre");
  const details = el("details", {ontoggle: () => (pre.textContent = details.open ? JSON.stringify(value, null, 1) : "")}, el("summary", {}, title), pre);
  return details;
};

function provenanceSection() {
  const runs = report.runs.map((run) => part(`Run ${run.name}`, run.path, commandLine(run.command), run.audit ? [commandLine(run.audit.command), machineFacts(run.audit.machine)] : null, run.config ? inJson("Config", run.config) : null));
  const shownCount = 12;
  const more = runs.splice(shownCount);
  return el("section", {id: "provenance"}, el("h2", {}, "Where each part comes from"), el("p", {class: "lead"}, "The commands that make it again, on which machine it was measured, and every setting."),
    el("div", {class: "grid"}, part("This page", `linformer ${report.version}`, commandLine(report.command)),
      report.benchmarks.map((b) => part(`Benchmark ${b.name}`, b.path, machineParts(b.machines))),
      report.ablations.map((a) => part(`Ablation ${a.title || a.name}`, a.path, commandLine(a.command), machineFacts(a.machine), a.grid ? inJson("Grid", a.grid) : null)),
      report.inspections.map((one) => part(`Inspection ${one.name}`, one.path, unique([...one.spectra, ...one.projections, ...one.weights, ...one.attention].map((line) => line.command).filter(Boolean)).map(commandLine))),
      report.evaluations.map((one) => part(`Evaluation ${one.name}`, one.path, unique(one.lines.map((line) => line.command).filter((command) => typeof command === "string")).map(commandLine))),
      runs, more.length ? el("details", {class: "card wide"}, el("summary", {}, `${more.length} more runs`), el("div", {class: "grid"}, more)) : null));
}
