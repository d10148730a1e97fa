"use strict";
for (const run of document.querySelectorAll(".run")) {
  const steps = [...run.querySelectorAll(".step")];
  for (const button of run.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => {
      for (const fold of run.querySelectorAll("details")) fold.open = button.dataset.open === "true";
    });
  }

  // The next difference after the one that has the focus, and the first one again after the last.
  const differences = [...run.querySelectorAll(".pair.differs")];
  run.querySelector(".next")?.addEventListener("click", () => {
    const at = differences.indexOf(run.querySelector(".pair.current"));
    differences[at]?.classList.remove("current");
    const next = differences[(at + 1) % differences.length];
    next?.classList.add("current");
    next?.focus();
  });

  const table = run.querySelector("table.sortable");
  if (!table) continue;
  const body = table.tBodies[0];
  let rows = [...body.rows];

  // A long table is cut until somebody asks for all of it, or searches.
  let most = Number(run.dataset.rows);
  let searching = false;
  const cut = () => rows.forEach((row, at) => row.classList.toggle("more", !searching && at >= most));
  run.querySelector(".all")?.addEventListener("click", (event) => {
    most = Infinity;
    cut();
    event.target.parentElement.remove();
    rows[0].querySelector("a").focus();
  });

  // Sorting: by the value of a cell where it has one, else by its text.
  const headers = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.value);
  };
  headers.forEach((header, column) => header.firstElementChild.addEventListener("click", () => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const keyed = rows.map((row) => [value(row, column), row]);
    keyed.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0) * (descending ? -1 : 1));
    rows = keyed.map(([, row]) => row);
    body.append(...rows);
    cut();
  }));

  // Searching: rows and steps whose text has every word. A row counts if what it leads to does.
  const search = run.querySelector(".search");
  const found = run.querySelector(".found");
  const texts = new Map();
  const text = (element) => {
    if (!texts.has(element)) texts.set(element, element.textContent.toLowerCase());
    return texts.get(element);
  };
  const stepOf = (row) => document.getElementById(row.querySelector("a").hash.slice(1))?.closest(".step");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (element) => words.every((word) => text(element).includes(word));
    let shown = 0;
    for (const step of steps) {
      step.hidden = !matches(step);
      shown += step.hidden ? 0 : 1;
    }
    for (const row of rows) {
      const step = stepOf(row);
      row.hidden = !(matches(row) || (step && !step.hidden));
      if (!row.hidden && step?.hidden) { step.hidden = false; shown += 1; }
    }
    searching = words.length > 0;
    cut();
    found.textContent = words.length ? `${shown} of ${steps.length} entries` : "";
  };
  search.addEventListener("input", filter);
  window.addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.closest(".step")?.hidden) {
      search.value = "";
      filter();
      target.scrollIntoView();
    }
  });

  // Zooming: the time line is as wide as its bars need, and as the window at least.
  const line = run.querySelector(".bars svg");
  let zoom = 1;
  for (const button of run.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      zoom = Math.min(Math.max(zoom * Number(button.dataset.zoom), 1), 64);
      const bars = line.parentElement;
      const middle = (bars.scrollLeft + bars.clientWidth / 2) / bars.scrollWidth;
      line.setAttribute("width", `${zoom * 100}%`);
      bars.scrollLeft = middle * bars.scrollWidth - bars.clientWidth / 2;
    });
  }
}

// Long JSON is coloured when it is unfolded: a long run would have too many elements otherwise.
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)/g;
const colour = (pre) => {
  pre.classList.remove("json");
  const text = pre.textContent;
  const parts = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    const span = document.createElement("span");
    span.className = match[1] ? (match[2] ? "jk" : "jt") : match[3] ? "jn" : "jl";
    span.textContent = match[1] || match[0];
    parts.append(text.slice(end, match.index), span);
    end = match.index + span.textContent.length;
  }
  parts.append(text.slice(end));
  pre.replaceChildren(parts);
};
document.addEventListener("toggle", (event) => {
  const pre = event.target.open && event.target.querySelector("pre.json");
  if (pre) colour(pre);
}, true);

// On paper, everything is unfolded.
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const fold of folded) fold.open = true;
});
window.addEventListener("afterprint", () => {
  for (const fold of folded) fold.open = false;
});
