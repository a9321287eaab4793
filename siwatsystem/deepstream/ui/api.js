/** Requests to the control server, and what it refuses. Paths are relative to `/deepstream/`. */

const JSON_TYPE = { "Content-Type": "application/json" };

export class Refused extends Error {
  /** `status` 0: no answer came. */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  get needsLogin() {
    return this.status === 401 || this.status === 403;
  }
}

/** The JSON that is answered. Throws Refused. */
export async function ask(path, { method = "GET", body, query = {} } = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  const address = given.length ? `${path}?${new URLSearchParams(given)}` : path;
  const sent = body === undefined ? {} : { headers: JSON_TYPE, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(address, { method, ...sent });
  } catch {
    throw new Refused(0, "The control server does not answer.");
  }
  if (answer.status === 204) return null;
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, wordsOf(said.detail, answer.status));
  return said;
}

export const post = (path, body = {}, query = {}) => ask(path, { method: "POST", body, query });

function wordsOf(detail, status) {
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map((one) => one.msg ?? String(one)).join("; ");
  return `The server answered with status ${status}.`;
}

/** The cookie itself is not for scripts to see; this only says whether to offer logging out. */
export const login = {
  get known() {
    return sessionStorage.getItem("loggedIn") === "yes";
  },
  async begin(token) {
    await post("../login", { token });
    sessionStorage.setItem("loggedIn", "yes");
  },
  async end() {
    sessionStorage.removeItem("loggedIn");
    await post("../logout");
  },
};

/** A path inside an address. */
export const part = encodeURIComponent;
