// Charts and numbers as text. Everything is drawn at the size at which it stands, so letters keep
// theirs on a phone; colours come from the style sheet, light or dark.
"use strict";

// An element of SVG or HTML with attributes and children; `on…` are listeners.
function make(name, attributes = {}, ...children) {
  const inSvg = /^(svg|g|path|line|circle|rect|text|tspan|title)$/.test(name);
  const element = inSvg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const MINUS = "−";
const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

// A number of three digits, with a true minus sign; `most` limits those after the point.
function asText(value, most = 4) {
  const size = Math.abs(value);
  if (Number.isNaN(value)) return "no number";
  if (size === Infinity) return value > 0 ? "∞" : `${MINUS}∞`;
  if (size !== 0 && (size < 0.001 || size >= 10000)) {
    return (value < 0 ? MINUS : "") + powerText(Math.log10(size));
  }
  if (size === 0) return "0";
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
  return value.toFixed(Math.min(digits, most)).replace("-", MINUS);
}

// A number for a small place.
const shortText = (value) => asText(value, 3);

function signed(value, digits) {
  return (value > 0 ? "+" : "") + value.toFixed(digits).replace("-", MINUS);
}

// 10^log: as a power of ten with two digits in front, or alone if log is an integer.
function powerText(log) {
  if (log === -Infinity) return "0";
  if (!Number.isFinite(log)) return Number.isNaN(log) ? "no number" : "∞";
  let exponent = Math.floor(log);
  let front = (10 ** (log - exponent)).toFixed(1);
  if (front === "10.0") [front, exponent] = ["1.0", exponent + 1];
  const raised = [...String(exponent)].map((c) => RAISED[c]).join("");
  return Number.isInteger(log) ? `10${raised}` : `${front}·10${raised}`;
}

// Of a logarithm: plain text where it is of an everyday size.
const sizeText = (log) => (log > -3 && log < 4 ? asText(10 ** log) : powerText(log));

function ticksOf(low, high, most) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200].find((size) => (high - low) / size <= most) ?? 500;
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) ticks.push(at + 0);
  return ticks;
}

// A chart of numbers by layer or step, logarithms on the vertical axis unless `plain`.
//
// lines: { values, first, kind }, entry i at first + i; kind is the class of its colour.
// ends: { at, name, below }, ends of number formats; what lies beyond is shaded.
// cursor: a place on the horizontal axis that is marked; pick is called with one that is pointed at.
function lineChart(place, { lines, ends = [], from, to, title, bottom, height, cursor, pick, plain, span = 4, label }) {
  const width = Math.max(place.clientWidth, 200);
  const [left, right, above, below] = [plain ? 46 : 54, 12, 22, 38];
  const inner = { width: width - left - right, height: height - above - below };
  const finite = lines.flatMap((line) => line.values).filter(Number.isFinite);
  let [low, high] = plain ?? [Math.min(0, ...finite), Math.max(0, ...finite)];
  if (!plain) {
    const missing = Math.max(0, span - (high - low)) / 2;
    [low, high] = [Math.floor(low - missing - 0.02 * (high - low)), Math.ceil(high + missing + 0.02 * (high - low))];
  }
  const x = (at) => left + (to > from ? (at - from) / (to - from) : 0.5) * inner.width;
  const y = (value) => above + (1 - (value - low) / (high - low)) * inner.height;
  const drawn = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const { at, below: isLeast, name } of ends) {
    if (at <= low || at >= high) continue;
    const [top, bottomEdge] = isLeast ? [y(at), above + inner.height] : [above, y(at)];
    drawn.append(
      make("rect", { class: "beyond", x: left, y: top, width: inner.width, height: bottomEdge - top }),
      make("line", { class: "end", x1: left, x2: left + inner.width, y1: y(at), y2: y(at) }),
      make("text", { class: "end-name", x: left + 6, y: y(at) + (isLeast || y(at) < above + 18 ? 14 : -5) }, name),
    );
  }
  const ticks = plain ? [plain[0], (plain[0] + plain[1]) / 2, plain[1]] : ticksOf(low, high, Math.max(3, inner.height / 34));
  for (const tick of ticks) {
    const text = plain ? `${Math.round(100 * tick)} %` : powerText(tick);
    drawn.append(
      make("line", { class: "grid", x1: left, x2: left + inner.width, y1: y(tick), y2: y(tick) }),
      make("text", { class: "tick", x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, text),
    );
  }
  for (const tick of ticksOf(from, to, inner.width / 60)) {
    drawn.append(make("text", { class: "tick", x: x(tick), y: height - 22, "text-anchor": "middle" }, String(tick)));
  }
  drawn.append(
    make("text", { class: "axis", x: left, y: 13 }, title),
    make("text", { class: "axis", x: left + inner.width, y: height - 5, "text-anchor": "end" }, bottom),
  );
  for (const { values, first, kind } of lines) {
    let path = "";
    let pen = "M";
    values.forEach((value, i) => {
      if (!Number.isFinite(value)) pen = "M";
      else {
        path += `${pen}${x(first + i).toFixed(1)} ${y(Math.min(high, Math.max(low, value))).toFixed(1)}`;
        pen = "L";
      }
    });
    if (path) drawn.append(make("path", { class: `line ${kind}`, d: path }));
    if (values.length <= 40 && !kind.includes("theory")) {
      values.forEach((value, i) => {
        if (Number.isFinite(value)) drawn.append(make("circle", { class: `dot ${kind}`, r: 2.6, cx: x(first + i), cy: y(Math.min(high, Math.max(low, value))) }));
      });
    }
  }
  if (cursor !== undefined) {
    drawn.append(make("line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: above, y2: above + inner.height }));
  }
  if (pick) {
    drawn.addEventListener("pointermove", (event) => {
      const inside = event.clientX - drawn.getBoundingClientRect().left - left;
      const at = from + (inside / inner.width) * (to - from);
      pick(Math.min(to, Math.max(from, Math.round(at))));
    });
  }
  place.replaceChildren(drawn);
}

// Ready a canvas of this size for drawing in CSS pixels, sharp on any screen.
function pen(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Counts of numbers in equal bins between two ends; what lies beyond counts in the outer ones.
function histogram(values, low, high, bins) {
  const counts = Array(bins).fill(0);
  for (const value of values) {
    const bin = Math.floor(((value - low) / (high - low)) * bins);
    counts[Math.min(bins - 1, Math.max(0, bin || 0))] += 1;
  }
  return counts;
}
