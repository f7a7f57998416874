"use strict";
// Small SVG charts: elements, marks, scales, axes, the box with values. Nothing here knows about runs.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 4", "2 4", "9 3 2 3", "14 5", "4 2"];
const FONT = 12;

function el(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function html(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const colourOf = (rule) => `var(--${rule}, var(--ink))`;

/** The shape of a rule: circle, triangle, diamond; in the colour of the rule or setting. */
function shape({ rule, colour }, x, y, r, attributes = {}) {
  const colours = { fill: colour, stroke: "var(--card)", "stroke-width": 1, ...attributes };
  if (rule === "timing") {
    const points = [[0, -1.25], [1.15, 0.8], [-1.15, 0.8]];
    return el("polygon", { points: points.map(([a, b]) => `${x + a * r},${y + b * r}`).join(" "), ...colours });
  }
  if (rule === "antlr") {
    return el("path", { d: `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`, ...colours });
  }
  return el("circle", { cx: x, cy: y, r, ...colours });
}

/** Line and shape of a setting, for legends. */
function drawMark(svg, { rule, colour, dash }) {
  svg.setAttribute("viewBox", "0 0 30 14");
  svg.replaceChildren(
    el("line", { x1: 0, x2: 30, y1: 7, y2: 7, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }),
    shape({ rule, colour }, 15, 7, 4),
  );
  return svg;
}

/** About so many ticks, at 1, 2 or 5 times a power of ten; at whole numbers only if asked for. */
function niceTicks(low, high, count, whole = false) {
  const raw = Math.max((high - low) / Math.max(count, 1), whole ? 1 : 0);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.7);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  const decades = Math.log10(high / low);
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += 1) {
    for (const factor of decades > 3 ? [1] : decades > 1.4 ? [1, 3] : [1, 2, 5]) ticks.push(factor * 10 ** p);
  }
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

/** A scale over values, logarithmic when they span more than a factor of 30. */
function makeScale(values, from, to, { count = 5, zero = false, limits = null, whole = false } = {}) {
  const known = values.filter((value) => Number.isFinite(value));
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const isLog = !zero && !whole && low > 0 && high / low > 30;
  if (isLog) [low, high] = [low * 0.8, high * 1.25];
  else {
    const margin = (high - low || Math.abs(high) || 1) * 0.06;
    [low, high] = [zero ? 0 : low - margin, high + margin];
    if (limits) [low, high] = [Math.max(low, limits[0]), Math.min(high, limits[1])];
    if (low >= 0 && known.length && Math.min(...known) >= 0) low = Math.max(low, 0);
  }
  const f = isLog ? Math.log : (value) => value;
  const scale = (value) => from + ((f(value) - f(low)) / (f(high) - f(low) || 1)) * (to - from);
  return Object.assign(scale, { ticks: isLog ? logTicks(low, high) : niceTicks(low, high, count, whole), low, high, isLog });
}

function path(points) {
  let start = true;
  return points.map(([x, y]) => {
    if (!Number.isFinite(x) || !Number.isFinite(y)) { start = true; return ""; }
    const command = `${start ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    start = false;
    return command;
  }).join("");
}

const axisTitle = (name, scale) => `${name}${scale.isLog ? ", log scale" : ""}`;

/** An empty chart with axes as wide as its place. */
function makeFrame(plot, { height, xs, ys, xLabel, yLabel, format, xFormat, label, ...options }) {
  const width = plot.clientWidth;
  const margin = { left: 76, right: 14, top: 10, bottom: 42 };
  const x = makeScale(xs, margin.left, width - margin.right, { count: Math.max(5, width / 110), ...options.x });
  const y = makeScale(ys, height - margin.bottom, margin.top, { count: 5, ...options.y });
  const svg = el("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
  for (const tick of y.ticks) {
    svg.append(
      el("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(tick), y2: y(tick) }),
      el("text", { x: margin.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    );
  }
  for (const tick of x.ticks) {
    svg.append(el("text", { x: x(tick), y: height - margin.bottom + 18, "text-anchor": "middle" }, xFormat(tick)));
  }
  const middle = (margin.left + width - margin.right) / 2;
  const centre = (margin.top + height - margin.bottom) / 2;
  svg.append(
    el("text", { class: "title", x: middle, y: height - 4, "text-anchor": "middle" }, axisTitle(xLabel, x)),
    el("text", { class: "title", transform: `translate(14 ${centre}) rotate(-90)`, "text-anchor": "middle" }, axisTitle(yLabel, y)),
  );
  plot.replaceChildren(svg);
  return { svg, x, y, width, height, margin };
}

function showEmpty(plot, text) {
  plot.replaceChildren(html("p", { class: "empty" }, text));
}

// Taking a chart away: as a picture that needs no style sheet, and as a table.

const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "font-size", "font-family", "font-weight", "paint-order"];

/** The chart with its colours written out, a title above and a legend below. */
function pictureOf(plot, title, legend) {
  const shown = plot.querySelector("svg");
  const copy = shown.cloneNode(true);
  const originals = shown.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((node, k) => {
    const style = getComputedStyle(originals[k]);
    for (const name of KEPT) node.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "tabindex", "role"]) node.removeAttribute(name);
  });
  const [width, height] = [shown.clientWidth, shown.clientHeight];
  const style = getComputedStyle(document.body);
  const ink = { fill: style.color, "font-family": style.fontFamily, "font-size": 12 };
  const total = height + 40 + 20 * legend.length;
  const rows = legend.map(([group, label], k) => {
    const mark = drawMark(el("svg", { x: 8, y: height + 38 + 20 * k, width: 30, height: 14 }), { ...group, colour: resolved(group.colour) });
    mark.querySelectorAll("[stroke='var(--card)']").forEach((node) => node.setAttribute("stroke", "none"));
    return el("g", {}, mark, el("text", { x: 46, y: height + 49 + 20 * k, ...ink }, label));
  });
  const ground = getComputedStyle(plot.closest("figure")).backgroundColor;
  const picture = el("svg", { xmlns: SVG, width, height: total, viewBox: `0 0 ${width} ${total}` },
    el("rect", { width, height: total, fill: ground }), el("text", { x: 8, y: 18, ...ink, "font-size": 15, "font-weight": 600 }, title));
  const moved = el("g", { transform: "translate(0 28)" });
  moved.append(...copy.childNodes);
  picture.append(moved, ...rows);
  return new XMLSerializer().serializeToString(picture);
}

/** A colour with its variables replaced. */
function resolved(colour) {
  const probe = html("span", { style: `color:${colour}` });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Rows as CSV; no cell is a formula to a spreadsheet. */
function csvOf(rows) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "string" && /^[=+\-@]/.test(value) ? `'${value}` : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\n")}\n`;
}

function offerFile(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = html("a", { download: name });
  link.href = address;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// The box with values, one for the page.

const tip = document.getElementById("tip");

function showTip(clientX, clientY, title, rows) {
  tip.replaceChildren(html("b", {}, title), ...rows.map(([mark, name, value]) => {
    const row = html("div", {}, ...(mark ? [mark] : []), html("span", {}, name), html("span", { class: "num" }, value));
    return row;
  }));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = clientX + 16 + box.width > window.innerWidth ? clientX - 16 - box.width : clientX + 16;
  const top = clientY + 16 + box.height > window.innerHeight ? clientY - 16 - box.height : clientY + 16;
  tip.style.left = `${Math.max(8, Math.min(left, window.innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(8, top)}px`;
}

function hideTip() {
  tip.hidden = true;
}

/** Make an element tell its values when pointed at or focused. */
function explain(node, title, rows) {
  node.classList.add("hot");
  node.setAttribute("tabindex", "0");
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", `${title}: ${rows().map(([, name, value]) => `${name} ${value}`).join(", ")}`);
  node.addEventListener("pointermove", (event) => showTip(event.clientX, event.clientY, title, rows()));
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("focus", () => {
    const box = node.getBoundingClientRect();
    showTip(box.right, box.bottom, title, rows());
  });
  node.addEventListener("blur", hideTip);
  return node;
}
