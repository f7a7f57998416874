// State of the page: what is filtered and ticked; every change redraws the charts.

const data = JSON.parse(document.getElementById("data").textContent);
const SHOWN_AT_FIRST = 8;
const RULES = [...new Set(data.groups.map((group) => group.rule))];
const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const state = { task: data.groups[0].task, rules: new Set(RULES), split: "test", span: "std", words: "", ticked: new Set() };

function prepare() {
  const ranks = {};
  data.groups.forEach((group, index) => {
    const family = `${group.task}/${group.rule}`;
    ranks[family] = (ranks[family] ?? -1) + 1;
    group.rank = ranks[family];
    group.dash = DASHES[group.rank % DASHES.length];
    group.runs = data.runs.filter((run) => run.group === index);
    group.colour = colourOf(group.rule);
    group.text = group.label.toLowerCase();
  });
  all("#settings tr[data-group]").forEach((row) => {
    data.groups[row.dataset.group].text = `${row.textContent} ${row.dataset.words}`.toLowerCase();
  });
  const tasks = [...new Set(data.groups.map((group) => group.task))];
  $("#tasks").append(...tasks.map((task) => pill("radio", "task", task, task === state.task)));
  $("#rules").append(...RULES.map((rule) => pill("checkbox", "rule", rule, true)));
  for (const place of ["#filters", "#charts", ".buttons"]) all(place).forEach((node) => { node.hidden = false; });
  all("table.sortable").forEach(makeSortable);
}

/** Settings of one rule have colours of their own; of several, those of the rules. */
function giveColours(groups) {
  const single = new Set(groups.map((group) => group.rule)).size === 1 && groups.length > 1;
  data.groups.forEach((group) => { group.colour = colourOf(group.rule); group.dash = DASHES[group.rank % DASHES.length]; });
  if (single) {
    groups.forEach((group, k) => {
      group.colour = `var(--setting${k % data.colours})`;
      group.dash = DASHES[Math.floor(k / data.colours) % DASHES.length];
    });
  }
  all("tr[data-group] svg.mark").forEach((svg) => drawMark(svg, data.groups[svg.closest("tr").dataset.group]));
}

/** Headings that sort: numbers by size, others as text, what is missing last. */
function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = html("button", { type: "button", title: "sort" }, cell.textContent);
    cell.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => {
        const { value } = row.cells[column].dataset;
        const text = row.cells[column].textContent.trim();
        return { row, text, value: value === undefined ? NaN : Number(value), missing: text === "–" };
      });
      rows.sort((a, b) => a.missing - b.missing || (down ? -1 : 1) * (Number.isNaN(a.value - b.value) ? a.text.localeCompare(b.text, undefined, { numeric: true }) : a.value - b.value));
      table.tBodies[0].append(...rows.map(({ row }) => row));
    });
  });
}

/** Whether a text holds all words of the filter. */
const matches = (text) => state.words.toLowerCase().split(/\s+/).every((word) => text.includes(word));

function pill(type, name, value, checked) {
  const input = html("input", { type, name, value });
  input.checked = checked;
  const text = html("span", {}, value);
  if (name === "rule") text.prepend(drawMark(el("svg", { class: "mark", "aria-hidden": "true" }), { rule: value, colour: colourOf(value), dash: "" }));
  return html("label", { class: "pill" }, input, text);
}

/** Tick the settings drawn: the best of each rule by validation, then the next best, up to a number; or all. */
function tick(which) {
  const ofTask = data.groups.map((group, index) => ({ ...group, index })).filter((group) => group.task === state.task);
  const byRank = ofTask.sort((a, b) => a.rank - b.rank);
  const left = byRank.filter((group) => state.rules.has(group.rule) && matches(group.text));
  const kept = which === "none" ? [] : which === "all" ? left : which === "best" ? byRank.filter((group) => group.rank === 0) : byRank.slice(0, SHOWN_AT_FIRST);
  state.ticked = new Set(kept.map((group) => group.index));
  all("input[name=group]").forEach((input) => { input.checked = state.ticked.has(Number(input.value)); });
}

function shownGroups() {
  return data.groups.filter((group, index) => group.task === state.task && state.rules.has(group.rule) && state.ticked.has(index) && matches(group.text));
}

/** Put choices into a select, keeping what was chosen if it is still there. */
function offer(select, choices, preferred) {
  const before = select.value;
  select.replaceChildren(...choices.map(([value, text]) => html("option", { value }, text)));
  select.value = [before, ...preferred].find((value) => choices.some(([choice]) => choice === value)) ?? choices[0]?.[0] ?? "";
}

