/** Follows the server's events, goes on after a lost connection, and says how that stands. */

import { ask } from "./api.js";

const AGAIN_MS = 2000;

export class Live {
  /** `told(state)`: connecting, live, lost or login. */
  constructor(known, drawn, told) {
    this.known = known;
    this.drawn = drawn;
    this.told = told;
    this.source = null;
    this.timer = null;
  }

  start() {
    this.stop();
    const source = (this.source = new EventSource("events"));
    source.addEventListener("open", () => this.told("live"));
    source.addEventListener("snapshot", (event) => this.#take("snapshot", event));
    source.addEventListener("change", (event) => this.#take("change", event));
    source.addEventListener("error", () => {
      // Where the connection broke the browser tries again by itself; where it was refused it gives up.
      if (source.readyState === EventSource.CLOSED) this.#refused();
      else this.told("lost");
    });
  }

  stop() {
    this.source?.close();
    this.source = null;
    clearTimeout(this.timer);
  }

  #take(kind, event) {
    this.known[kind](JSON.parse(event.data));
    this.drawn();
  }

  async #refused() {
    this.stop();
    try {
      await ask("requests", { query: { limit: 1 } });
      this.told("lost");
    } catch (refused) {
      if (refused.needsLogin) {
        this.told("login");
        return;
      }
      this.told("lost");
    }
    this.timer = setTimeout(() => this.start(), AGAIN_MS);
  }
}
