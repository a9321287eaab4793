// What is written beside boxes, and where: inside the picture, no label on another one.
import { percent } from "./format.js";

const LETTER = 0.62, LINE = 1.35; // width of a letter and height of a line, of a letter's height

/** How high letters are where about `across` of them fit into `width`. */
export const lettersOf = (width, across) => width / (across * LETTER);

/** `Car #3 93 %` */
export function labelOf(box) {
  return `${nameOf(box)} ${percent(box.confidence)}`;
}

const nameOf = box => `${box.class}${numberOf(box) && ` ${numberOf(box)}`}`;
const numberOf = box => (box.track === null ? "" : `#${box.track}`);

/** Lines of a box's label, the one that says most first; `brief`: on a picture that is small. */
function wordings(box, brief) {
  const words = box.words.join(" · "), least = [numberOf(box) || box.class];
  if (brief) return [words ? [`${numberOf(box)} ${words}`.trim()] : [nameOf(box)], least];
  return [...(words ? [[labelOf(box), words]] : []), [labelOf(box)], least];
}

/** A label for each box that has one and for which there is room: `{box, lines, left, top, wide, high}`.
    The order of `boxes` does not matter, which changes from frame to frame. */
export function labels(boxes, { width, height, letters, brief = false }) {
  const placed = [];
  const first = (one, other) => other.event - one.event || (one.track ?? Infinity) - (other.track ?? Infinity)
    || one.box[0] - other.box[0] || one.box[1] - other.box[1];
  for (const box of boxes.filter(one => one.event || one.track !== null).sort(first)) {
    const found = wordings(box, brief).flatMap(lines => places(box, sized(lines, letters), width, height))
      .find(place => !placed.some(other => overlap(place, other)));
    if (found) placed.push({ box, ...found });
  }
  return placed;
}

const sized = (lines, letters) => ({
  lines, high: lines.length * LINE * letters,
  wide: (Math.max(...lines.map(line => line.length)) * LETTER + 0.8) * letters });

/** Above the box, at its upper edge, below it, at its lower edge: from its left, or up to its right. */
function places(box, label, width, height) {
  const [x1, y1, x2, y2] = box.box, { wide, high } = label;
  const inside = left => Math.max(0, Math.min(left, width - wide));
  return [y1 - high, y1, y2, y2 - high]
    .flatMap(top => [inside(x1), inside(x2 - wide)].map(left => ({ ...label, left, top })))
    .filter(place => place.top >= 0 && place.top + high <= height);
}

const overlap = (one, other) => one.left < other.left + other.wide && other.left < one.left + one.wide
  && one.top < other.top + other.high && other.top < one.top + one.high;
