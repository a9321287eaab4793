/** Requests: what runs, waits and has ended; moved, cancelled, interrupted. */

import { ask } from "./api.js";
import { Badge, Empty } from "./parts.js";
import { html, useEffect, useState } from "./preact.js";
import { base, clock, span, whole } from "./words.js";

const PAGE = 50;
const MOST_POSITIONS = 500;
const POSITIONS_MS = 3000;
const TONES = { running: "accent", done: "good", failed: "bad", interrupted: "warn" };
const KINDS = { running: "Running", waiting: "Waiting", ended: "Ended" };
const NOTHING = {
  running: ["Nothing runs", "What is started on a free slot appears here."],
  waiting: ["Nothing waits", "Requests wait here while all slots are busy; they can be moved and cancelled."],
  ended: ["Nothing has ended yet", "Requests that are done, have failed or were interrupted appear here."],
};

export function Requests({ known, live, doing }) {
  const [chosen, setChosen] = useState(null);
  const [most, setMost] = useState(PAGE);
  const groups = known.requestsByState();
  const kind = chosen ?? (groups.running.length || !groups.ended.length ? "running" : "ended");
  const [positions, askPositions] = usePositions(live && kind === "waiting" && groups.waiting.length > 0);
  const found = known.sorted(kind, positions);
  const move = async (request, position) => {
    await doing.move(request, position);
    askPositions();
  };
  const none = Object.values(groups).every((group) => group.length === 0);
  return html`<section class="stack" aria-labelledby="requests-title"><div class="row"><h2
    id="requests-title">Requests</h2>
      <button type="button" class="primary push" onClick=${() => doing.analyse()}>Start an analysis</button>
        </div>
    ${none && html`<${Empty} title="No request yet">
      ${known.apps.size > 0 ? "Start an analysis with a folder of videos, or with files."
      : "Launch an app first; then start an analysis with a folder of videos, or with files."}<//>`}
    ${!none && html`<div class="row kinds" role="group" aria-label="Which requests">
      ${Object.entries(KINDS).map(([key, word]) => html`
      <button type="button" class="small" key=${key} aria-pressed=${String(kind === key)}
        onClick=${() => { setChosen(key); setMost(PAGE); }}>${word} <span class="number">
          ${whole(groups[key].length)}</span></button>`)}</div>
    ${found.length === 0 ? html`<${Empty} title=${NOTHING[kind][0]}>${NOTHING[kind][1]}<//>`
      : html`<div class="card list"><${Table} kind=${kind} requests=${found.slice(0, most)}
        positions=${positions} known=${known} doing=${{ ...doing, move }} /></div>`}
    ${found.length > most && html`<button type="button" onClick=${() => setMost(most + PAGE)}>
      Show ${Math.min(PAGE, found.length - most)} more of ${whole(found.length - most)}</button>`}`}
  </section>`;
}

const Table = ({ kind, requests, positions, known, doing }) => html`<table class="folds"><thead><tr>
    <th>Request</th><th>State</th><th>Files</th><th>${kind === "waiting" ? "Place" : "Slot"}</th><th>
      ${kind === "ended" ? "Ended" : "Since"}</th>
    <th><span class="hidden-text">Commands</span></th></tr></thead>
  <tbody>${requests.map((request) => html`<${Row} key=${request.request_id} kind=${kind} request=${request}
    position=${positions.get(request.request_id)}
      line=${known.slots.get(`${request.instance_id}/${request.stream_id}`)?.waiting}
    doing=${doing} />`)}</tbody></table>`;

function Row({ kind, request, position, line, doing }) {
  const name = request.name || `Camera ${request.camera_id}`;
  const since = kind === "ended" ? request.ended_at : kind === "running" ? request.began_at : request.created_at;
  return html`<tr><td><button type="button" class="link" onClick=${() => doing.look(request)}>${name}</button>
      <div class="small soft" title=${request.path}>camera ${request.camera_id} · ${base(request.path)}</div>
        </td>
    <td data-label="State"><${Badge} tone=${TONES[request.state]}>${request.state}<//>
      ${request.reason && html`<div class=${request.state === "failed" ? "small problem" : "small soft"}>
        ${request.reason}</div>`}</td>
    <td data-label="Files" class="files"><${Files} files=${request.files} name=${name} /></td>
    <td data-label=${kind === "waiting" ? "Place" : "Slot"} class="small">${place(request, position)}</td>
    <td data-label=${kind === "ended" ? "Ended" : "Since"} class="small" title=${since ?? ""}>
      ${since === null ? ""
      : kind === "ended" ? clock(since) : span(since)}</td>
    <td class="deeds"><${Deeds} kind=${kind} request=${request} name=${name}
      position=${position} line=${line} doing=${doing} /></td></tr>`;
}

function Files({ files, name }) {
  if (files.total === 0) return html`<span class="small soft">live stream</span>`;
  const over = files.done + files.failed + files.cancelled;
  return html`<span class="small number">${whole(files.done)} of ${whole(files.total)} done${files.failed > 0
    && html`, <span class="problem">${whole(files.failed)} failed</span>`}</span>
    <progress max=${files.total} value=${over} aria-label=${`Files of ${name}`}></progress>`;
}

function place(request, position) {
  const where = request.instance_id === null ? "any app" : request.stream_id === null ? request.instance_id
    : `${request.instance_id} / ${request.stream_id}`;
  return position ? `${whole(position)}. for ${where}` : where;
}

function Deeds({ kind, request, name, position, line, doing }) {
  if (kind === "ended") return null;
  if (kind === "running") return html`<button type="button" class="small danger"
    aria-label=${`Interrupt ${name}`}
    onClick=${() => doing.interrupt(request, name)}>Interrupt</button>`;
  const move = (to) => doing.move(request, to);
  return html`<span class="row moves">${position > 1 && html`
    <button type="button" class="small" aria-label=${`Put ${name} first`}
      onClick=${() => move(1)}>First</button>
    <button type="button" class="small" aria-label=${`Move ${name} up`}
      onClick=${() => move(position - 1)}>↑</button>`}
    ${position < line && html`<button type="button" class="small" aria-label=${`Move ${name} down`}
      onClick=${() => move(position + 1)}>↓</button>`}
    <button type="button" class="small danger" aria-label=${`Cancel ${name}`}
      onClick=${() => doing.cancel(request, name)}>Cancel</button></span>`;
}

/** Places in the lines. They are no part of what changes tell, as every start would change all of them. */
function usePositions(wanted) {
  const [positions, setPositions] = useState(new Map());
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    if (!wanted) return undefined;
    let kept = true;
    const look = async () => {
      if (document.hidden) return;
      const found = await oldest().catch(() => null); // the banner says that the server is away
      if (kept && found) setPositions(new Map(found.map((request) => [request.request_id, request.position])));
    };
    look();
    const timer = setInterval(look, POSITIONS_MS);
    return () => {
      kept = false;
      clearInterval(timer);
    };
  }, [wanted, asked]);
  return [positions, () => setAsked((number) => number + 1)];
}

/** The requests that are next: the newest come first in what the server lists. */
async function oldest() {
  const query = { state: "queued", limit: MOST_POSITIONS };
  const { total_count, requests } = await ask("requests", { query });
  if (total_count <= MOST_POSITIONS) return requests;
  return (await ask("requests", { query: { ...query, offset: total_count - MOST_POSITIONS } })).requests;
}
