// The four charts. Each takes the settings to draw, in order, and redraws its place completely.

const METRICS = {
  accuracy: "accuracy by own readout",
  accuracy_first: "accuracy by first spike",
  accuracy_count: "accuracy by spike count",
  loss: "loss",
  decision_spikes: "decision spikes per sample",
  decision_synaptic_operations: "synaptic operations per sample, until the decision",
  spikes_per_sample: "spikes per sample",
  time_to_first_spike_steps: "time to first output spike (steps)",
  silent_share: "silent share of neurons",
  dead_share: "dead share of neurons",
};

/** val/layer1/silent_share: silent share of neurons, layer 1, validation. */
function nameOf(metric) {
  const parts = metric.split("/");
  const split = { val: "validation", train: "training", test: "test" }[parts[0]];
  const layer = parts.find((part) => part.startsWith("layer"));
  return [METRICS[parts.at(-1)] ?? parts.at(-1), layer?.replace("layer", "layer "), split].filter(Boolean).join(", ");
}

const isShare = (metric) => /accuracy|share/.test(metric);

function formatOf(metric) {
  if (isShare(metric)) return (value) => `${Number((100 * value).toPrecision(4))} %`;
  return (value) => (Math.abs(value) >= 1e6 ? value.toExponential(0) : String(Number(value.toPrecision(4))));
}

/** Half the 95 % interval of a mean of n values with this standard deviation. */
const halfInterval = (std, n) => (std === null ? null : (data.t[n] * std) / Math.sqrt(n));

/** What the bands and bars span: the standard deviation of trials, or the interval of their mean; never below zero or above 100 %. */
function spanOf([mean, std, n], metric) {
  const half = state.span === "interval" ? halfInterval(std, n) : std;
  if (half === null) return null;
  return [Math.max(0, mean - half), isShare(metric) ? Math.min(1, mean + half) : mean + half];
}

function withSpread([mean, std, n], metric) {
  const factor = isShare(metric) ? 100 : 1;
  const size = Math.abs(mean * factor);
  const digits = isShare(metric) ? 2 : Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(size || 1))));
  const shown = (value) => (value * factor).toFixed(digits);
  const unit = isShare(metric) ? " %" : "";
  if (std === null) return `${shown(mean)}${unit} (n = ${n})`;
  const half = halfInterval(std, n);
  const [low, high] = [Math.max(0, mean - half), isShare(metric) ? Math.min(1, mean + half) : mean + half];
  return `${shown(mean)} ± ${shown(std)}${unit} [${shown(low)}, ${shown(high)}] (n = ${n})`;
}

const markOf = (group) => drawMark(el("svg", { class: "mark", "aria-hidden": "true" }), group);

/** Settings with the second half of their curves only: where rules end close together. */
function secondHalf(groups, metric) {
  const ends = groups.flatMap((group) => group.runs).map((run) => run.curves[metric]?.at(-1)?.[0] ?? 0);
  const half = (curves) => ({ [metric]: curves[metric]?.filter((point) => point[0] >= Math.max(...ends) / 2) });
  return groups.map((group) => ({ ...group, curves: half(group.curves), runs: group.runs.map((run) => ({ ...run, curves: half(run.curves) })) }));
}

/** Names of the columns of a value in a CSV file, no name twice. */
const columnsOf = (name) => [name, `${name} std`, `${name} n`];

function drawCurves(plot, all, metric, late) {
  const groups = late ? secondHalf(all, metric) : all;
  const shown = groups.filter((group) => group.runs.some((run) => run.curves[metric]?.length));
  if (!shown.length) return showEmpty(plot, "No ticked setting has such a curve.");
  const runs = shown.flatMap((group) => group.runs).filter((run) => run.curves[metric]);
  const points = runs.flatMap((run) => run.curves[metric]);
  const format = formatOf(metric);
  const frame = makeFrame(plot, {
    height: plot.clientWidth < 500 ? 300 : 360, xs: points.map((p) => p[0]), ys: points.map((p) => p[1]), xLabel: "epochs trained",
    yLabel: nameOf(metric), format, xFormat: (tick) => tick, x: { whole: true }, y: isShare(metric) ? { limits: [0, 1] } : {},
    label: `Learning curves, ${nameOf(metric)}, of ${shown.length} settings. Use the arrow keys to read values.`,
  });
  const { svg, x, y } = frame;
  for (const group of shown) svg.append(...curveOf(group, metric, x, y, runs.length));
  const means = shown.flatMap((group) => (group.curves[metric] ?? []).map(([epoch, ...spread]) => ["mean", group.label, "", epoch, ...spread]));
  const each = runs.flatMap((run) => run.curves[metric].map(([epoch, value]) => ["trial", data.groups[run.group].label, run.name, epoch, value, null, 1]));
  plot.rows = [["what", "setting", "run", "epochs", ...columnsOf(metric)], ...means, ...each];
  addCrosshair(frame, shown, metric);
}

