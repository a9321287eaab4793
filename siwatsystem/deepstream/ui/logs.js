/** What an app wrote to stdout and stderr: the newest page follows, older ones stay. */

import { ask, part } from "./api.js";
import { Dialog, Notice } from "./parts.js";
import { html, useEffect, useRef, useState } from "./preact.js";

const PAGE = 200;
const AGAIN_MS = 2000;

export function Logs({ instance, onClose }) {
  const [skip, setSkip] = useState(0);
  const [text, setText] = useState(null);
  const [refused, setRefused] = useState(null);
  const box = useRef(null);
  useEffect(() => {
    let wanted = true;
    let timer = null;
    const look = async () => {
      try {
        const { process_id } = await ask(`processes/by-instance/${part(instance)}`);
        const found = await ask(`processes/${part(process_id)}/logs`, { query: { lines: PAGE, skip } });
        if (!wanted) return;
        setText(found.log_content);
        setRefused(null);
      } catch (error) {
        if (wanted) setRefused(error.message);
      }
      if (wanted && skip === 0) timer = setTimeout(look, AGAIN_MS);
    };
    look();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [instance, skip]);
  const follows = useRef(true);
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  const atEnd = ({ target: { scrollHeight, scrollTop, clientHeight } }) => {
    follows.current = scrollHeight - scrollTop - clientHeight < 40;
  };
  const full = (text?.split("\n").length ?? 0) > PAGE;
  return html`<${Dialog} title=${`Log of ${instance}`} onClose=${onClose}>
    ${refused && html`<${Notice} tone="bad" role="alert">${refused}<//>`}
    ${text === "" && html`<p class="soft">${skip ? "There are no older lines." : "It has written nothing yet."}
      </p>`}
    ${text && html`<pre class="log" ref=${box} tabindex="0" aria-label=${`Log of ${instance}`}
      onScroll=${atEnd}>${text}</pre>`}
    <div class="row"><button type="button" class="small" disabled=${!full}
      onClick=${() => setSkip(skip + PAGE)}>Older lines</button>
      <button type="button" class="small" disabled=${skip === 0}
        onClick=${() => setSkip(Math.max(0, skip - PAGE))}>Newer lines</button>
      <span class="soft small push">
        ${skip === 0 ? "the newest lines, followed" : `before the newest ${skip} lines`}</span></div><//>`;
}
