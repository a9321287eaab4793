// The token, once: it is traded for a cookie that scripts cannot read.
import { html, useRef, useState } from "./preact.js";
import { loggedIn, logIn } from "./api.js";

const ANEW = "The login has ended: the worker was started anew, it was not used for long, or another page has"
  + " logged out. Log in again.";

/** `done()` when logged in; `control`: whether looking is allowed already, and more is asked for. */
export function Login({ done, control = false }) {
  const field = useRef(null), [refused, setRefused] = useState("");
  const submit = async event => {
    event.preventDefault();
    const token = field.current.value;
    field.current.value = "";
    try {
      await logIn(token);
      setRefused("");
      done();
    } catch (error) {
      setRefused(error.message);
      field.current.focus();
    }
  };
  return html`<form class="card login stack" onSubmit=${submit}>
    ${loggedIn() && !control ? html`<p>${ANEW}</p>` : null}
    <label for="token">${control ? "This needs the control token" : "This worker asks for a token"}</label>
    <input type="text" name="username" autocomplete="username" value="operator" hidden />
    <input id="token" type="password" autocomplete="current-password" required ref=${field} />
    <p class="problem" role="alert">${refused}</p>
    <div class="row"><button class="primary">Log in</button></div>
    <p class="soft small">The operator of this worker has it: it is the setting ${control ? null
      : html`<code>view_token</code> (to look) or${" "}`}<code>control_token</code> (to test cameras and pictures${
      control ? "" : " too"}).</p>
  </form>`;
}
