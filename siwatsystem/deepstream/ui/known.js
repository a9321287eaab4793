/** What the server has told: a snapshot, then changes. No drawing and no network. */

const KEPT_MS = 10 * 60_000;
const ENDED = new Set(["done", "failed", "interrupted"]);
const MOST_SENTENCES = 3;
const LAST = 1e9;

export class Known {
  constructor() {
    this.apps = new Map();
    this.slots = new Map();
    this.requests = new Map();
    this.files = new Map();
    /** Only the files of this request are kept: there may be 100,000. */
    this.watched = null;
    this.history = new Map();
    this.grouped = null;
    this.sentences = [];
    this.told = false;
    /** How often all of it was told anew: what was asked for before may be old. */
    this.snapshots = 0;
    /** How often so many files of the watched request changed that they must be listed anew. */
    this.lists = 0;
  }

  snapshot({ apps, slots, requests }) {
    this.apps = new Map(apps.map((app) => [app.instance_id, app]));
    this.slots = new Map(slots.map((slot) => [`${slot.instance_id}/${slot.stream_id}`, slot]));
    this.requests = new Map(requests.map((request) => [request.request_id, request]));
    this.told = true;
    this.grouped = null;
    this.files.clear();
    this.snapshots += 1;
  }

  change({ kind, key, value }) {
    if (kind === "file") {
      if (value && value.request_id === this.watched) this.files.set(value.file_id, value);
      return;
    }
    if (kind === "files") {
      if (key === this.watched) this.lists += 1;
      return;
    }
    const map = { app: this.apps, slot: this.slots, request: this.requests }[kind];
    if (!map) return;
    if (kind !== "app") this.grouped = null;
    const before = map.get(key);
    if (value) map.set(key, value);
    else map.delete(key);
    this.#say(kind, before, value);
  }

  /** Sentences for those who hear the page, since they were taken last. */
  takeSentences() {
    const taken = this.sentences;
    this.sentences = [];
    return taken.length > MOST_SENTENCES
      ? [...taken.slice(-MOST_SENTENCES), `and ${taken.length - MOST_SENTENCES} more`]
      : taken;
  }

  #say(kind, before, now) {
    if (!now || before?.state === now.state) return;
    if (kind === "app") {
      const why = now.state === "crashed" && now.reason ? `: ${now.reason}` : "";
      this.sentences.push(`App ${now.instance_id} is ${APP_WORDS[now.state] ?? now.state}${why}.`);
    } else if (kind === "request" && ENDED.has(now.state)) {
      this.sentences.push(`${now.name || `Camera ${now.camera_id}`} is ${now.state}.`);
    }
  }

  /** By app, in their order. */
  slotsByApp() {
    const found = new Map();
    for (const slot of this.slots.values()) {
      const of = found.get(slot.instance_id);
      if (of) of.push(slot);
      else found.set(slot.instance_id, [slot]);
    }
    for (const slots of found.values()) slots.sort((one, other) => one.stream_id - other.stream_id);
    return found;
  }

  /** Requests that are in a slot, wait for one, and have ended. */
  requestsByState() {
    this.grouped ??= this.#group();
    return this.grouped;
  }

  #group() {
    const running = [], waiting = [], ended = [], inSlot = new Set();
    for (const slot of this.slots.values()) inSlot.add(slot.request_id);
    for (const request of this.requests.values()) {
      if (ENDED.has(request.state)) ended.push(request);
      else if (request.state === "running" || inSlot.has(request.request_id)) running.push(request);
      else waiting.push(request);
    }
    return { running, waiting, ended };
  }

  /** One of these groups in the order that it is listed in; `positions` by request id, where known. */
  sorted(kind, positions) {
    const by = { running: eldest, waiting: inLine(positions), ended: newest };
    return this.requestsByState()[kind].sort(by[kind]);
  }

  /** The newest numbers of all apps together: frames a second, cores, memory, and each GPU by what tells it
   * from others: its number is the same on every machine. */
  totals() {
    const found = { fps: 0, cores: 0, ram: 0, gpus: new Map() };
    for (const app of this.apps.values()) {
      if (app.ws_status !== "connected") continue;
      found.cores += (app.metrics?.cpu_percent ?? 0) / 100;
      found.ram += app.metrics?.ram_mb ?? 0;
      for (const gpu of gpusOf(app)) {
        const at = app.metrics.timestamp ?? "";
        const key = gpu.uuid ?? `${gpu.host ?? ""} ${gpu.gpu}`;
        if (!found.gpus.has(key) || order(at, found.gpus.get(key).at) > 0) found.gpus.set(key, { ...gpu, key, at });
      }
    }
    for (const slot of this.slots.values()) if (slot.request_id !== null) found.fps += slot.fps ?? 0;
    return found;
  }

  /** Note the numbers of this moment: a point of every line that is drawn. */
  sample(now) {
    const totals = this.totals();
    this.#note("fps", now, totals.fps);
    this.#note("cores", now, totals.cores);
    this.#note("ram", now, totals.ram);
    for (const [key, gpu] of totals.gpus) this.#note(`gpu ${key}`, now, gpu.gpu_percent);
    for (const [key, line] of this.history) if (line.at(-1)[0] < now - KEPT_MS) this.history.delete(key);
  }

  #note(key, now, value) {
    const line = this.history.get(key) ?? [];
    line.push([now, value ?? null]);
    while (line[0][0] < now - KEPT_MS) line.shift();
    this.history.set(key, line);
  }
}

/** Each GPU of an app; older apps tell only one number for all. */
function gpusOf(app) {
  const { metrics } = app;
  if (metrics?.gpus?.length) return metrics.gpus;
  if (metrics?.gpu_percent === null || metrics?.gpu_percent === undefined) return [];
  return [{ gpu: app.gpu_allocated?.[0] ?? 0, gpu_percent: metrics.gpu_percent, vram_mb: metrics.vram_mb }];
}

const eldest = (one, other) => order(one.created_at, other.created_at);

const newest = (one, other) => order(other.ended_at, one.ended_at);

/** By app, slot, and place in the line. */
const inLine = (positions) => (one, other) =>
  order(one.instance_id ?? "", other.instance_id ?? "") || (one.stream_id ?? -1) - (other.stream_id ?? -1) ||
  (positions.get(one.request_id) ?? LAST) - (positions.get(other.request_id) ?? LAST) || eldest(one, other);

const order = (one, other) => (one === other ? 0 : (one ?? "") < (other ?? "") ? -1 : 1);

export const APP_WORDS = {
  starting: "starting", running: "running", stopping: "stopping", exited: "exited", crashed: "crashed",
  backoff: "restarting",
};
