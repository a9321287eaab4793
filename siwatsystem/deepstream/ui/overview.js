/** What all apps together do and use: numbers, GPUs, lines over the last minutes. */

import { Chart } from "./chart.js";
import { Level } from "./parts.js";
import { html } from "./preact.js";
import { count, memory, percent, whole } from "./words.js";

const MOST_GPUS = 16;

export function Overview({ known }) {
  const groups = known.requestsByState();
  const apps = [...known.apps.values()];
  const slots = [...known.slots.values()];
  const open = slots.filter((slot) => known.apps.get(slot.instance_id)?.state === "running");
  const totals = known.totals();
  const line = (name) => known.history.get(name) ?? [];
  const failed = slots.reduce((sum, slot) => sum + slot.failed, 0);
  const gpus = [...totals.gpus.values()].sort(byPlace);
  const hosts = new Set(gpus.map((gpu) => gpu.host));
  return html`<section aria-labelledby="overview-title"><h2 id="overview-title"
    class="hidden-text">Overview</h2>
    <div class="tiles">
      <${Tile} label="Apps running" value=${apps.filter((app) => app.state === "running").length}
        of=${apps.length}
        more=${crashed(apps)} />
      <${Tile} label="Slots busy" value=${open.filter((slot) => slot.request_id !== null).length}
        of=${open.length}
        more="of the apps that run" />
      <${Tile} label="Requests waiting" value=${groups.waiting.length}
        more=${`${count(groups.running.length, "request")} running`} />
      <${Tile} label="Files done" value=${slots.reduce((sum, slot) => sum + slot.done, 0)}
        more=${failed ? html`<span class="problem">
          ${whole(failed)} failed</span>` : "since the apps' launch"} />
    </div>
    <div class="lines">
      <${Line} title="Frames a second" now=${totals.fps.toFixed(1)} line=${line("fps")} words=${whole} />
      <${Line} title="CPU of the apps" now=${`${totals.cores.toFixed(1)} cores`} line=${line("cores")}
        words=${cores} />
      <${Line} title="Memory of the apps" now=${memory(totals.ram)} line=${line("ram")} words=${memory} />
    </div>
    <div class="lines gpus">
      ${gpus.slice(0, MOST_GPUS).map((gpu) => html`<${Gpu} key=${gpu.key} gpu=${gpu}
        title=${`GPU ${gpu.gpu}${hosts.size > 1 && gpu.host ? ` of ${gpu.host}` : ""}`}
        line=${line(`gpu ${gpu.key}`)} />`)}
    </div>
    ${gpus.length > MOST_GPUS && html`<p class="soft">and ${gpus.length - MOST_GPUS} more GPUs</p>`}
  </section>`;
}

function crashed(apps) {
  const number = apps.filter((app) => app.state === "crashed").length;
  return number ? html`<span class="problem">${whole(number)} crashed</span>` : null;
}

const Tile = ({ label, value, of, more }) => html`<div class="card tile"><span class="soft">${label}</span>
  <span class="big number">${whole(value)}${of !== undefined && html`<span class="soft of"> of ${whole(of)}
    </span>`}</span>
  ${more && html`<span class="soft small">${more}</span>`}</div>`;

const cores = (value) => value.toFixed(1);

const Line = ({ title, now, line, words }) => html`<div class="card line"><div class="row"><h3>${title}</h3>
  <span class="number push">${now}</span></div><${Chart} line=${line} words=${words}
    label=${`${title} over the last five minutes, now ${now}`} /></div>`;

const byPlace = (one, other) => (one.host ?? "").localeCompare(other.host ?? "") || one.gpu - other.gpu;

function Gpu({ gpu, title, line }) {
  const known = gpu.vram_total_mb !== null && gpu.vram_total_mb !== undefined;
  const of = known ? ` of ${memory(gpu.vram_total_mb)}` : "";
  return html`<div class="card line gpu"><h3>${title}</h3>
    <${Level} id=${`gpu-${gpu.key}-use`} label="Use" value=${gpu.gpu_percent}
      words=${percent(gpu.gpu_percent)} />
    <${Level} id=${`gpu-${gpu.key}-memory`} label="Memory" value=${gpu.vram_mb}
      max=${known ? gpu.vram_total_mb : null}
      words=${memory(gpu.vram_mb) + of} />
    <${Chart} line=${line} top=${100} words=${percent}
      label=${`${title}, use over the last five minutes, now ${percent(gpu.gpu_percent)}`} /></div>`;
}
