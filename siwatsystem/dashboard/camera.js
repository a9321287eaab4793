// One camera: its picture, its last minutes, and the pipeline that runs on it.
import { html } from "./preact.js";
import { cameraPath, usePolled } from "./api.js";
import { Chart } from "./chart.js";
import { Feed } from "./feed.js";
import { age, linkTo, nameOf, number, rate } from "./format.js";
import { Marked } from "./headline.js";
import { Live } from "./live.js";
import { Online } from "./overview.js";
import { Tree } from "./tree.js";

export function CameraPage({ id, state }) {
  const camera = state.cameras.find(one => one.id === id);
  const { data, error } = usePolled(camera ? cameraPath(id) : null, 2);
  const { camera: name, display } = nameOf(id);
  if (!id) return html`<div class="empty"><strong>This address names no camera</strong>
    <a href="#/">All cameras</a></div>`;
  if (!camera) return html`<div class="empty"><strong>${name || id} is not subscribed</strong>
    The backend has ended it, or never began. <a href="#/">All cameras</a></div>`;
  return html`
    <div class="row"><a href="#/">‹ All cameras</a></div>
    <div class="row title"><h2>${name}</h2><span class="soft">${display}</span><${Online} camera=${camera} /></div>
    ${camera.trouble ? html`<div class="notice" data-tone="bad"><strong>${camera.trouble.message}</strong>
      <p class="small"><${Marked} text=${camera.trouble.hint} /></p></div>` : null}
    <div class="columns">
      <div class="stack">
        <div class="card bare"><${Live} camera=${camera} width=${1280} across=${105} /></div>
        ${data ? html`<${Charts} history=${data.history} wanted=${wantedRate(data)} />` : null}
        <section class="card stack" aria-labelledby="tree"><h2 id="tree">Pipeline</h2>
          ${data?.tree ? html`<${Tree} root=${data.tree} />`
            : html`<p class="soft small">${error ? error.message : "It is not loaded yet."}</p>`}</section>
      </div>
      <div class="stack aside">
        <${Facts} camera=${camera} data=${data} />
        <${Feed} entries=${state.feed.filter(entry => entry.camera === id)} camera=${false} />
      </div>
    </div>`;
}

/** A snapshot camera gives no more pictures than are asked of it. */
const wantedRate = data => Math.min(data.wanted_rate, data.snapshot_ms ? round(1000 / data.snapshot_ms) : Infinity);
const round = value => Math.round(100 * value) / 100;
const decoded = data => (data.snapshot_ms ? `a picture every ${round(data.snapshot_ms / 1000)} s, each is decoded`
  : `${data.decode} are decoded`);

function Charts({ history, wanted }) {
  return html`<section class="card stack" aria-label="The last minutes">
    <${Chart} title=${`Frames a second (${wanted} wanted)`} at=${history.at} unit="/s" lines=${[
      { name: "analysed", colour: "--accent", values: history.analysed },
      { name: "dropped", colour: "--bad", values: history.dropped }]} />
    <${Chart} title="Seconds" at=${history.at} unit="s" lines=${[
      { name: "age of the newest frame", colour: "--warn", values: history.age },
      { name: "from arrival to result", colour: "--good", values: history.delay }]} />
  </section>`;
}

function Facts({ camera, data }) {
  const rows = [
    ["Model", `${camera.model} (${camera.model_id})`],
    ["Precision", data?.precision ?? "–"],
    ["Session", camera.session === null ? "none" : String(camera.session)],
    ["Newest frame", camera.age === null ? "none yet" : `${age(camera.age)} old`],
    ["Analysed", `${rate(camera.analysed_rate)}, ${number(camera.analysed)} in all`],
    ["Dropped", `${rate(camera.dropped_rate)}, ${number(camera.dropped)} in all`],
    ["From arrival to result", camera.delay === null ? "–" : age(camera.delay)],
    ["Picture", camera.size ? `${camera.size[0]} × ${camera.size[1]}${data?.crop ? ", a crop" : ""}` : "–"],
  ];
  if (data) rows.push(
    ["Address", data.address],
    ["Frames", `${number(data.frames)} (${decoded(data)}, ${data.device})`],
    ["Opened again", `${number(data.reconnects)} times`],
  );
  return html`<section class="card stack" aria-labelledby="facts"><h2 id="facts">About it</h2>
    <dl class="about">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
      ${data?.shared_with.length ? html`<div><dt>Shared with</dt><dd>${data.shared_with.map(id => html`
        <a href=${linkTo(id)}>${id}</a>${" "}`)}</dd></div>` : null}</dl></section>`;
}
