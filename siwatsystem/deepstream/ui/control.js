/** The page of the control server: follows what happens, and draws it at most a few times a second. */

import { Analyse } from "./analyse.js";
import { ask, login, part, post } from "./api.js";
import { Apps } from "./apps.js";
import { RequestFiles } from "./files.js";
import { Known } from "./known.js";
import { Launch } from "./launch.js";
import { Live } from "./live.js";
import { Logs } from "./logs.js";
import { Overview } from "./overview.js";
import { Badge, Confirm, Notice } from "./parts.js";
import { html, render, useEffect, useMemo, useReducer, useRef, useState } from "./preact.js";
import { Requests } from "./requests.js";
import { clock } from "./words.js";

const DRAW_MS = 200;
const SAMPLE_MS = 2000;
const HEALTH_MS = 10_000;
const GOOD_NEWS_MS = 6000;
const REASON = "asked for on the page";

const known = new Known();

function Page() {
  const [, draw] = useReducer((number) => number + 1, 0);
  const [state, setState] = useState("connecting");
  const [lastSeen, setLastSeen] = useState(null);
  const [shown, setShown] = useState(null);
  const [news, setNews] = useState([]);
  const health = useHealth(state);
  const heard = useRef("");
  const live = useLive(draw, state, setState, setLastSeen, setNews);
  const doing = useMemo(() => commands(setShown, setNews, () => { live.stop(); setState("login"); }), []);
  const sentences = known.takeSentences();
  if (sentences.length) heard.current = sentences.join(" ");
  const close = () => setShown(null);
  if (state === "login") return html`<${Top} state=${state} /><${LogIn}
    begun=${() => { setState("connecting"); live.start(); }} />`;
  return html`<a class="skip" href="#apps-title">To the apps</a><${Top} state=${state} health=${health}
    leave=${() => leave(live, setState)} />
    <div class="hidden-text" role="status" aria-live="polite" id="heard">${heard.current}</div>
    <main class="page">
      ${state === "lost" && html`<${Notice} tone="bad"
        role="alert">The connection to the control server is lost; trying again.
        ${lastSeen ? ` What you see is of ${clock(lastSeen)}.` : ""}<//>`}
      ${health?.problems?.map((problem) => html`<${Notice} key=${problem} tone="warn">${problem}<//>`)}
      <div class="news">${news.map((one) => html`<${News} key=${one.id} one=${one}
        gone=${() => setNews((all) => all.filter((other) => other !== one))} />`)}</div>
      ${known.told ? html`<${Overview} known=${known} /><${Apps} known=${known} doing=${doing} />
        <${Requests} known=${known} live=${state === "live"} doing=${doing} />`
        : html`<p class="soft">Loading…</p>`}
    </main>
    ${shown && html`<${Shown} key=${shown.key} shown=${shown} close=${close} tell=${tellWith(setNews)} />`}`;
}

/** The dialog that is open. */
function Shown({ shown, close, tell }) {
  switch (shown.kind) {
    case "launch":
      return html`<${Launch} again=${shown.again} onClose=${close}
        onLaunched=${() => tell("good", "The app was launched.")} />`;
    case "analyse":
      return html`<${Analyse} known=${known} instance=${shown.instance} onClose=${close}
        onStarted=${({ instance_id, stream_id, message }) =>
          tell("good", `${instance_id}, slot ${stream_id}: ${message}.`)} />`;
    case "logs":
      return html`<${Logs} instance=${shown.instance} onClose=${close} />`;
    case "files":
      return html`<${RequestFiles} known=${known} request=${shown.request} onClose=${close} />`;
    default:
      return html`<${Confirm} ...${shown.question} onClose=${close} />`;
  }
}

function Top({ state, health, leave }) {
  const [tone, word] = state === "live" ? STATUS[health?.status] ?? ["accent", "connected"] : STATES[state];
  return html`<header class="topbar"><img class="logo" src="assets/control.svg" alt="" /><h1>Control server</h1>
    <${Badge} tone=${tone}>${word}<//>
    ${state !== "login" && html`<nav aria-label="On this page"><a href="#apps-title">Apps</a><a
      href="#requests-title">Requests</a></nav>`}
    <nav class="push" aria-label="More"><a href="../docs">API</a><a href="asyncapi.json">WebSocket</a><a
      href="health">Health</a>
      ${login.known && state !== "login" && html`<button type="button" class="small"
        onClick=${leave}>Log out</button>`}</nav></header>`;
}

const STATES = { connecting: ["accent", "connecting"], lost: ["bad", "not connected"], login: ["warn", "locked"] };
const STATUS = { healthy: ["good", "healthy"], degraded: ["warn", "degraded"], shutting_down: ["warn", "ending"] };

function LogIn({ begun }) {
  const [refused, setRefused] = useState("");
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  async function send(event) {
    event.preventDefault();
    try {
      await login.begin(field.current.value);
      begun();
    } catch (error) {
      setRefused(error.message);
      field.current.value = "";
      field.current.focus();
    }
  }
  return html`<main class="page"><form class="card login stack" onSubmit=${send}>
    <div class="field"><label for="token">This control server asks for a token</label>
      <input type="text" name="username" autocomplete="username" value="operator" hidden />
      <input ref=${field} id="token" name="token" type="password" required autocomplete="current-password"
        aria-describedby="refused" />
      <small>The control token, or the view token to look only</small></div>
    <p class="problem" role="alert" id="refused">${refused}</p>
    <div class="row"><button class="primary push">Log in</button></div></form></main>`;
}

function News({ one, gone }) {
  useEffect(() => {
    if (one.tone === "bad") return undefined;
    const timer = setTimeout(gone, GOOD_NEWS_MS);
    return () => clearTimeout(timer);
  }, []);
  return html`<${Notice} tone=${one.tone} role=${one.tone === "bad" ? "alert" : "status"}><div class="row">
    <span>${one.text}</span>
    <button type="button" class="quiet small push" onClick=${gone}>Dismiss</button></div><//>`;
}

