// A camera's newest picture with what was seen on it. Asked for only while it can be seen, no faster than the
// worker and the line can serve all that are visible.
import { html, useEffect, useRef, useState } from "./preact.js";
import { ask, cameraPath } from "./api.js";
import { Drawing } from "./drawing.js";

const LEAST_MS = 400, SAME_MS = 500, AWAY_MS = 3000;
const EACH_MS = 70; // more between two pictures for each camera that is visible
let visible = 0;

/** Wait for what `begin(done)` begins, or for `signal`, which lives much longer and must keep nothing of it. */
const either = (signal, begin) => new Promise(done => {
  const over = () => { signal.removeEventListener("abort", over); end(); done(); };
  const end = begin(over);
  signal.addEventListener("abort", over);
});

const after = (ms, signal) => either(signal, done => {
  const timer = setTimeout(done, ms);
  return () => clearTimeout(timer);
});

const inFront = async signal => {
  if (!document.hidden) return;
  await either(signal, done => {
    document.addEventListener("visibilitychange", done);
    return () => document.removeEventListener("visibilitychange", done);
  });
};

/** What `/still` answers: the length of some JSON in four bytes, the JSON, and a JPEG. */
async function opened(answer) {
  const data = await answer.arrayBuffer(), length = new DataView(data).getUint32(0);
  const seen = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  return { seen, url: URL.createObjectURL(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" })) };
}

/** Fetch pictures until `signal`; `show({url, seen})` for each new one. */
async function follow(id, width, signal, show) {
  let known = null;
  while (!signal.aborted) {
    await inFront(signal);
    if (signal.aborted) return;
    const began = performance.now();
    let pause = SAME_MS;
    try {
      const query = `?width=${width}${known === null ? "" : `&known=${encodeURIComponent(known)}`}`;
      const answer = await ask(cameraPath(id, `/still${query}`), { signal });
      if (answer.status === 200) {
        known = answer.headers.get("X-Picture");
        const picture = await opened(answer);
        if (signal.aborted) URL.revokeObjectURL(picture.url);
        else show(picture);
        pause = 0;
      }
    } catch {
      pause = AWAY_MS;
    }
    const took = performance.now() - began;
    await after(Math.max(pause, LEAST_MS - took, EACH_MS * visible - took, 2 * took), signal);
  }
}

/** Whether the element can be seen, or nearly. */
function useVisible(element) {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver(
      entries => setSeen(entries[entries.length - 1].isIntersecting), { rootMargin: "120px" });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return seen;
}

/** `camera`: its entry of the state; `width`: pixels that are shown, about; the rest as `Drawing` has it. */
export function Live({ camera, width = 640, across = 58, brief = false }) {
  const element = useRef(null), [picture, setPicture] = useState(null);
  const seen = useVisible(element), newest = useRef(null);
  const { id, delivers } = camera, there = camera.age !== null;
  useEffect(() => {
    if (!seen || !there) return undefined;
    const ending = new AbortController();
    visible += 1;
    follow(id, width, ending.signal, next => {
      const before = newest.current;
      newest.current = next;
      setPicture(next);
      if (before) setTimeout(() => URL.revokeObjectURL(before.url), 200);
    });
    return () => { visible -= 1; ending.abort(); };
  }, [id, width, seen, there]);
  useEffect(() => () => newest.current && URL.revokeObjectURL(newest.current.url), []);
  const size = picture?.seen.size ?? camera.size;
  return html`<div class=${`live ${delivers ? "" : "stale"}`} ref=${element}
      style=${size ? { aspectRatio: `${size[0]} / ${Math.min(size[1], 1.2 * size[0])}` } : {}}>
    ${picture
      ? html`<img src=${picture.url} alt=${`Newest picture of ${id}`} />
        <${Drawing} seen=${picture.seen} zones=${camera.zones} across=${across} brief=${brief} />`
      : html`<p>${there ? "Fetching the picture…" : "No picture yet"}</p>`}
    ${picture && !delivers ? html`<p class="since">no new picture</p>` : null}
  </div>`;
}
