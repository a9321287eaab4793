// The machine, the worker's process, what waits, and the servers that it delivers to.
import { html } from "./preact.js";
import { usePolled } from "./api.js";
import { bytes, number } from "./format.js";
import { Spark } from "./spark.js";

const FIGURES = [
  { key: "cpu", name: "Processor", unit: "%", most: 100, warn: 95 },
  { key: "memory", name: "Memory", unit: "%", most: 100, warn: 90 },
  { key: "gpu", name: "GPU", unit: "%", most: 100 },
  { key: "gpu_memory", name: "GPU memory", unit: "%", most: 100, warn: 95 },
  { key: "worker_cpu", name: "Worker", unit: "% of a core", most: 100 },
  { key: "worker_mb", name: "Worker memory", unit: "MB", most: 0 },
  { key: "waiting", name: "Waiting for a turn", unit: "", most: 4 },
  { key: "outbox", name: "Actions on disk", unit: "", most: 10 },
];

export function Machine({ machine }) {
  const { data } = usePolled("dashboard/history", 5);
  const now = { ...machine, outbox: machine.outbox.depth };
  return html`<section class="card stack" aria-labelledby="machine">
    <h2 id="machine">Machine</h2>
    <dl class="figures">
      ${FIGURES.filter(one => now[one.key] !== null || !one.key.startsWith("gpu")).map(one => html`
        <${Figure} what=${one} value=${now[one.key]} values=${data?.[one.key] ?? []} />`)}
    </dl>
    <${Servers} machine=${machine} />
  </section>`;
}

function Figure({ what, value, values }) {
  const high = what.warn !== undefined && value >= what.warn;
  return html`<div>
    <dt>${what.name}</dt>
    <dd class=${`number ${high ? "high" : ""}`}>${number(value)} ${what.unit}</dd>
    <dd class="line"><${Spark} values=${values} most=${what.most} /></dd>
  </div>`;
}

function Servers({ machine }) {
  const { outbox, servers } = machine;
  const dropped = Object.values(outbox.dropped).reduce((sum, count) => sum + count, 0);
  return html`<div class="stack tight">
    <h3>Servers that actions go to</h3>
    ${servers.length === 0 ? html`<p class="soft small">No action has gone out yet.</p>` : html`
      <ul class="plain">${servers.map(one => html`<li class="row">
        <span class="badge" data-tone=${one.error ? "bad" : "good"}>${one.error ? "away" : "up"}</span>
        <span>${one.server}</span>
        ${one.waiting ? html`<span class="soft small">${number(one.waiting)} waiting</span>` : null}
        ${one.error ? html`<span class="small">${one.error}</span>` : null}
      </li>`)}</ul>`}
    <p class="soft small">${number(outbox.depth)} actions on disk (${bytes(outbox.bytes)}),
      ${" "}${number(dropped)} dropped since the start.</p>
  </div>`;
}