/** Follows the server for as long as the page is open. */
function useLive(draw, state, setState, setLastSeen, setNews) {
  const before = useRef(state);
  const live = useMemo(() => new Live(known, throttled(draw), (now) => {
    if (now === "lost" && before.current === "live") setLastSeen(Date.now());
    if (now === "live" && before.current === "lost") tellWith(setNews)("good", "The connection is there again.");
    before.current = now;
    setState(now);
  }), []);
  useEffect(() => {
    live.start();
    const timer = setInterval(() => {
      if (before.current === "live") known.sample(Date.now());
      draw();
    }, SAMPLE_MS);
    return () => {
      clearInterval(timer);
      live.stop();
    };
  }, []);
  return live;
}

function useHealth(state) {
  const [health, setHealth] = useState(null);
  useEffect(() => {
    if (state === "login") return undefined;
    // Ending servers say so with 503, which is no answer to `ask`.
    const ending = (error) => error.status === 503 && setHealth({ status: "shutting_down" });
    const look = () => ask("health").then(setHealth, ending);
    look();
    const timer = setInterval(look, HEALTH_MS);
    return () => clearInterval(timer);
  }, [state]);
  return health;
}

/** What the buttons do. */
function commands(setShown, setNews, locked) {
  const tell = tellWith(setNews);
  const show = (kind, more) => setShown({ kind, key: `${kind} ${Date.now()}`, ...more });
  const order = async (path, body, query, then) => {
    try {
      const answer = await post(path, body, query);
      if (then) tell("good", then(answer));
    } catch (refused) {
      if (refused.status === 401) locked();
      tell("bad", refused.needsLogin ? `${refused.message}: this needs the control token` : refused.message);
    }
  };
  const sure = (title, text, button, act) => show("sure", { question: { title, text, button, act } });
  return {
    launch: (again) => show("launch", { again }),
    analyse: (instance = null) => show("analyse", { instance }),
    logs: (instance) => show("logs", { instance }),
    look: (request) => show("files", { request }),
    cleanUp: () => order("processes/cleanup", {}, {}, (answer) => answer.message),
    terminate: ({ instance_id }) => sure(`Terminate ${instance_id}?`,
      "The app is asked to end, and made to after a while. What it was at goes back to the front of the line.",
      "Terminate",
      () => order(`instances/${part(instance_id)}/terminate`, {}, {}, (answer) => `${instance_id}: ${answer.message}.`)),
    interrupt: ({ request_id }, name) => sure(`Interrupt ${name}?`,
      "Files that are not done are cancelled; the app goes on with what waits.", "Interrupt",
      () => order(`requests/${part(request_id)}/cancel`, { reason: REASON })),
    cancel: ({ request_id }, name) => sure(`Cancel ${name}?`, "None of its files is analysed.", "Cancel it",
      () => order(`requests/${part(request_id)}/cancel`, { reason: REASON })),
    move: ({ request_id }, position) => order(`requests/${part(request_id)}/reorder`, { position }),
  };
}

let numbered = 0;
const tellWith = (setNews) => (tone, text) =>
  setNews((all) => [...all, { id: (numbered += 1), tone, text }].slice(-3));

async function leave(live, setState) {
  live.stop();
  await login.end().catch(() => null);
  location.reload();
  setState("connecting");
}

/** Calls `act` soon, at most every DRAW_MS, and seldomer the more is known: a burst is one drawing. */
function throttled(act) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      act();
    }, DRAW_MS + known.requests.size / 50);
  };
}

const root = document.getElementById("root");
root.replaceChildren();
render(html`<${Page} />`, root);
