/** The form that starts an analysis: a folder of videos, files, or a live stream. */

import { post } from "./api.js";
import { DialogForm, Field } from "./parts.js";
import { html, useState } from "./preact.js";
import { base } from "./words.js";

const SOURCES = { folder: "A folder of videos", files: "Files", stream: "A live stream" };
/** Words by which a refusal names a field. */
const NAMES = {
  path: ["path", "folder", "video", "there"], files: ["files", "video", "there"], camera_id: ["camera_id"],
  output_dir: ["output_dir"], stream_id: ["stream_id", "stream "], name: ["name:"],
};

/** `instance`: the app to begin with, or null. */
export function Analyse({ known, instance, onStarted, onClose }) {
  const [source, setSource] = useState("folder");
  const [camera] = useState(() => nextCamera(known));
  const apps = [...known.apps.values()].filter(
    (app) => app.state === "running" || app.instance_id === instance);
  async function submit(values) {
    const body = {
      camera_id: Number(values.camera_id),
      name: values.name.trim(),
      output_dir: (values.output_dir ?? "").trim(),
      instance_id: values.instance_id || null,
      stream_id: values.stream_id ? Number(values.stream_id) : null,
      resume: values.resume === "on",
    };
    onStarted(await post("analysis/start", { ...body, ...sourceOf(source, values) }));
  }
  return html`<${DialogForm} title="Start an analysis" button="Start" names=${NAMES} submit=${submit}
    onClose=${onClose}>${(wrong) => html`
    <div class="row" role="radiogroup" aria-label="What is analysed">
      ${Object.entries(SOURCES).map(([key, word]) => html`
      <label class="check" key=${key}><input type="radio" name="source" value=${key} checked=${source === key}
        onChange=${() => setSource(key)} />${word}</label>`)}</div>
    <div class="fields">
      ${source === "folder" && html`<${Field} key="folder" name="path" label="Folder" wide required
        wrong=${wrong("path")} maxlength="4096"
        placeholder="/videos/gate" hint="On the server; its videos are analysed in name order" />`}
      ${source === "files" && html`<${Field} key="files" name="files" label="Files" wide
        hint="On the server, one path a line">
        <textarea id="field-files" name="files" required rows="4" spellcheck=${false}
          aria-describedby="field-files-hint"
          aria-invalid=${wrong("files") ? "true" : undefined} placeholder="/videos/gate/a.mp4"></textarea><//>`}
      ${source === "stream" && html`<${Field} key="stream" name="path" label="Address" wide required
        wrong=${wrong("path")} maxlength="4096"
        placeholder="rtsp://camera/stream" hint="For apps that take live streams" />`}
      <${Field} name="name" label="Name" maxlength="256" wrong=${wrong("name")} placeholder="Gate"
        hint="For people; may be empty" />
      <${Field} name="camera_id" label="Camera number" type="number" required wrong=${wrong("camera_id")}
        defaultValue=${camera}
        hint="Your own number for it" />
      <${Field} name="output_dir" label="Results" wide
        wrong=${wrong("output_dir")} maxlength="4096" placeholder="/results/gate"
        hint=${`A folder on the server; ${source === "stream" ? "its lines are written there"
          : "a file of lines for each video"}`} />
      <${Field} name="instance_id" label="App" hint="Any: the slot with the least to do">
        <select id="field-instance_id" name="instance_id" aria-describedby="field-instance_id-hint">
          <option value="">any</option>${apps.map((app) => html`<option key=${app.instance_id}
            value=${app.instance_id}
            selected=${app.instance_id === instance}>${app.instance_id}</option>`)}</select><//>
      <${Field} name="stream_id" label="Slot" type="number" min="0" max="255" wrong=${wrong("stream_id")}
        hint="Empty: any of the app" />
    </div>
    ${source !== "stream" && html`<label class="check"><input type="checkbox" name="resume" />
      After a crash go on with a file where it was</label>`}`}<//>`;
}

/** `type`, `path` and `files` of the request. */
function sourceOf(source, values) {
  if (source === "stream") return { type: "videostream", path: values.path.trim() };
  if (source === "folder") return { type: "fileset", path: values.path.trim() };
  const paths = values.files.split("\n").map((line) => line.trim()).filter(Boolean);
  if (paths.length === 1) return { type: "file", path: paths[0] };
  const files = paths.map((path, at) => ({ file_id: at + 1, file_path: path, file_name: base(path) }));
  return { type: "fileset", path: paths[0].slice(0, paths[0].lastIndexOf("/")) || "/", files };
}

function nextCamera(known) {
  let most = 0;
  for (const request of known.requests.values()) most = Math.max(most, request.camera_id);
  return Math.min(most, Number.MAX_SAFE_INTEGER - 1) + 1;
}
