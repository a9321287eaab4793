// Asking the worker: everything goes through here, so that a token is asked for in one place.
import { useEffect, useRef, useState } from "./preact.js";

/** An answer that is none of what was asked for; `status` 0: no answer came. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** What the worker answers, whatever its kind. Throws Refused. */
export async function ask(path, options = {}) {
  const { patience = 10_000, signal, ...rest } = options, limit = AbortSignal.timeout(patience);
  let answer;
  try {
    answer = await fetch(path, { ...rest, signal: signal ? either(signal, limit) : limit });
  } catch {
    throw new Refused(0, "the worker does not answer");
  }
  if (answer.ok) return answer;
  throw new Refused(answer.status, await reason(answer));
}

const NOTHING = { data: null, last: null, error: null, role: "view", login: false };

const either = (one, other) => (AbortSignal.any ? AbortSignal.any([one, other]) : one);

async function reason(answer) {
  try {
    const { detail } = await answer.json();
    if (typeof detail === "string") return detail;
    if (Array.isArray(detail)) return detail.map(one => one.msg).join("; ");
  } catch { /* it is no JSON */ }
  return `the worker answered ${answer.status}`;
}

/** The JSON at `path`, asked for every `seconds` while the page is in front, else every `behind` seconds (0:
    never): `{data, last, error, role, login, again}`.
    `last`: the newest that came, also where the worker does not answer now. `path` null asks for nothing. */
export function usePolled(path, seconds, behind = 0) {
  const [found, setFound] = useState({ path: null, ...NOTHING });
  const asking = useRef(() => {});
  useEffect(() => {
    if (path === null) return undefined;
    let timer = 0, over = false, running = false;
    const look = async () => {
      clearTimeout(timer);
      if ((document.hidden && !behind) || over || running) return;
      running = true;
      try {
        const answer = await ask(path);
        const data = await answer.json();
        const { headers } = answer;
        if (!over) setFound({ path, data, last: data, error: null, role: headers.get("X-Role") ?? "view",
                              login: headers.get("X-Login") === "yes" });
      } catch (error) {
        const refused = error instanceof Refused ? error : new Refused(0, "the answer was cut off");
        const away = refused.status === 0 || refused.status >= 500;
        if (!over) setFound(before => ({ path, ...(away && before.path === path ? before : NOTHING),
                                         data: null, error: refused }));
      }
      running = false;
      if (!over) timer = setTimeout(look, 1000 * (document.hidden ? behind || seconds : seconds));
    };
    asking.current = look;
    document.addEventListener("visibilitychange", look);
    look();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [path, seconds, behind]);
  const fits = found.path === path ? found : NOTHING;
  return { ...fits, again: () => asking.current() };
}

export const cameraPath = (id, rest = "") => `dashboard/camera/${encodeURIComponent(id)}${rest}`;

/** Trade a token for a cookie. Throws Refused. */
export async function logIn(token) {
  await ask("login", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }) });
}

export async function logOut() {
  sessionStorage.removeItem("loggedIn");
  await ask("logout", { method: "POST" });
}

/** Note that this page looks with a login, so that it can say when that has ended. */
export const remember = () => sessionStorage.setItem("loggedIn", "yes");
export const loggedIn = () => sessionStorage.getItem("loggedIn") === "yes";
