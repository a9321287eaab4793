// An archive on a picture of one's own: nothing is stored or sent anywhere.
import { html, useEffect, useState } from "./preact.js";
import { ask } from "./api.js";
import { Drawing } from "./drawing.js";
import { number } from "./format.js";
import { labelOf } from "./labels.js";
import { Tree } from "./tree.js";

const PATIENCE_MS = 240_000; // an archive that is not loaded yet is fetched and loaded first
const MOST_BYTES = 20_000_000, OTHER = "other";

export function TryPage({ state, may, login }) {
  const [file, setFile] = useState(null), [choice, setChoice] = useState(null), [address, setAddress] = useState("");
  const [running, setRunning] = useState(false), [refused, setRefused] = useState(""), [found, setFound] = useState(null);
  const chosen = choice ?? state.archives[0]?.camera ?? OTHER;
  // The archives are those of the cameras, which come and go.
  const gone = chosen !== OTHER && !state.archives.some(one => one.camera === chosen);
  const submit = async event => {
    event.preventDefault();
    if (file.size > MOST_BYTES) { setRefused("The picture has more than 20 MB."); return; }
    setRunning(true); setRefused(""); setFound(null);
    const query = chosen === OTHER ? { model_url: address } : { camera: chosen };
    try {
      const answer = await ask(`dashboard/try?${new URLSearchParams(query)}`, {
        method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" }, patience: PATIENCE_MS });
      setFound({ file, result: await answer.json() });
    } catch (error) {
      setRefused(error.message);
    }
    setRunning(false);
  };
  return html`
    <div class="row title"><h2>Try a picture</h2></div>
    <p class="soft">See what an archive says of a picture. Its actions are not carried out.</p>
    ${may ? html`<form class="card stack" onSubmit=${submit}>
      <div class="fields">
        <div class="field"><label for="picture">Picture</label>
          <input id="picture" type="file" accept="image/jpeg,image/png,image/webp,image/bmp" required
            onChange=${event => { setFile(event.target.files[0] ?? null); setFound(null); }} />
          <small>JPEG, PNG, WebP or BMP, up to 20 MB</small></div>
        <div class="field"><label for="archive">Archive</label>
          <select id="archive" value=${chosen} onChange=${event => setChoice(event.target.value)}>
            ${state.archives.map(one => html`<option value=${one.camera}>${one.name} (${one.id})</option>`)}
            ${gone ? html`<option value=${chosen}>the one that was chosen is no longer there</option>` : null}
            <option value=${OTHER}>another one, at an address</option>
          </select></div>
        ${chosen === OTHER ? html`<div class="field wide"><label for="address">Address of the archive</label>
          <input id="address" type="url" required placeholder="https://…/cars.mpta" value=${address}
            onInput=${event => setAddress(event.target.value)} /></div>` : null}
      </div>
      <div class="row">
        <button class="primary" disabled=${running || !file || gone}>${running ? "Looking…" : "Try it"}</button>
        <span class="problem" role="alert">${refused}</span></div>
    </form>` : login}
    ${found ? html`<${Result} ...${found} />` : null}`;
}

function Result({ file, result }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  const [width, height] = result.size;
  return html`<div class="columns">
    <div class="stack">
      <div class="card bare"><div class="live" style=${{ aspectRatio: `${width} / ${height}` }}>
        ${url ? html`<img src=${url} alt="The picture that was tried" />` : null}
        <${Drawing} seen=${result} across=${105} /></div></div>
      <section class="card stack" aria-labelledby="nodes"><h2 id="nodes">What each node did</h2>
        <${Tree} root=${result.tree} /></section>
    </div>
    <div class="stack aside">
      <section class="card stack" aria-labelledby="result" role="status"><h2 id="result">${summary(result)}</h2>
        <p class="soft small">${number(result.milliseconds)} ms in all, ${result.precision}${result.shown > 1
          ? `, shown ${result.shown} times, because this pipeline follows objects` : ""}.</p>
        ${result.boxes.length ? html`<ul class="plain stack tight">${result.boxes.map(box => html`<li>
          <strong>${labelOf(box)}</strong> ${box.words.join(" · ")}
          ${box.event ? null : html`<span class="soft small">seen, no event</span>`}</li>`)}</ul>`
          : null}
      </section>
      <details class="card"><summary>As JSON</summary>
        <pre class="log">${JSON.stringify(result.events, null, 2)}</pre></details>
    </div></div>`;
}

const summary = result => {
  const { length } = result.events;
  if (length === 0) return result.boxes.length ? "Seen, but no event" : "Nothing was seen";
  return length === 1 ? "One event" : `${length} events`;
};
