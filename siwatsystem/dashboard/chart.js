// The last minutes as a chart with axes. uPlot is fetched when the first one is shown.
import { html, useEffect, useRef, useState } from "./preact.js";

const HIGH = 170;
let library = null;

function useLibrary() {
  const [found, setFound] = useState(null);
  useEffect(() => {
    library ??= import("./uplot.js");
    let over = false;
    library.then(module => { if (!over) setFound(() => module.default); });
    return () => { over = true; };
  }, []);
  return found;
}

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Where nobody points at a moment, the legend tells the newest. */
const newest = plot => { if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 }, false); };

function options(lines, unit, width) {
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
                 font: "12px system-ui, sans-serif" };
  return {
    width, height: HIGH, padding: [8, 8, 0, 0], cursor: { y: false }, legend: { live: true },
    hooks: { setCursor: [newest] },
    scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.15, 0.1)] } },
    axes: [{ ...axis, values: "{HH}:{mm}:{ss}", space: 80, size: 30 },
           { ...axis, size: 52, values: (_, ticks) => ticks.map(tick => `${tick} ${unit}`.trim()) }],
    series: [{ value: "{HH}:{mm}:{ss}" }, ...lines.map(line => ({
      label: line.name, stroke: colour(line.colour), width: 2, points: { show: false }, spanGaps: false,
      value: (_, value) => (value === null || value === undefined ? "–" : `${value.toFixed(2)} ${unit}`) }))],
  };
}

/** `at`: seconds since 1970; `lines`: `{name, colour: "--accent", values}`. */
export function Chart({ title, at, lines, unit = "" }) {
  const place = useRef(null), plot = useRef(null), Plot = useLibrary(), [looks, setLooks] = useState(0);
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)"), again = () => setLooks(count => count + 1);
    dark.addEventListener("change", again);
    return () => dark.removeEventListener("change", again);
  }, []);
  useEffect(() => {
    if (!Plot) return undefined;
    const width = place.current.clientWidth;
    plot.current = new Plot(options(lines, unit, width), [at, ...lines.map(line => line.values)], place.current);
    const observer = new ResizeObserver(([entry]) =>
      plot.current.setSize({ width: Math.floor(entry.contentRect.width), height: HIGH }));
    observer.observe(place.current);
    return () => { observer.disconnect(); plot.current.destroy(); plot.current = null; };
  }, [Plot, looks]);
  useEffect(() => {
    if (!plot.current) return;
    plot.current.setData([at, ...lines.map(line => line.values)]);
    newest(plot.current);
  }, [at, Plot, looks]);
  return html`<figure class="chart"><figcaption>${title}</figcaption>
    <div ref=${place} role="img" aria-label=${`${title}: ${lines.map(said).join(", ")}`}></div></figure>`;
}

const said = line => {
  const known = line.values.filter(value => value !== null);
  return `${line.name} ${known.length ? known[known.length - 1].toFixed(2) : "not known"}`;
};
