/** One request with its files, live while it is looked at. */

import { ask, part } from "./api.js";
import { Badge, Dialog, Notice } from "./parts.js";
import { html, useEffect, useState } from "./preact.js";
import { whole } from "./words.js";

const PAGE = 100;
const TONES = { processing: "accent", done: "good", failed: "bad", cancelled: "warn" };

export function RequestFiles({ known, request, onClose }) {
  const [offset, setOffset] = useState(0);
  const [files, setFiles] = useState(null);
  const [refused, setRefused] = useState(null);
  const now = known.requests.get(request.request_id) ?? request;
  useEffect(() => {
    known.watched = request.request_id;
    known.files.clear();
    let wanted = true;
    ask(`requests/${part(request.request_id)}`, { query: { limit: PAGE, offset } }).then(
      (found) => wanted && setFiles(found.file_list), (error) => wanted && setRefused(error.message));
    return () => {
      wanted = false;
      known.watched = null;
    };
  }, [request.request_id, offset, known.snapshots, known.lists]);
  const { total } = now.files;
  return html`<${Dialog} title=${now.name || `Camera ${now.camera_id}`} onClose=${onClose}>
    <dl class="facts"><dt>Request</dt><dd class="mono">${now.request_id}</dd><dt>State</dt><dd>
      ${now.state}${now.reason ? `: ${now.reason}` : ""}</dd>
      <dt>${now.type === "fileset" ? "Folder" : "Video"}</dt><dd class="mono">${now.path}</dd>
      ${now.output_dir && html`<dt>Results</dt><dd class="mono">${now.output_dir}</dd>`}</dl>
    ${refused && html`<${Notice} tone="bad" role="alert">${refused}<//>`}
    ${files === null && !refused && html`<p class="soft">Loading…</p>`}
    ${files?.length === 0 && html`<p class="soft">It has no files.</p>`}
    ${files?.length > 0 && html`<table class="folds"><thead><tr><th>File</th><th>State</th><th
      class="number">Frames</th>
      <th class="number">Detections</th><th>Result</th></tr></thead><tbody>${files.map((file) => html`<${File}
        key=${file.file_id}
      file=${known.files.get(file.file_id) ?? file} />`)}</tbody></table>`}
    ${total > PAGE && html`<div class="row"><button type="button" class="small" disabled=${offset === 0}
        onClick=${() => setOffset(Math.max(0, offset - PAGE))}>Before</button>
      <span class="number soft">
        ${whole(offset + 1)} to ${whole(Math.min(total, offset + PAGE))} of ${whole(total)}</span>
      <button type="button" class="small" disabled=${offset + PAGE >= total}
        onClick=${() => setOffset(offset + PAGE)}>After</button></div>`}<//>`;
}

const File = ({ file }) => html`<tr><td>${file.file_name || file.file_path}</td>
  <td data-label="State"><${Badge} tone=${TONES[file.state]}>${file.state}<//></td>
  <td data-label="Frames" class="number">${file.frames ?? ""}</td><td data-label="Detections" class="number">
    ${file.detections ?? ""}</td>
  <td data-label="Result">${file.error ? html`<span class="problem">${file.error}</span>` : html`<span
    class="mono">${file.processed_file ?? ""}</span>`}</td></tr>`;
