// Tests that run: those of this page, and those that it does not hold (any more).
import { html, useState } from "./preact.js";
import { ask, cameraPath } from "./api.js";
import { linkTo } from "./format.js";
import { Online } from "./overview.js";

export function Running({ state, tests, may }) {
  const remove = id => {
    tests.remove(id);
    // The button goes with its test: the next Tab is to go on here.
    document.getElementById(tests.tests.size ? "running" : "main").focus({ preventScroll: true });
  };
  const others = state.cameras.filter(camera => camera.test && !tests.knows(camera.id));
  return html`
    ${tests.tests.size ? html`<section class="card stack" aria-labelledby="running">
      <h2 id="running" tabindex="-1">Running tests</h2>
      ${tests.connected ? null : html`<p class="problem" role="alert">There is no connection to the worker; it is tried
        again.</p>`}
      <ul class="plain stack">${[...tests.tests].map(([id, test]) => html`<${Own} key=${id} id=${id} test=${test}
        waits=${!tests.connected} camera=${state.cameras.find(camera => camera.id === id)}
        remove=${() => remove(id)} />`)}</ul>
    </section>` : null}
    ${others.length ? html`<section class="card stack" aria-labelledby="others">
      <h2 id="others">Tests of other pages</h2>
      <p class="soft small">Also of this one before it was loaded anew.</p>
      <ul class="plain stack">${others.map(camera => html`<${Other} key=${camera.id} camera=${camera} may=${may}
        tests=${tests} />`)}</ul>
    </section>` : null}`;
}

function Own({ id, test, waits, camera, remove }) {
  const [tone, word] = waits ? ["accent", "waits for the worker"]
    : camera?.online ? ["good", "online"] : test.problem ? ["bad", "does not work"] : ["accent", "beginning"];
  return html`<li class="row running">
    <a href=${linkTo(id)}>${id}</a>
    <span class="badge" data-tone=${tone}>${word}</span>
    ${test.problem ? html`<span class="problem small">${test.problem}</span>` : null}
    <button class="small push" onClick=${remove}>Remove</button></li>`;
}

/** One that a page holds ends with that page; what none holds any more goes on for a moment, and can be ended. */
function Other({ camera, may, tests }) {
  const [refused, setRefused] = useState("");
  const end = async () => {
    try {
      await ask(cameraPath(camera.id), { method: "DELETE" });
      tests.gone(camera.id);
      document.getElementById("main").focus({ preventScroll: true });
    } catch (error) {
      setRefused(error.message);
    }
  };
  return html`<li class="row other">
    <a href=${linkTo(camera.id)}>${camera.id}</a><${Online} camera=${camera} />
    <span class="soft small">${camera.held ? "Its page is open." : "Its page was closed: it ends by itself soon."}</span>
    ${refused ? html`<span class="problem small" role="alert">${refused}</span>` : null}
    ${may && !camera.held ? html`<button class="small push" onClick=${end}>End</button>` : null}</li>`;
}
