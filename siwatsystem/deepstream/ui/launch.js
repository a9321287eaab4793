/** The form that launches an app. */

import { post } from "./api.js";
import { DialogForm, Field } from "./parts.js";
import { html } from "./preact.js";

const LAST = "launchedConfig";
/** Words by which a refusal names a field. */
const NAMES = {
  config_path: ["config_path", "config_folders", "config"],
  streams_count: ["streams_count", "slots"],
  gpu_allocated: ["gpu_allocated", "GPU"],
  instance_id: ["instance_id", "lives"],
  docker_container: ["docker_container", "container", "control.docker"],
  additional_args: ["additional_args"],
};

/** `again`: the app whose values the form begins with. */
export function Launch({ again, onLaunched, onClose }) {
  async function submit(values) {
    await post("launch", {
      config_path: values.config_path.trim(),
      streams_count: values.streams_count ? Number(values.streams_count) : null,
      gpu_allocated: numbers(values.gpu_allocated),
      instance_id: values.instance_id.trim() || null,
      docker_container: values.docker_container.trim() || null,
      additional_args: words(values.additional_args),
    });
    remember(values.config_path.trim());
    onLaunched();
  }
  return html`<${DialogForm} title="Launch an app" button="Launch" names=${NAMES} submit=${submit}
    onClose=${onClose}>${(wrong) => html`
    <div class="fields">
      <${Field} name="config_path" label="Config" wide required wrong=${wrong("config_path")} maxlength="4096"
        defaultValue=${again?.config_path ?? remembered() ?? ""} placeholder="/configs/cars.toml"
        hint="A file on the server, below one of control.config_folders" />
      <${Field} name="streams_count" label="Slots" type="number" min="1" max="256"
        wrong=${wrong("streams_count")}
        defaultValue=${again?.streams_count ?? ""} hint="Videos side by side; empty: as the config says" />
      <${Field} name="gpu_allocated" label="GPUs" wrong=${wrong("gpu_allocated")} pattern="[0-9, ]*"
        defaultValue=${again?.gpu_allocated?.join(", ") ?? ""} hint="Numbers, as 0, 1; empty: none of its own" />
      <${Field} name="instance_id" label="Instance id" wrong=${wrong("instance_id")} maxlength="128"
        pattern="[A-Za-z0-9][A-Za-z0-9_.\\-]*" defaultValue=${again?.instance_id ?? ""} hint="Its name; empty: made up" />
      <${Field} name="docker_container" label="Container" wrong=${wrong("docker_container")} maxlength="128"
        defaultValue=${again?.docker_container ?? ""}
        hint="A running one; empty: a process of this machine" />
      <${Field} name="additional_args" label="Additional arguments" wide wrong=${wrong("additional_args")}
        defaultValue=${again?.additional_args?.join(" ") ?? ""}
        hint="Separated by blanks, as --verbose; control.additional_args says which" />
    </div>`}<//>`;
}

/** Browsers may forbid to keep anything. */
function remember(path) {
  try {
    localStorage.setItem(LAST, path);
  } catch { /* then the form begins empty */ }
}

function remembered() {
  try {
    return localStorage.getItem(LAST);
  } catch {
    return null;
  }
}

const words = (text) => text.split(/\s+/).filter(Boolean);
const numbers = (text) => text.split(/[\s,]+/).filter(Boolean).map(Number);