function curveOf(group, metric, x, y, curves) {
  const { colour } = group;
  const at = (value) => (value === null || value === undefined ? NaN : y(Math.max(Math.min(value, y.high), y.low)));
  const mean = group.curves[metric] ?? [];
  const band = mean.filter((point) => point[2] !== null).map(([epoch, ...spread]) => [epoch, spanOf(spread, metric)]);
  const edge = (side) => band.map(([epoch, span]) => [x(epoch), at(span[side])]);
  const parts = [];
  if (band.length > 1) parts.push(el("path", { d: `${path(edge(1))}${path(edge(0).reverse()).replace("M", "L")}Z`, fill: colour, opacity: 0.13 }));
  for (const run of group.runs.filter((one) => one.curves[metric])) {
    parts.push(el("path", {
      d: path(run.curves[metric].map(([epoch, value]) => [x(epoch), at(value)])), fill: "none", stroke: colour,
      "stroke-width": 1, opacity: curves > 100 ? 0.2 : 0.45, "stroke-dasharray": run.state === "finished" ? "" : "1 3",
    }));
  }
  parts.push(el("path", {
    d: path(mean.map(([epoch, value]) => [x(epoch), at(value)])), fill: "none", stroke: colour, "stroke-width": 2.5,
    "stroke-dasharray": group.dash, "stroke-linejoin": "round",
  }));
  const end = mean.at(-1);
  if (end && end[1] !== null) parts.push(shape(group, x(end[0]), at(end[1]), 4));
  return parts;
}

function addCrosshair({ svg, x, margin, height }, groups, metric) {
  const curves = groups.filter((group) => group.curves[metric]?.length);
  const epochs = [...new Set(curves.flatMap((group) => group.curves[metric].map((point) => point[0])))].sort((a, b) => a - b);
  if (!epochs.length) return;
  const line = el("line", { class: "cross", y1: margin.top, y2: height - margin.bottom, visibility: "hidden" });
  svg.append(line);
  let index = epochs.length;
  const leave = () => { line.setAttribute("visibility", "hidden"); hideTip(); };
  const show = (clientX, clientY) => {
    const epoch = epochs[index];
    for (const end of ["x1", "x2"]) line.setAttribute(end, x(epoch));
    line.setAttribute("visibility", "visible");
    const rows = curves.map((group) => [group, group.curves[metric].find((point) => point[0] === epoch)])
      .filter(([, point]) => point && point[1] !== null)
      .map(([group, point]) => [markOf(group), group.label, withSpread(point.slice(1), metric)]);
    showTip(clientX, clientY, `epoch ${Number(epoch.toFixed(2))}`, rows);
  };
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("pointermove", (event) => {
    const position = event.clientX - svg.getBoundingClientRect().left;
    const distances = epochs.map((epoch) => Math.abs(x(epoch) - position));
    index = distances.indexOf(Math.min(...distances));
    show(event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -epochs.length, End: epochs.length }[event.key];
    if (event.key === "Escape") leave();
    if (!move) return;
    event.preventDefault();
    index = Math.max(0, Math.min(epochs.length - 1, index + move));
    const box = svg.getBoundingClientRect();
    show(box.left + x(epochs[index]), box.top + 20);
  });
}

