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

/** A rule's shape, beside its colour: circle, triangle, diamond. */
function shape(rule, x, y, r, attributes = {}) {
  const colours = { fill: colourOf(rule), stroke: "var(--card)", "stroke-width": 1, ...attributes };
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
function drawMark(svg, rule, dash) {
  svg.setAttribute("viewBox", "0 0 30 14");
  svg.replaceChildren(
    el("line", { x1: 0, x2: 30, y1: 7, y2: 7, stroke: colourOf(rule), "stroke-width": 2.5, "stroke-dasharray": dash }),
    shape(rule, 15, 7, 4),
  );
  return svg;
}

/** About so many ticks, at 1, 2 or 5 times a power of ten. */
function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(count, 1);
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
function makeScale(values, from, to, { count = 5, zero = false, limits = null } = {}) {
  const known = values.filter((value) => Number.isFinite(value));
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const isLog = !zero && low > 0 && high / low > 30;
  if (isLog) [low, high] = [low * 0.8, high * 1.25];
  else {
    const margin = (high - low || Math.abs(high) || 1) * 0.06;
    [low, high] = [zero ? 0 : low - margin, high + margin];
    if (limits) [low, high] = [Math.max(low, limits[0]), Math.min(high, limits[1])];
    if (low >= 0 && known.length && Math.min(...known) >= 0) low = Math.max(low, 0);
  }
  const f = isLog ? Math.log : (value) => value;
  const scale = (value) => from + ((f(value) - f(low)) / (f(high) - f(low) || 1)) * (to - from);
  return Object.assign(scale, { ticks: isLog ? logTicks(low, high) : niceTicks(low, high, count), low, high });
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

/** An empty chart with axes as wide as its place. */
function makeFrame(plot, { height, xs, ys, xLabel, format, xFormat, label, ...options }) {
  const width = plot.clientWidth;
  const margin = { left: 56, right: 12, top: 10, bottom: 40 };
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
  svg.append(el("text", { x: middle, y: height - 4, "text-anchor": "middle" }, xLabel));
  plot.replaceChildren(svg);
  return { svg, x, y, width, height, margin };
}

function showEmpty(plot, text) {
  plot.replaceChildren(html("p", { class: "empty" }, text));
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
