// One line that says how the worker is, and below it what is wrong and what to do.
import { html } from "./preact.js";
import { linkTo, moment, wholeNameOf } from "./format.js";

export const SIGNS = { good: "✓", warn: "!", bad: "✕", accent: "…" };
const MOST_NAMES = 8, WARNINGS = new Set(["overloaded", "no_backend"]);

export function Headline({ headline, problems = [] }) {
  const same = problems.find(problem => problem.message === headline.text);
  return html`<div class="headline" data-tone=${headline.tone} role="status">
    <span class="sign" aria-hidden="true">${SIGNS[headline.tone]}</span>
    <div><h2>${sentence(headline.text)}<${Since} at=${headline.since} /></h2>
      ${headline.todo ? html`<p><${Marked} text=${headline.todo} /></p>` : null}
      ${same ? html`<p class="small"><${Names} ids=${same.cameras} /></p>` : null}</div>
  </div>`;
}

/** All that is wrong besides what the headline has said. */
export function Problems({ headline, problems }) {
  const others = problems.filter(problem => problem.message !== headline.text);
  if (others.length === 0) return null;
  return html`<section aria-label="What is wrong"><ul class="plain stack tight">
    ${others.map(problem => html`<li class="notice" data-tone=${WARNINGS.has(problem.code) ? "warn" : "bad"}>
      <p><strong>${sentence(problem.message)}<${Since} at=${problem.since} /></strong>
        ${" "}<${Names} ids=${problem.cameras} /></p>
      ${problem.hint === headline.todo ? null : html`<p class="small"><${Marked} text=${problem.hint} /></p>`}
    </li>`)}
  </ul></section>`;
}

const sentence = text => text.charAt(0).toUpperCase() + text.slice(1);

/** `at`: seconds since 1970; none where it is not told. */
const Since = ({ at }) => (at ? ` since ${moment(at)}` : null);

function Names({ ids }) {
  if (ids.length === 0) return null;
  const more = ids.length - MOST_NAMES;
  return html`<span class="names">${ids.slice(0, MOST_NAMES).map(id => html`
    <a href=${linkTo(id)} >${wholeNameOf(id)}</a>`)}
    ${more > 0 ? html`<span class="soft">and ${more} more</span>` : null}</span>`;
}

/** A hint, in which what stands between two backquotes is to be typed or found as it is. */
export function Marked({ text }) {
  return text.split("`").map((part, place) => (place % 2 ? html`<code>${part}</code>` : part));
}