function drawPareto(plot, groups, split, xMetric, yMetric) {
  const has = (values) => Array.isArray(values[xMetric]) && Array.isArray(values[yMetric]) && values[xMetric][0] !== null && values[yMetric][0] !== null;
  const shown = groups.filter((group) => has(group[split]));
  if (!shown.length) return showEmpty(plot, "No ticked setting has finished trials with these numbers.");
  const trials = shown.flatMap((group) => group.runs.filter((run) => run.state === "finished"));
  const ends = (metric) => (state.span === "std" ? shown.flatMap((group) => spanOf(group[split][metric], metric) ?? []) : []);
  const values = (metric) => [...trials.map((run) => run[split][metric]), ...ends(metric)];
  const frame = makeFrame(plot, {
    height: 360, xs: values(xMetric), ys: values(yMetric),
    xLabel: nameOf(`${split}/${xMetric}`), yLabel: nameOf(`${split}/${yMetric}`), format: formatOf(yMetric), xFormat: formatOf(xMetric),
    y: isShare(yMetric) ? { limits: [0, 1.005] } : {},
    label: `${nameOf(yMetric)} against ${nameOf(xMetric)}, ${shown.length} settings`,
  });
  const { svg, x, y } = frame;
  const sign = yMetric === "loss" ? -1 : 1;
  const front = frontOf(shown, split, xMetric, yMetric, sign);
  svg.append(el("path", { class: "front", d: path(front.map(([a, b]) => [x(a), y(b)])) }));
  for (const run of trials) {
    svg.append(shape(data.groups[run.group], x(run[split][xMetric]), y(run[split][yMetric]), 2.5, { opacity: 0.5 }));
  }
  for (const group of shown) svg.append(meanMark(group, split, xMetric, yMetric, x, y));
  const points = shown.map((group) => [group[split][xMetric][0], group[split][yMetric][0], group.label])
    .map(([a, b, label]) => [x(a), y(b), label, Number(front.some((point) => point[0] === a && point[1] === b))]);
  addLabels(frame, points, shown.flatMap((group) => coveredBy(group, split, xMetric, yMetric, x, y)));
  const cells = (values) => [xMetric, yMetric].flatMap((name) => values[name] ?? [null, null, null]);
  const heading = [xMetric, yMetric].flatMap((name) => columnsOf(`${split}/${name}`));
  const each = trials.map((run) => ["trial", data.groups[run.group].label, run.name, run[split][xMetric], null, 1, run[split][yMetric], null, 1]);
  plot.rows = [["what", "setting", "run", ...heading], ...shown.map((group) => ["mean", group.label, "", ...cells(group[split])]), ...each];
}

const REACH = [10, 20, 36, 54, 76];
const LINE_FROM = 36;
const UGLY = 3;
const FEW_POINTS = 16;

/**
 * Names beside points. None covers another name or a large mark; of the places that are left, the name takes the one
 * that is near, covers least of `soft`, the bars and the trials, and is not as near to another mark. Far ones get a line. Important points come first;
 * of many points the others go without a name when there is no room close by.
 */
function addLabels({ svg, width, height, margin }, points, soft) {
  const taken = points.map(([x, y]) => ({ left: x - 9, right: x + 9, top: y - 9, bottom: y + 9 }));
  const isIn = (box) => box.left > margin.left && box.right < width && box.top > 0 && box.bottom < height - margin.bottom;
  const meet = (a, b) => a.left < b.right && a.right > b.left && a.top < b.bottom && a.bottom > b.top;
  const lines = [];
  for (const [x, y, label, isImportant] of [...points].sort((a, b) => b[3] - a[3])) {
    const text = el("text", { class: "point" }, label);
    svg.append(text);
    const long = text.getComputedTextLength();
    const far = points.length <= FEW_POINTS || isImportant ? REACH : REACH.slice(0, 1);
    const places = far.flatMap((reach) => placesAround(x, y, long, reach)).filter((place) => isIn(place.box)
      && !taken.some((other) => meet(place.box, other)) && !lines.some((dot) => meet(place.box, dot))
      && (!place.dots.length || !place.dots.some((dot) => taken.some((other) => meet(dot, other)))));
    const isNear = ([a, b], { reach, box }) => Math.hypot(Math.max(box.left - a, 0, a - box.right), Math.max(box.top - b, 0, b - box.bottom)) < reach + 6;
    const others = (place) => points.filter((point) => (point[0] !== x || point[1] !== y) && isNear(point, place)).length;
    const cost = (place) => place.reach / 12 + soft.filter((box) => meet(place.box, box)).length + (place.dots.length ? 0 : 2 * others(place));
    const best = places.reduce((before, place) => (!before || cost(place) < cost(before) ? place : before), null);
    if (!best || (far.length === 1 && cost(best) > UGLY)) { text.remove(); continue; }
    text.setAttribute("x", best.box.left + 2);
    text.setAttribute("y", best.box.top + 12);
    taken.push(best.box);
    lines.push(...best.dots);
    const [from, to] = [best.dots[0], best.dots.at(-1)];
    if (from) svg.insertBefore(el("line", { class: "leader", x1: from.left, y1: from.top, x2: to.right, y2: to.bottom }), text);
  }
}

