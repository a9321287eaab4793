/** Numbers, times and paths for people. */

export const whole = (value) => Math.round(value).toLocaleString("en");

export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} %`);

export const speed = (value) => (value === null || value === undefined ? "" : `${value.toFixed(1)} fps`);

export function memory(mb) {
  if (mb === null || mb === undefined) return "–";
  return mb >= 1024 ? `${(mb / 1024).toFixed(1)} GB` : `${Math.round(mb)} MB`;
}

export const count = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;

export const base = (path) => path.replace(/\/+$/, "").split("/").at(-1) || path;

/** "12 s", "4 min", "2 h 5 min" between two moments. */
export function span(from, to = new Date()) {
  const seconds = Math.max(0, Math.round((new Date(to) - new Date(from)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return count(Math.floor(seconds / 86_400), "day");
}

export const clock = (moment) => new Date(moment).toLocaleTimeString("en-GB");
