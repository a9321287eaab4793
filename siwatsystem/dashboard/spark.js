// A small line of the last minutes, and a figure beside it.
import { html } from "./preact.js";

const WIDE = 120, HIGH = 28;

/** `values`: oldest first, null for what is not known; `most`: the top of the scale, at least. */
export function Spark({ values, most = 0 }) {
  const known = values.filter(value => value !== null);
  const top = Math.max(most, ...known, 1e-6), step = WIDE / Math.max(1, values.length - 1);
  const lines = [];
  let line = [];
  values.forEach((value, place) => {
    if (value === null) { lines.push(line); line = []; return; }
    line.push(`${(place * step).toFixed(1)},${(HIGH - 1.5 - (HIGH - 3) * Math.min(1, value / top)).toFixed(1)}`);
  });
  lines.push(line);
  return html`<svg class="spark" viewBox="0 0 ${WIDE} ${HIGH}" preserveAspectRatio="none" aria-hidden="true">
    ${lines.filter(one => one.length > 1).map(one => html`<polyline points=${one.join(" ")} />`)}
  </svg>`;
}