/** Boxes for a text so long around a point, and where a line to it passes. */
function placesAround(x, y, long, reach) {
  return [0, 1, 7, 4, 3, 5, 2, 6, 0.5, 7.5, 3.5, 4.5, 1.5, 6.5, 2.5, 5.5].map((eighth) => {
    const [a, b] = [Math.cos((eighth * Math.PI) / 4), -Math.sin((eighth * Math.PI) / 4)];
    const [nearX, nearY] = [x + a * reach, y + b * reach];
    const left = nearX - ((1 - a) / 2) * (long + 4);
    const top = nearY - ((1 - b) / 2) * 16;
    const steps = reach < LINE_FROM ? 0 : Math.floor((reach - 13) / 3);
    const dots = Array.from({ length: steps }, (_, k) => 12 + 3 * k)
      .map((r) => ({ left: x + a * r, right: x + a * r + 1, top: y + b * r, bottom: y + b * r + 1 }));
    return { reach, dots, box: { left, right: left + long + 4, top, bottom: top + 16 } };
  });
}

/** The bars of a mean and the trials, as boxes a name had better not cover. */
function coveredBy(group, split, xMetric, yMetric, x, y) {
  const [cx, cy] = [x(group[split][xMetric][0]), y(group[split][yMetric][0])];
  const trials = group.runs.filter((run) => run.state === "finished").map((run) => [x(run[split][xMetric]), y(run[split][yMetric])]);
  const bars = [[xMetric, x], [yMetric, y]].map(([metric, scale]) => spanOf(group[split][metric], metric)?.map(scale));
  const boxes = trials.map(([a, b]) => ({ left: a - 3, right: a + 3, top: b - 3, bottom: b + 3 }));
  if (bars[0]) boxes.push({ left: bars[0][0], right: bars[0][1], top: cy - 1, bottom: cy + 1 });
  if (bars[1]) boxes.push({ left: cx - 1, right: cx + 1, top: bars[1][1], bottom: bars[1][0] });
  return boxes;
}

/** Settings that no other beats in both, cheapest first, joined by steps. */
function frontOf(groups, split, xMetric, yMetric, sign) {
  const points = groups.map((group) => [group[split][xMetric][0], group[split][yMetric][0]]);
  const steps = [];
  for (const [cost, quality] of points.sort((a, b) => a[0] - b[0] || sign * (b[1] - a[1]))) {
    const before = steps.at(-1);
    if (before && sign * quality <= sign * before[1]) continue;
    if (before) steps.push([cost, before[1]]);
    steps.push([cost, quality]);
  }
  return steps;
}

function meanMark(group, split, xMetric, yMetric, x, y) {
  const [cost, quality] = [group[split][xMetric], group[split][yMetric]];
  const whisker = (x1, x2, y1, y2) => el("line", { x1, x2, y1, y2, stroke: group.colour, "stroke-width": 1.5 });
  const [cx, cy] = [x(cost[0]), y(quality[0])];
  const ends = (scale, value, metric) => spanOf(value, metric).map((end) => scale(Math.min(Math.max(end, scale.low), scale.high)));
  const node = el("g", {}, el("circle", { class: "halo", cx, cy, r: 12, fill: "transparent" }));
  if (cost[1] !== null) node.append(whisker(...ends(x, cost, xMetric), cy, cy));
  if (quality[1] !== null) node.append(whisker(cx, cx, ...ends(y, quality, yMetric)));
  node.append(shape(group, cx, cy, 6.5));
  return explain(node, group.label, () => [
    [null, nameOf(yMetric), withSpread(quality, yMetric)],
    [null, nameOf(xMetric), withSpread(cost, xMetric)],
  ]);
}

/** Rows with a name above the marks: what the two charts below share. */
function drawRows(plot, groups, { values, zero, rowHeight, label, xLabel }, drawRow) {
  if (!groups.length) return showEmpty(plot, "No ticked setting has finished trials with these numbers.");
  const [width, top] = [plot.clientWidth, 4];
  const tops = groups.map((_, k) => top + groups.slice(0, k).reduce((sum, group) => sum + rowHeight(group), 0));
  const height = tops.at(-1) + rowHeight(groups.at(-1)) + 44;
  const x = makeScale(values, 10, width - 16, { count: Math.max(5, width / 110), zero });
  const svg = el("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": label });
  for (const tick of x.ticks) {
    svg.append(
      el("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: height - 40 }),
      el("text", { x: x(tick), y: height - 24, "text-anchor": "middle" }, formatOf("count")(tick)),
    );
  }
  svg.append(el("text", { class: "title", x: width / 2, y: height - 4, "text-anchor": "middle" }, axisTitle(xLabel, x)));
  groups.forEach((group, k) => {
    const row = el("g", {}, el("text", { class: "name", x: 4, y: tops[k] + 14 }, group.label));
    drawRow(row, group, x, tops[k] + 28);
    svg.append(row);
  });
  plot.replaceChildren(svg);
}

