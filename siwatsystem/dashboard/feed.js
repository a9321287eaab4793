// What was seen lately, with a small picture each.
import { html } from "./preact.js";
import { clock, linkTo, percent, wholeNameOf } from "./format.js";

/** `entries`: newest first; `camera`: whether to say whose each is. */
export function Feed({ entries, camera = true }) {
  return html`<section class="card stack" aria-labelledby="feed">
    <h2 id="feed">Seen lately</h2>
    ${entries.length === 0
      ? html`<p class="soft small">Nothing since this page was opened.</p>`
      : html`<ol class="plain feed">${entries.map(entry => html`<${Entry} key=${entry.number} entry=${entry}
          camera=${camera} />`)}</ol>`}
  </section>`;
}

function Entry({ entry, camera }) {
  const track = entry.track === null ? "" : ` #${entry.track}`;
  return html`<li>
    <span class="thumb">${entry.picture > 0 ? html`<img loading="lazy" alt=""
      src=${`dashboard/seen/${entry.number}?v=${entry.picture}`} />` : null}</span>
    <span class="said">
      <strong>${entry.words.length ? entry.words.join(" · ") : entry.class}</strong>
      <span class="soft small">${entry.class}${track}, ${percent(entry.confidence)}</span>
      ${camera ? html`<a class="small" href=${linkTo(entry.camera)}>${wholeNameOf(entry.camera)}</a>` : null}
    </span>
    <time class="soft small number">${clock(entry.first)}</time>
  </li>`;
}
