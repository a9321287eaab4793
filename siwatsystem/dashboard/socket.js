// Test subscriptions, over the same WebSocket that backends use: they end with this page.

const LATE_MS = 3000; // so long the worker's state may still name what has ended

/** Tells `changed()` whenever `tests` or `connected` are others. */
export class Tests {
  constructor(address, changed) {
    this.tests = new Map(); // by identifier: {payload, problem}
    this.left = new Map(); // by identifier: when it was ended from here
    this.connected = false;
    this.address = address;
    this.changed = changed;
    this.socket = null;
  }

  /** Whether a test is of this page, or was until a moment ago. */
  knows(identifier) {
    return this.tests.has(identifier) || performance.now() - (this.left.get(identifier) ?? -Infinity) < LATE_MS;
  }

  /** Whether there is a test of that name, of whatever page. */
  runs(identifier, state) {
    return this.tests.has(identifier)
      || (!this.knows(identifier) && state.cameras.some(camera => camera.id === identifier));
  }

  /** It was ended. */
  gone(identifier) {
    this.left.set(identifier, performance.now());
    this.changed();
  }

  /** Subscribe; what is wrong comes as the test's `problem`. */
  add(payload) {
    this.tests.set(payload.subscriptionIdentifier, { payload, problem: "" });
    this.changed();
    if (this.connected) this.send("subscribe", payload);
    else this.open();
  }

  remove(identifier) {
    this.tests.delete(identifier);
    if (this.connected) this.send("unsubscribe", { subscriptionIdentifier: identifier });
    if (this.tests.size === 0) this.socket?.close();
    this.gone(identifier);
  }

  open() {
    if (this.socket) return;
    const socket = this.socket = new WebSocket(this.address);
    socket.addEventListener("open", () => {
      this.connected = true;
      for (const { payload } of this.tests.values()) this.send("subscribe", payload);
      this.changed();
    });
    socket.addEventListener("message", event => this.take(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      this.socket = null;
      this.connected = false;
      if (this.tests.size) setTimeout(() => this.open(), 2000);
      this.changed();
    });
  }

  take(message) {
    if (message.type === "patchSession") {
      this.send("patchSessionResult", { sessionId: message.sessionId, success: true, message: "seen" });
    } else if (message.type === "error") {
      const test = this.tests.get(message.subscriptionIdentifier);
      if (!test) return;
      test.problem = message.resolved ? "" : message.error;
      this.changed();
    }
  }

  send(type, payload) {
    this.socket.send(JSON.stringify({ type, payload }));
  }
}

/** Where the worker's WebSocket is: beside this page. */
export function socketAddress() {
  const address = new URL(".", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = address.search = "";
  return address.href;
}
