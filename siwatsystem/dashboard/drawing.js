// Boxes, zones and track ids over a picture, as SVG on top of it.
import { html } from "./preact.js";
import { colourOf } from "./format.js";
import { labels, lettersOf } from "./labels.js";

/** `seen`: `{size: [width, height], boxes}`; `across`: about how many letters fit into the width; `brief`:
    whether the picture is too small for all that is known. */
export function Drawing({ seen, zones = [], across = 58, brief = false }) {
  if (!seen?.size) return null;
  const [width, height] = seen.size, letters = lettersOf(width, across);
  const thin = seen.boxes.filter(box => !box.event), thick = seen.boxes.filter(box => box.event);
  return html`<svg class="drawing" viewBox="0 0 ${width} ${height}" aria-hidden="true">
    ${zones.map(zone => html`<polygon class="zone" points=${zone.map(corner => corner.join(",")).join(" ")} />`)}
    ${[...thin, ...thick].map(box => html`<${Box} box=${box} />`)}
    ${labels(seen.boxes, { width, height, letters, brief }).map(label => html`
      <${Label} label=${label} letters=${letters} />`)}
  </svg>`;
}

const classOf = box => `box ${colourOf(box.class)} ${box.event ? "event" : "part"}`;

function Box({ box }) {
  const [x1, y1, x2, y2] = box.box;
  return html`<g class=${classOf(box)}><rect x=${x1} y=${y1} width=${x2 - x1} height=${y2 - y1} /></g>`;
}

function Label({ label, letters }) {
  const { box, lines, left, top, wide, high } = label, line = high / lines.length;
  return html`<g class=${`${classOf(box)} label`}>
    <rect class="tag" x=${left} y=${top} width=${wide} height=${high} rx=${0.2 * letters} />
    ${lines.map((text, place) => html`<text x=${left + 0.4 * letters} y=${top + (place + 0.76) * line}
      font-size=${letters}>${text}</text>`)}
  </g>`;
}
