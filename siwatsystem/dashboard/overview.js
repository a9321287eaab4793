// The first page: how everything is, every camera, what was seen, the machine.
import { html } from "./preact.js";
import { age, linkTo, nameOf, rate } from "./format.js";
import { Feed } from "./feed.js";
import { Headline, Problems } from "./headline.js";
import { Live } from "./live.js";
import { Machine } from "./machine.js";

const MANY = 9; // from which on the tiles are smaller

export function Overview({ state }) {
  // Who needs somebody comes first, and what somebody tries out after all that counts.
  const cameras = [...state.cameras].sort((one, other) => one.test - other.test || one.online - other.online);
  const many = cameras.length > MANY;
  return html`
    <${Headline} headline=${state.headline} problems=${state.problems} />
    <${Problems} headline=${state.headline} problems=${state.problems} />
    <div class="columns">
      <section aria-label="Cameras">
        ${cameras.length === 0 ? html`<div class="empty">A backend subscribes cameras over the
          WebSocket on this address. To see one now, <a href="#/test">test a camera</a>.</div>` : null}
        <div class=${`tiles ${many ? "many" : ""}`}>${cameras.map(camera => html`
          <${Tile} key=${camera.id} camera=${camera} small=${many} />`)}</div>
      </section>
      <div class="stack aside">
        <${Feed} entries=${state.feed} />
        <${Machine} machine=${state.machine} />
      </div>
    </div>`;
}

function Tile({ camera, small }) {
  const { camera: name, display } = nameOf(camera.id);
  return html`<article class="tile" data-online=${String(camera.online)}>
    <${Live} camera=${camera} width=${small ? 320 : 640} across=${small ? 38 : 58} brief />
    <div class="facts">
      <div class="row">
        <h3><a href=${linkTo(camera.id)} title=${camera.id}>${name}</a></h3>
        <span class="soft small">${display}</span>
        ${camera.test ? html`<span class="badge" data-tone="accent">test</span>` : null}
        <span class="push"><${Online} camera=${camera} /></span>
      </div>
      <p class="soft small number">${camera.model}${analysed(camera)}${dropped(camera)} ·
        ${" "}${camera.age === null ? "no frame yet" : `${age(camera.age)} old`}${session(camera)}</p>
      ${camera.trouble ? html`<p class="problem small">${camera.trouble.message}</p>` : null}
    </div>
  </article>`;
}

export function Online({ camera }) {
  const [tone, word] = camera.online ? ["good", "online"]
    : camera.trouble ? ["bad", camera.delivers ? "does not work" : "offline"]
    : camera.model_state === "loading" ? ["accent", "model is loading"] : ["accent", "opening"];
  return html`<span class="badge" data-tone=${tone}>${word}</span>`;
}

const analysed = camera =>
  (camera.analysed_rate === null || !camera.online ? "" : ` · ${rate(camera.analysed_rate)} analysed`);
const dropped = camera => (camera.dropped_rate ? `, ${rate(camera.dropped_rate)} dropped` : "");
const session = camera => (camera.session === null ? "" : ` · session ${camera.session}`);