function drawTiming(plot, groups, split) {
  const metric = "time_to_first_spike_steps";
  const shown = groups.filter((group) => group[split][metric]?.[0] != null);
  const values = shown.flatMap((group) => group.runs.map((run) => run[split][metric]));
  const look = { values, zero: true, rowHeight: () => 42, xLabel: nameOf(`${split}/${metric}`), label: `Time to first spike of ${shown.length} settings` };
  plot.rows = [["setting", ...columnsOf(`${split}/${metric}`)], ...shown.map((group) => [group.label, ...group[split][metric]])];
  drawRows(plot, shown, look, (row, group, x, y) => {
    const [mean, std] = group[split][metric];
    const stroke = group.colour;
    const target = el("g", {}, el("rect", { class: "halo", x: x(mean) - 12, y: y - 10, width: 24, height: 20, rx: 6, fill: "transparent" }));
    row.append(el("line", { x1: x(0), x2: x(mean), y1: y, y2: y, stroke, "stroke-width": 1.5, opacity: 0.4 }));
    if (std !== null) {
      const [low, high] = spanOf(group[split][metric], metric);
      target.append(el("line", { x1: x(low), x2: x(high), y1: y, y2: y, stroke, "stroke-width": 5, opacity: 0.35 }));
    }
    for (const run of group.runs.filter((one) => one.state === "finished")) {
      target.append(shape(group, x(run[split][metric]), y, 2.5, { opacity: 0.55 }));
    }
    target.append(shape(group, x(mean), y, 5.5));
    row.append(explain(target, group.label, () => [[null, nameOf(metric), withSpread(group[split][metric], metric)]]));
  });
}

const layersOf = (values) => Object.keys(values).filter((name) => /^layer\d+\/spikes_per_sample$/.test(name)).map((name) => name.split("/")[0]);

function drawLayers(plot, groups, split) {
  const shown = groups.filter((group) => layersOf(group[split]).length);
  const values = shown.flatMap((group) => layersOf(group[split]).flatMap((layer) => ["spikes_per_sample", "decision_spikes"]
    .map((name) => group[split][`${layer}/${name}`]?.[0]))).filter((value) => value > 0);
  const rowHeight = (group) => 26 + 20 * layersOf(group[split]).length;
  const cells = (values, layer) => ["decision_spikes", "spikes_per_sample"].flatMap((name) => values[`${layer}/${name}`] ?? [null, null, null]);
  plot.rows = [["setting", "layer", ...columnsOf("until the decision"), ...columnsOf("whole window")],
    ...shown.flatMap((group) => layersOf(group[split]).map((layer) => [group.label, layer, ...cells(group[split], layer)]))];
  const look = { values, zero: false, rowHeight, xLabel: "spikes per sample", label: `Spikes per layer of ${shown.length} settings` };
  drawRows(plot, shown, look, (row, group, x, y) => layersOf(group[split]).forEach((layer, k) => {
    row.append(layerMark(group, group[split], layer, x, y + 20 * k));
  }));
}

/** From the spikes until the decision to those of the whole window. */
function layerMark(group, values, layer, x, y) {
  const of = (name) => values[`${layer}/${name}`];
  const place = (name) => x(Math.max(of(name)?.[0] ?? 0, x.low));
  const [until, total] = [place("decision_spikes"), place("spikes_per_sample")];
  const stroke = group.colour;
  const name = layer.replace("layer", "layer ");
  const node = el("g", {},
    el("rect", { class: "halo", x: until - 12, y: y - 10, width: total - until + 24, height: 20, rx: 6, fill: "transparent" }),
    el("line", { x1: until, x2: total, y1: y, y2: y, stroke, "stroke-width": 3, opacity: 0.4 }),
    shape(group, total, y, 4, { stroke, fill: "var(--card)", "stroke-width": 2 }),
    shape(group, until, y, 5),
    el("text", { x: total + 12 > x(x.high) - 50 ? until - 12 : total + 12, y: y + 4, "text-anchor": total + 12 > x(x.high) - 50 ? "end" : "start" }, name));
  const rows = [["decision_spikes", "until the decision"], ["spikes_per_sample", "whole window"], ["silent_share", "silent neurons"], ["dead_share", "dead neurons"]];
  return explain(node, `${group.label}, ${name}`, () => rows.filter(([key]) => of(key)?.[0] != null)
    .map(([key, text]) => [null, text, withSpread(of(key), key)]));
}
