/** A card for each app: its state and why, its slots and how far they are, what can be done with it. */

import { APP_WORDS } from "./known.js";
import { Badge, Empty } from "./parts.js";
import { html, useState } from "./preact.js";
import { base, count, memory, span, speed, whole } from "./words.js";

const MOST_APPS = 24;
const MOST_SLOTS = 8;
/** Beyond these a slot is one line. */
const FEW_APPS = 6, FEW_SLOTS = 4;
const TONES = { starting: "accent", running: "good", stopping: "warn", crashed: "bad", backoff: "warn" };
const LIVE = new Set(["starting", "running", "stopping", "backoff"]);
const PLACE = { crashed: 0, backoff: 1, stopping: 2, starting: 2, running: 2, exited: 3 };

export function Apps({ known, doing }) {
  const [most, setMost] = useState(MOST_APPS);
  const apps = [...known.apps.values()].sort((one, other) =>
    PLACE[one.state] - PLACE[other.state] || (one.instance_id < other.instance_id ? -1 : 1));
  const slots = known.slotsByApp();
  const ended = apps.some((app) => !LIVE.has(app.state) && app.launched_at !== null);
  return html`<section class="stack" aria-labelledby="apps-title"><div class="row"><h2 id="apps-title">Apps</h2>
      ${ended && html`<button type="button" class="quiet small push"
        onClick=${doing.cleanUp}>Clear ended apps</button>`}
      <button type="button" class=${ended ? "primary" : "primary push"}
        onClick=${() => doing.launch()}>Launch an app</button></div>
    ${apps.length === 0 && html`<${Empty}
      title="No app yet">An app analyses videos. Launch one with a config that lies in one
      of the folders that <code>control.config_folders</code> names.<//>`}
    <div class="grid apps">${apps.slice(0, most).map((app) => html`<${App} key=${app.instance_id} app=${app}
      slots=${slots.get(app.instance_id) ?? []} known=${known} many=${apps.length > FEW_APPS}
        doing=${doing} />`)}</div>
    ${apps.length > most && html`<button type="button" onClick=${() => setMost(most + MOST_APPS)}>
      Show ${Math.min(MOST_APPS, apps.length - most)} more of ${whole(apps.length - most)}</button>`}
  </section>`;
}

function App({ app, slots, known, many, doing }) {
  const [all, setAll] = useState(false);
  const title = `app-${app.instance_id}`;
  const launched = app.launched_at !== null;
  const lives = LIVE.has(app.state);
  const shown = !lives ? [] : all ? slots : slots.slice(0, MOST_SLOTS);
  return html`<article class="card app" aria-labelledby=${title} data-state=${app.state}>
    <div class="row"><h3 id=${title}>${app.instance_id}</h3><span class="row push">
      ${app.ws_status === "reconnecting" && html`<${Badge} tone="warn">reconnecting<//>`}
      <${Badge} tone=${TONES[app.state]}>${stateOf(app)}<//></span></div>
    <p class="soft small" title=${app.config_path}>${facts(app)}</p>
    ${app.reason && html`<p class=${app.state === "crashed" ? "problem reason" : "reason soft"}>${app.reason}
      </p>`}
    ${app.state === "crashed" && lastWords(app) && html`<p class="mono">${lastWords(app)}</p>`}
    ${app.state === "crashed" && app.log_tail?.length > 0 && html`<details>
      <summary>Its last ${count(app.log_tail.length, "line")}</summary>
      <pre class="log">${app.log_tail.join("\n")}</pre></details>`}
    ${shown.length > 0 && html`<ul class="slots" aria-label=${`Slots of ${app.instance_id}`}>
      ${shown.map((slot) => html`<${many
      || slots.length > FEW_SLOTS ? ShortSlot : Slot} key=${slot.stream_id} slot=${slot}
        request=${known.requests.get(slot.request_id)} />`)}</ul>`}
    ${lives && slots.length > shown.length && html`<button type="button" class="quiet small"
      onClick=${() => setAll(true)}>
      Show ${count(slots.length - shown.length, "more slot", "more slots")}</button>`}
    <div class="row deeds">
      ${lives && html`<button type="button" class="small" aria-label=${`Analyse on ${app.instance_id}`}
        onClick=${() => doing.analyse(app.instance_id)}>Analyse…</button>`}
      ${launched && html`<button type="button" class="small" aria-label=${`Logs of ${app.instance_id}`}
        onClick=${() => doing.logs(app.instance_id)}>Logs</button>`}
      ${launched && !lives && html`<button type="button" class="small"
        aria-label=${`Launch again: ${app.instance_id}`}
        onClick=${() => doing.launch(app)}>Launch again</button>`}
      ${lives && app.state !== "stopping" && html`<button type="button" class="small danger push"
        aria-label=${`Terminate ${app.instance_id}`} onClick=${() => doing.terminate(app)}>Terminate</button>`}
    </div></article>`;
}

/** The last line of its log that the app wrote itself. */
const lastWords = (app) => app.log_tail?.findLast((line) => line.trim() && !line.startsWith("--- "));

function stateOf(app) {
  if (app.state === "exited" && app.launched_at === null) return "not connected";
  return APP_WORDS[app.state] ?? app.state;
}

function facts(app) {
  const told = [base(app.config_path)];
  if (app.streams_count) told.push(count(app.streams_count, "slot"));
  if (app.gpu_allocated?.length) told.push(`GPU ${app.gpu_allocated.join(", ")}`);
  if (LIVE.has(app.state) && app.launched_at) told.push(`for ${span(app.launched_at)}`);
  if (app.ws_status === "connected" && app.metrics) {
    if (app.metrics.cpu_percent !== null) told.push(`CPU ${whole(app.metrics.cpu_percent)} %`);
    if (app.metrics.ram_mb !== null) told.push(memory(app.metrics.ram_mb));
  }
  return told.map((words) => words.replaceAll(" ", "\u00a0")).join(" · ");
}

function Slot({ slot, request }) {
  const { file } = slot;
  const busy = slot.request_id !== null;
  const name = nameOf(slot, request);
  return html`<li class="slot" data-busy=${busy}><span class="number soft place"
    title=${`Slot ${slot.stream_id}`}>
      <span class="hidden-text">Slot </span>${slot.stream_id}</span>
    <div class="work"><div class="row"><span
      class=${busy ? "name" : slot.status === "error" ? "problem" : "soft"}>${name}</span>
      <span class="number small push">${busy ? speed(slot.fps) : ""}</span></div>
    ${file && html`<div class="row small soft"><span>${file.file_name}</span><span class="number push">
      ${far(file)}</span></div>
      <progress max="100" value=${file.progress_pct ?? 0} aria-label=${`Progress of ${file.file_name}`}>
        </progress>`}
    ${busy && !file && html`<span class="small soft">${request?.reason ?? "waits for its first frame"}</span>`}
    <span class="small soft number">${counts(slot, request)}</span></div></li>`;
}

/** A slot on one line; the rest is said when it is pointed at. */
function ShortSlot({ slot, request }) {
  const { file } = slot;
  const busy = slot.request_id !== null;
  const name = nameOf(slot, request);
  return html`<li class="slot short" data-busy=${busy}
    title=${[name, file?.file_name, counts(slot, request)].filter(Boolean).join(" · ")}>
    <span class="number soft place"><span class="hidden-text">Slot </span>${slot.stream_id}</span>
    <span class=${busy ? "cut" : slot.status === "error" ? "problem" : "soft"}>${name}</span>
    ${busy && html`<progress max="100" value=${file?.progress_pct ?? 0}
      aria-label=${`Progress of ${file?.file_name ?? name}`}></progress>
      <span class="number small soft">${speed(slot.fps)}</span>`}</li>`;
}

const nameOf = (slot, request) => request?.name || (slot.request_id !== null ? `Camera ${slot.camera_id}`
  : slot.status === "error" ? "In trouble" : "Idle");

function far({ progress_pct, frame, total_frames }) {
  if (frame === null || frame === undefined) return progress_pct ? `${Math.round(progress_pct)} %` : "";
  return total_frames ? `frame ${whole(frame)} of ${whole(total_frames)}` : `frame ${whole(frame)}`;
}

function counts(slot, request) {
  const told = [];
  if (request?.files.total > 1)
    told.push(`${whole(request.files.done + request.files.failed)} of ${count(request.files.total, "file")}`);
  if (request?.files.failed) told.push(`${whole(request.files.failed)} failed`);
  if (slot.waiting) told.push(`${count(slot.waiting, "request")} after it`);
  if (!request && slot.failed) told.push(`${whole(slot.failed)} failed since the launch`);
  return told.join(" · ");
}
