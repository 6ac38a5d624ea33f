// Small charts: bars over the last hours, drawn in place.

import { clock, h, s } from "./dom.js";

/**
 * Stacked bars, the scale below them, and how much the tallest stands for. `spans`: [{at, parts: {tone: number}}], oldest first. `tones`: from the ground up.
 */
export function bars(spans, tones, label) {
  const [width, height] = [600, 72];
  const most = Math.max(0, ...spans.map((one) => tones.reduce((sum, tone) => sum + (one.parts[tone] ?? 0), 0)));
  const step = width / Math.max(1, spans.length);
  const rects = spans.flatMap((one, n) => {
    let top = height;
    return tones.filter((tone) => one.parts[tone]).map((tone) => {
      const tall = Math.max(1, (one.parts[tone] / Math.max(1, most)) * (height - 2));
      top -= tall;
      return s("rect", { class: tone, x: (n * step + 0.5).toFixed(1), y: top.toFixed(1), width: Math.max(1, step - 1.5).toFixed(1), height: tall.toFixed(1) });
    });
  });
  const marks = [0, 1, 2, 3].map((n) => spans[Math.round((n * (spans.length - 1)) / 3)]).filter(Boolean);
  return [s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height }), rects),
  h("div", { class: "scale", "aria-hidden": "true" }, marks.map((one) => h("span", null, clock(one.at)))), most];
}

/** The spans of the last `minutes`, empty ones too, from rows with `at` and `count`. */
export function spread(rows, now, minutes, step, toneOf) {
  const size = step * 60000;
  const last = Math.floor(new Date(now).getTime() / size) * size;
  const spans = Array.from({ length: Math.floor(minutes / step) }, (_, n, ) => ({ at: last - (Math.floor(minutes / step) - 1 - n) * size, parts: {} }));
  const by = new Map(spans.map((one) => [one.at, one]));
  for (const row of rows) {
    const tone = toneOf(row);
    const one = by.get(Math.floor(new Date(row.at).getTime() / size) * size);
    if (one && tone) one.parts[tone] = (one.parts[tone] ?? 0) + row.count;
  }
  return spans;
}
