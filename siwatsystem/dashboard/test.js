// A camera subscribed from here, to see whether it and an archive work: it ends with this page.
import { html, useState } from "./preact.js";
import { Running } from "./running.js";

const EXAMPLES = { stream: "rtsp://user:password@192.168.1.20/stream1", snapshot: "http://192.168.1.20/snapshot.jpg" };
const DISPLAY = "dashboard", OTHER = "other";

const forgiving = text => text.trim().replace(/[;\s]+/g, "-");

export function TestPage({ state, may, login, tests }) {
  return html`
    <div class="row title"><h2>Test a camera</h2></div>
    <p class="soft">Opens a camera and runs an archive on it, as a backend would. The archive's actions are carried out:
      pictures, messages and records go to the servers that it names. The test ends when it is removed or this page is
      closed.</p>
    ${may ? html`<${Form} state=${state} tests=${tests} />` : login}
    <${Running} state=${state} tests=${tests} may=${may} />`;
}

function Form({ state, tests }) {
  const { archives } = state, [refused, setRefused] = useState("");
  const [choice, setChoice] = useState(null), [kind, setKind] = useState("stream");
  const chosen = choice ?? archives[0]?.camera ?? OTHER;
  // The archives are those of the cameras, which come and go while this form is filled in.
  const found = archives.find(one => one.camera === chosen), gone = chosen !== OTHER && !found;
  const submit = event => {
    event.preventDefault();
    const given = new FormData(event.target), name = forgiving(given.get("name")), address = given.get("source").trim();
    const subscriptionIdentifier = `${DISPLAY};${name}`;
    const reason = name === "" ? "Give the test a name."
      : tests.runs(subscriptionIdentifier, state) ? `There is a test named ${name}: end it first, or choose another name.`
      : "";
    setRefused(reason);
    if (reason) event.target.elements.name.focus();
    if (reason || gone) return;
    const archive = chosen === OTHER
      ? { modelUrl: given.get("modelUrl"), modelId: "dashboard-test", modelName: "Test" }
      : { modelUrl: found.url, modelId: found.id, modelName: found.name };
    const source = kind === "stream" ? { rtspUrl: address }
      : { snapshotUrl: address, snapshotInterval: Number(given.get("interval")) };
    tests.add({ subscriptionIdentifier, ...source, ...archive });
    // The next camera is mostly of the same kind, with the same archive.
    for (const field of ["name", "source"]) event.target.elements[field].value = "";
  };
  return html`<form class="card stack" onSubmit=${submit}><div class="fields">
    <div class="field"><label for="name">Name</label><input id="name" name="name" required maxlength="60" /></div>
    <div class="field"><label for="kind">Kind</label>
      <select id="kind" value=${kind} onChange=${event => setKind(event.target.value)}>
        <option value="stream">stream (RTSP, HTTP)</option><option value="snapshot">snapshots over HTTP</option>
      </select></div>
    <div class="field wide"><label for="source">Camera's address</label>
      <input id="source" name="source" required autocomplete="off" spellcheck=${false} placeholder=${EXAMPLES[kind]} />
      <small>User name and password are shown to nobody.</small></div>
    ${kind === "snapshot" ? html`<div class="field"><label for="interval">Milliseconds between two snapshots</label>
      <input id="interval" name="interval" type="number" min="100" max="60000" value="1000" required /></div>` : null}
    <div class="field"><label for="model">Archive</label>
      <select id="model" value=${chosen} onChange=${event => setChoice(event.target.value)}>
        ${archives.map(one => html`<option value=${one.camera}>${one.name} (${one.id})</option>`)}
        ${gone ? html`<option value=${chosen}>the one that was chosen is no longer there</option>` : null}
        <option value=${OTHER}>another one, at an address</option></select></div>
    ${chosen === OTHER ? html`<div class="field"><label for="modelUrl">Address of the archive</label>
      <input id="modelUrl" name="modelUrl" type="url" required placeholder="https://…/cars.mpta" /></div>` : null}
  </div>
    <div class="row"><button class="primary">Begin the test</button>
      <span class="problem" role="alert">${gone ? "Nothing runs the archive any more: choose another." : refused}</span>
    </div></form>`;
}
