// Tables that sort.

function compareCells(a, b) {
  const missing = (x) => x === null || x === undefined || x === "" || (typeof x === "number" && !Number.isFinite(x));
  if (missing(a) || missing(b)) return missing(a) - missing(b);  // last in either order
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
}

/**
 * A sortable table. `columns`: [{title, number?: bool, help?, class?}]; `rows`: arrays of cells: a number or text, or {value, show} where
 * `show` is the text or node shown and `value` what sorts. `ui` keeps the order over redraws.
 */
function table(columns, rows, ui = {}) {
  const valueOf = (cell) => (cell !== null && typeof cell === "object" && "value" in cell ? cell.value : cell);
  const shown = (cell) => (cell !== null && typeof cell === "object" && "show" in cell ? cell.show : cell);
  const body = el("tbody");
  const lines = rows.map((row) => ({
    row, node: el("tr", {}, columns.map((column, i) => el("td", {class: [column.number ? "number" : "", column.class || ""].join(" ").trim() || null},
      shown(row[i]) ?? "–")))}));
  const heads = columns.map((column, i) => el("th", {class: column.number ? "number" : null, scope: "col", title: column.help || null},
    el("button", {type: "button", onclick: () => sort(i)}, column.title)));
  function show() {
    const ordered = [...lines];
    if (ui.column !== undefined) {
      ordered.sort((a, b) => {
        const [x, y] = [valueOf(a.row[ui.column]), valueOf(b.row[ui.column])];
        const order = compareCells(x, y);
        const oneMissing = compareCells(x, null) === compareCells(y, null) ? false : true;
        return ui.descending && !oneMissing ? -order : order;
      });
    }
    heads.forEach((head, i) => (i === ui.column ? head.setAttribute("aria-sort", ui.descending ? "descending" : "ascending") : head.removeAttribute("aria-sort")));
    body.append(...ordered.map((line) => line.node));
  }
  function sort(i) {
    ui.descending = ui.column === i ? !ui.descending : false;
    ui.column = i;
    show();
  }
  show();
  // A long table scrolls by itself under its head; rows of a short one shouldn't hide.
  return el("div", {class: rows.length > 24 ? "scroll long" : "scroll", tabindex: "0"}, el("table", {}, el("thead", {}, el("tr", {}, heads)), body));
}

/** [{title, number}] and rows from plain objects: the text alternative of a chart. */
function plainTable(titles, rows) {
  const numeric = (i) => rows.some((row) => typeof (row[i]?.value ?? row[i]) === "number");
  return table(titles.map((title, i) => ({title, number: numeric(i)})),
    rows.map((row) => row.map((cell) => (typeof cell === "number" ? {value: cell, show: Number.isInteger(cell) ? whole(cell) : digits(cell, 5)} : cell))));
}
