// A pipeline as a tree: what each node is, how long it takes, what it did last.
import { html } from "./preact.js";
import { number } from "./format.js";

/** `root`: a node with its `branches`. */
export function Tree({ root }) {
  const slowest = Math.max(...all(root).map(node => node.times.mean_ms ?? 0), 1e-6);
  return html`<ul class="tree"><${Node} node=${root} slowest=${slowest} /></ul>`;
}

const all = node => [node, ...node.branches.flatMap(all)];

function Node({ node, slowest }) {
  const { times } = node, outcome = times.newest?.outcome;
  return html`<li>
    <div class="node" data-tone=${outcome === "failed" ? "bad" : outcome === "ran" ? "good" : ""}>
      <div class="row"><strong>${node.id}</strong>
        <span class="soft small">${[node.task, node.runtime, node.crop ? "on a crop" : "", node.tracked ? "tracks" : ""]
          .filter(Boolean).join(" · ")}</span>
        <span class="push number">${times.mean_ms === null ? "–" : `${number(times.mean_ms, 1)} ms`}</span></div>
      <meter min="0" max=${slowest} value=${times.mean_ms ?? 0} aria-label=${`Time of ${node.id}`}></meter>
      <p class="soft small number">${number(times.runs)} runs${times.p95_ms === null ? ""
        : `, 95 % within ${number(times.p95_ms, 1)} ms`}${times.skipped ? `, ${number(times.skipped)} skipped` : ""}${
        times.failed ? `, ${number(times.failed)} failed` : ""}${node.actions.length
        ? ` · then ${[...new Set(node.actions)].join(", ")}` : ""}</p>
      ${times.newest ? html`<p class="small">${times.newest.outcome}${
        outcome === "ran" ? " " : ": "}${times.newest.reason}${times.newest.result
        ? html`: <strong>${times.newest.result}</strong>` : ""}</p>` : null}
    </div>
    ${node.branches.length ? html`<ul>${node.branches.map(branch => html`
      <${Node} key=${branch.id} node=${branch} slowest=${slowest} />`)}</ul>` : null}
  </li>`;
}