function offerMetrics() {
  const groups = data.groups.filter((group) => group.task === state.task);
  const measure = groups[0].measure;
  const curves = [...new Set(groups.flatMap((group) => group.runs.flatMap((run) => Object.keys(run.curves))))];
  const order = (name) => [name.includes("layer"), !name.startsWith("val"), Object.keys(METRICS).indexOf(name.split("/").at(-1))].map(Number);
  const sorted = curves.sort((a, b) => { const [p, q] = [order(a), order(b)]; return p[0] - q[0] || p[1] - q[1] || p[2] - q[2] || a.localeCompare(b); });
  offer($("#curve-metric"), sorted.map((name) => [name, nameOf(name)]), ["val/accuracy", `val/${measure}`]);
  const known = new Set(groups.flatMap((group) => Object.keys(group[state.split])));
  const choices = (names) => names.filter((name) => known.has(name)).map((name) => [name, METRICS[name]]);
  offer($("#pareto-y"), choices(["accuracy", "accuracy_first", "accuracy_count", "loss"]), []);
  offer($("#pareto-x"), choices(["decision_spikes", "spikes_per_sample", "decision_synaptic_operations", "time_to_first_spike_steps"]), ["decision_spikes"]);
}

function draw() {
  hideTip();
  const groups = shownGroups();
  giveColours(groups);
  drawCurves($("#curves .plot"), groups, $("#curve-metric").value, $("#late").checked);
  drawPareto($("#pareto .plot"), groups, state.split, $("#pareto-x").value, $("#pareto-y").value);
  drawTiming($("#timing .plot"), groups, state.split);
  drawLayers($("#layers .plot"), groups, state.split);
  $("#legend").replaceChildren(...groups.map((group) => html("span", {}, markOf(group), group.label)));
}

function filterRows() {
  all("#settings table").forEach((table) => { table.hidden = table.dataset.task !== state.task; });
  all("tr[data-group]").forEach((row) => {
    const group = data.groups[row.dataset.group];
    const text = row.closest("#runs") ? `${row.textContent.toLowerCase()} ${group.text}` : group.text;
    row.hidden = group.task !== state.task || !state.rules.has(group.rule) || !matches(text);
  });
}

function exportChart(figure, kind) {
  const plot = figure.querySelector(".plot");
  if (!plot.querySelector("svg")) return;
  const groups = shownGroups();
  const name = `${state.task}-${figure.id}.${kind}`;
  if (kind === "csv") offerFile(name, "text/csv", csvOf(plot.rows));
  else offerFile(name, "image/svg+xml", pictureOf(plot, `${state.task}: ${figure.querySelector("h2").textContent}`, groups.map((group) => [group, group.label])));
}

/** In which settings the ticked runs differ. */
function drawDiff() {
  const runs = all("input[name=run]:checked").map((input) => data.runs[input.value]);
  if (runs.length < 2) return $("#diff").replaceChildren();
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
  const total = new Set([...keys, ...Object.keys(data.common)]).size;
  const differing = keys.filter((key) => new Set(runs.map((run) => run.settings[key])).size > 1);
  const heading = html("tr", {}, html("th", { scope: "col" }, "setting"), ...runs.map((run) => html("th", { scope: "col" }, run.name)));
  const rows = differing.map((key) => html("tr", {}, html("th", { scope: "row" }, key), ...runs.map((run) => html("td", {}, run.settings[key] ?? "–"))));
  const equal = html("p", {}, `${differing.length} settings differ, ${total - differing.length} are equal.`);
  const table = html("table", {}, html("caption", {}, "Settings in which the ticked runs differ"), html("thead", {}, heading), html("tbody", {}, ...rows));
  $("#diff").replaceChildren(equal, ...(differing.length ? [table] : []));
}

function listen() {
  $("#filters").addEventListener("submit", (event) => event.preventDefault());
  $("#filters").addEventListener("change", ({ target }) => {
    if (target.name === "rule") state.rules[target.checked ? "add" : "delete"](target.value);
    else state[target.name] = target.value;
    if (target.name === "words") return;
    if (target.name === "task") tick("some");
    offerMetrics();
    filterRows();
    draw();
  });
  $("#search input").addEventListener("input", ({ target }) => { state.words = target.value; filterRows(); draw(); });
  all("button[data-export]").forEach((button) => button.addEventListener("click", () => exportChart(button.closest("figure"), button.dataset.export)));
  all("#charts select, #late").forEach((control) => control.addEventListener("change", draw));
  all("input[name=group]").forEach((input) => input.addEventListener("change", () => {
    state.ticked[input.checked ? "add" : "delete"](Number(input.value));
    draw();
  }));
  all("input[name=run]").forEach((input) => input.addEventListener("change", drawDiff));
  all("button[data-show]").forEach((button) => button.addEventListener("click", () => { tick(button.dataset.show); draw(); }));
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; draw(); } });
}

prepare();
tick("some");
offerMetrics();
filterRows();
listen();
draw();
