// The dashboard: which page is shown, and the state that all of them read.
import { html, render, useEffect, useRef, useState } from "./preact.js";
import { logOut, remember, usePolled } from "./api.js";
import { CameraPage } from "./camera.js";
import { Headline, SIGNS } from "./headline.js";
import { Login } from "./login.js";
import { Overview } from "./overview.js";
import { socketAddress, Tests } from "./socket.js";
import { TestPage } from "./test.js";
import { TryPage } from "./try.js";

const TITLE = "Detector worker";
const BEHIND_SEC = 30; // between two looks of a page that is behind others: its title tells how the worker is
const AWAY = { tone: "bad", text: "The worker does not answer",
               todo: "Check that its machine is on and its process runs. This page goes on asking." };

function useRoute() {
  const read = () => location.hash.replace(/^#/, "") || "/";
  const [route, setRoute] = useState(read());
  useEffect(() => {
    const change = () => { setRoute(read()); window.scrollTo(0, 0); };
    window.addEventListener("hashchange", change);
    return () => window.removeEventListener("hashchange", change);
  }, []);
  return route;
}

/** Pages that hold what somebody has typed or waits for, which an answer that fails to come must not take. */
const KEPT = ["/try", "/test"];

/** The tests that this page runs; one for as long as it is open. */
function useTests() {
  const [, setCount] = useState(0), tests = useRef(null);
  tests.current ??= new Tests(socketAddress(), () => setCount(count => count + 1));
  return tests.current;
}

function App() {
  const route = useRoute(), tests = useTests(), main = useRef(null);
  const { data, last, error, role, login, again } = usePolled("dashboard/state", 1, BEHIND_SEC);
  const state = data ?? (KEPT.includes(route) ? last : null);
  useEffect(() => { if (login) remember(); }, [login]);
  useEffect(() => { document.title = titleOf(state, error); }, [state, error]);
  const focus = () => main.current.focus({ preventScroll: true });
  const before = useRef(route);
  useEffect(() => {
    // What had the focus is gone with its page: the next Tab is to go on in the new one.
    if (before.current !== route) focus();
    before.current = route;
  }, [route]);
  const entered = () => { focus(); again(); };
  const leave = async () => { await logOut(); entered(); };
  return html`
    <a class="skip" href="#main" onClick=${event => { event.preventDefault(); main.current.focus(); }}>To the content</a>
    <header class="topbar"><h1>${TITLE}</h1>
      ${state ? html`<nav aria-label="Pages"><${Link} to="/" route=${route}>Cameras</>
        <${Link} to="/try" route=${route}>Try a picture</><${Link} to="/test" route=${route}>Test a camera</>
        ${login ? html`<button class="small" onClick=${leave}>Log out</button>` : null}</nav>` : null}
    </header>
    <main class="page" id="main" tabindex="-1" ref=${main}>
      ${error && error.status !== 401 ? html`<div role="alert">
        <${Headline} headline=${error.status ? { ...AWAY, text: error.message } : AWAY} /></div>` : null}
      ${state ? html`<${Page} route=${route} state=${state} may=${role === "control"} tests=${tests}
        entered=${entered} />`
        : error?.status === 401 ? html`<${Login} done=${entered} />`
        : error ? null
        : html`<p class="soft">Asking the worker how it is…</p>`}
    </main>
    <footer class="soft small">${state ? html`Version ${state.version}${state.open
      ? " · no control token is set: whoever reaches this worker may command it" : ""}` : null}
      <span class="row"><a href="health">health</a><a href="metrics">metrics</a><a href="docs">API</a>
      <a href="asyncapi.json">WebSocket</a></span></footer>`;
}

function Link({ to, route, children }) {
  return html`<a href=${`#${to}`} aria-current=${route === to ? "page" : undefined}>${children}</a>`;
}

function Page({ route, state, may, tests, entered }) {
  const login = html`<${Login} done=${entered} control />`;
  if (route === "/try") return html`<${TryPage} state=${state} may=${may} login=${login} />`;
  if (route === "/test") return html`<${TestPage} state=${state} may=${may} login=${login} tests=${tests} />`;
  if (route.startsWith("/camera/")) {
    const id = decoded(route.slice("/camera/".length));
    return html`<${CameraPage} key=${id} id=${id} state=${state} />`;
  }
  return html`<${Overview} state=${state} />`;
}

/** Addresses are typed, too, and may hold what is no encoding. */
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function titleOf(state, error) {
  if (error && error.status !== 401) return `✕ ${TITLE}`;
  if (!state) return TITLE;
  return `${SIGNS[state.headline.tone]} ${state.headline.text} – ${TITLE}`;
}

const place = document.getElementById("app");
place.replaceChildren();
render(html`<${App} />`, place);
