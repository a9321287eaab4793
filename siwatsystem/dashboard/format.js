// Numbers, times and names as people read them.

/** `display;camera` in two parts. */
export function nameOf(id) {
  const cut = id.indexOf(";");
  return cut < 0 ? { camera: id, display: "" } : { camera: id.slice(cut + 1), display: id.slice(0, cut) };
}

/** Both parts, the camera first, in one text. */
export function wholeNameOf(id) {
  const { camera, display } = nameOf(id);
  return display ? `${camera} · ${display}` : camera;
}

export const linkTo = id => `#/camera/${encodeURIComponent(id)}`;

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en", {
    minimumFractionDigits: digits, maximumFractionDigits: digits });

const GAP = "\u00a0"; // no line ends between a number and its unit

/** Seconds as an age: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 days`. */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)}${GAP}s`;
  if (seconds < 100) return `${Math.round(seconds)}${GAP}s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}${GAP}min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)}${GAP}h`;
  return `${Math.round(seconds / 86_400)}${GAP}days`;
}

/** Frames a second. */
export const rate = value => (value === null || value === undefined ? "–" : `${value.toFixed(1)}/s`);

/** Seconds since 1970 as the time of day. */
export const clock = seconds => new Date(1000 * seconds).toLocaleTimeString("en-GB");

/** The same, with the day where it is not today. */
export function moment(seconds) {
  const at = new Date(1000 * seconds);
  return at.toDateString() === new Date().toDateString() ? clock(seconds) : at.toLocaleString("en-GB", {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

export function bytes(count) {
  if (count < 1e6) return `${number(count / 1e3)} kB`;
  return count < 1e9 ? `${number(count / 1e6)} MB` : `${number(count / 1e9, 1)} GB`;
}

export const percent = value => (value === null || value === undefined ? "–" : `${Math.round(100 * value)} %`);

/** A class always has the same of six colours. */
export function colourOf(name) {
  let sum = 7;
  for (const letter of name) sum = (31 * sum + letter.codePointAt(0)) % 65_521;
  return `c${sum % 6}`;
}
