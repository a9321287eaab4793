/** Small parts that several views use. */

import { html, useEffect, useRef, useState } from "./preact.js";

export const Badge = ({ tone, title, children }) => html`<span class="badge" data-tone=${tone} title=${title}>
  ${children}</span>`;

export const Empty = ({ title, children }) => html`<div class="empty"><strong>${title}</strong>${children}
  </div>`;

/** A fill level with its words; `max` null: of how much is not known. */
export function Level({ label, value, max = 100, words, id }) {
  return html`<div class="level"><div class="row small"><span id=${id}>${label}</span><span class="number">
    ${words}</span></div>
    ${max !== null && html`<meter aria-labelledby=${id} min="0" max=${max} low=${max * 0.8} high=${max * 0.95}
      optimum="0"
      value=${Math.min(value ?? 0, max)}>${words}</meter>`}</div>`;
}

let dialogs = 0;

/** A native dialog: the keyboard stays in it, Escape closes it. */
export function Dialog({ title, narrow, onClose, children }) {
  const element = useRef(null);
  const [id] = useState(() => `dialog-${(dialogs += 1)}`);
  useEffect(() => {
    const opened = element.current;
    opened.showModal();
    return () => opened.open && opened.close();
  }, []);
  return html`<dialog ref=${element} class=${narrow ? "narrow" : ""} aria-labelledby=${id} onClose=${onClose}>
    <div class="stack"><div class="row"><h2 id=${id}>${title}</h2>
      <button type="button" class="quiet small push" onClick=${() => element.current.close()}>Close</button>
        </div>
    ${children}</div></dialog>`;
}

/** Asks before something is ended that cannot be taken back. */
export function Confirm({ title, text, button, act, onClose }) {
  return html`<${Dialog} title=${title} narrow onClose=${onClose}><p>${text}</p>
    <div class="row"><button type="button" class="danger push" onClick=${() => { onClose(); act(); }}>${button}
      </button></div>
  <//>`;
}

export const Notice = ({ tone, role, children }) => html`<div class="notice" data-tone=${tone} role=${role}>
  ${children}</div>`;

/** A labelled field; what is wrong with it is told by the form. */
export function Field({ name, label, hint, wide, wrong, children, ...input }) {
  const id = `field-${name}`;
  const described = hint ? `${id}-hint` : undefined;
  return html`<div class=${wide ? "field wide" : "field"}><label for=${id}>${label}</label>
    ${children ?? html`<input id=${id} name=${name} aria-describedby=${described}
      aria-invalid=${wrong ? "true" : undefined}
      autocomplete="off" spellcheck=${false} ...${input} />`}
    ${hint && html`<small id=${described}>${hint}</small>`}</div>`;
}

/** A form in a dialog: `submit(values)` throws Refused, whose words are told beside the fields. */
export function DialogForm({ title, button, names, submit, onClose, children }) {
  const [refused, setRefused] = useState(null);
  const [busy, setBusy] = useState(false);
  async function send(event) {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    setRefused(null);
    try {
      await submit(values);
      onClose();
    } catch (error) {
      setRefused(error.message);
      setBusy(false);
    }
  }
  const wrong = (name) => refused !== null && (names[name] ?? [name]).some((word) => refused.includes(word));
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form class="stack" onSubmit=${send}>${children(wrong)}
      ${refused !== null && html`<${Notice} tone="bad" role="alert">${refused}<//>`}
      <div class="row"><button class="primary push" disabled=${busy}>${busy ? "One moment…" : button}</button>
        </div></form><//>`;
}
