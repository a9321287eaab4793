/** A line over the last minutes. */

import { html, useEffect, useRef } from "./preact.js";
import uPlot from "./uplot.js";

export const SHOWN_SEC = 300;
const HEIGHT = 84;
const DARK = matchMedia("(prefers-color-scheme: dark)");

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** `line`: [milliseconds, value or null] in order; `top`: the scale's end, or null: what the values need;
 * `words`: of a value at the scale. */
export function Chart({ line, top = null, words, label }) {
  const place = useRef(null);
  const plot = useRef(null);
  const newest = useRef(top);
  newest.current = top;
  useEffect(() => {
    const made = new uPlot(options(place.current.clientWidth, newest, words), [[], []], place.current);
    plot.current = made;
    const sized = new ResizeObserver(([{ contentRect }]) => made.setSize({ width: contentRect.width, height: HEIGHT }));
    sized.observe(place.current);
    const coloured = () => made.redraw(false);
    DARK.addEventListener("change", coloured);
    return () => {
      DARK.removeEventListener("change", coloured);
      sized.disconnect();
      made.destroy();
    };
  }, []);
  useEffect(() => {
    plot.current?.setData([line.map(([at]) => at / 1000), line.map(([, value]) => value)]);
  });
  return html`<div class="chart" role="img" aria-label=${label}><div ref=${place}></div>
    <div class="row small soft"><span>5 min ago</span><span class="push">now</span></div></div>`;
}

function options(width, top, words) {
  return {
    width: Math.max(width, 40),
    height: HEIGHT,
    padding: [8, 0, 4, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: true, range: () => [Date.now() / 1000 - SHOWN_SEC, Date.now() / 1000] },
      y: { range: (_, __, most) => [0, top.current ?? Math.max(1, (most ?? 0) * 1.15)] },
    },
    axes: [
      { show: false },
      {
        size: 52,
        gap: 6,
        font: "11px system-ui, sans-serif",
        stroke: () => token("soft"),
        grid: grid(),
        ticks: { show: false },
        splits: (_, __, low, high) => [low, high],
        values: (_, marks) => marks.map((mark) => (mark === 0 ? "0" : words(mark))),
      },
    ],
    series: [
      {},
      { stroke: () => token("accent"), fill: () => token("accent-back"), width: 1.5, points: { show: false } },
    ],
  };
}

const grid = () => ({ stroke: () => token("line"), width: 1 });
