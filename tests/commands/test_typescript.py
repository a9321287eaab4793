"""The TypeScript definitions: as the models are, and what `tsc` makes of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from siwatsystem.asyncapi import FROM_WORKER, TO_WORKER
from siwatsystem.commands.typescript import _type, definitions
from siwatsystem.errors import ERROR_CODES

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docs" / "messages.d.ts"
USE = """
import type { FromWorker, ToWorker, Subscribe, ErrorMessage } from "./messages";

const subscribe: Subscribe = {
  type: "subscribe",
  payload: {
    subscriptionIdentifier: "display-001;cam-001",
    rtspUrl: "rtsp://camera/1",
    modelUrl: "https://models.example/cars.mpta",
    modelName: "Cars",
    modelId: 101,
  },
};
const leave: ToWorker = { type: "setSessionId", payload: { displayIdentifier: "d", sessionId: null } };

export function seen(message: FromWorker): string | number {
  switch (message.type) {
    case "stateReport":
      return message.cameraConnections.filter((one) => one.online).length;
    case "imageDetection":
      return String(message.data.detection["carBrand"]);
    case "patchSession":
      return message.data.currentCar.carYear ?? 0;
    case "patchSessionResult":
      return message.payload.success ? "merged" : (message.payload.message ?? "");
    case "error": {
      const code: ErrorMessage["code"] = message.code;
      return code;
    }
    default: {
      const never: never = message;
      return never;
    }
  }
}
console.log(subscribe, leave);
"""
WRONG = {
    "no payload": 'const a: ToWorker = { type: "subscribe" };',
    "unknown type": 'const a: ToWorker = { type: "dance" };',
    "wrong kind": 'const a: ToWorker = { type: "unsubscribe", payload: { subscriptionIdentifier: 5 } };',
    "unknown code": 'const a: FromWorker = { type: "error", error: "", code: "tired" };',
    "missing usage": 'const a: FromWorker = { type: "stateReport", cpuUsage: 1, cameraConnections: [] };',
}


def test_the_file_is_what_the_models_give():
    assert FILE.read_text(encoding="utf-8") == definitions(), "run `make docs`"


def test_every_message_of_both_directions_is_there():
    text = definitions()
    for model in (*TO_WORKER, *FROM_WORKER):
        found = re.search(rf"export interface {model.__name__} {{(.*?)^}}", text, re.DOTALL | re.MULTILINE)
        assert found is not None
        kind = model.model_fields["type"].default
        assert f'  type: "{kind}";' in found[1]
    assert all(f'"{code}"' in text for code in ERROR_CODES)
    assert "legacy" not in text


def test_a_schema_of_a_new_form_is_not_passed_over():
    with pytest.raises(ValueError, match="no TypeScript"):
        _type({"oneOf": []})


def compiler() -> str:
    """`tsc`, from npm: in the path, or where `npm install typescript` put it."""
    found = shutil.which("tsc") or shutil.which("tsc", path=str(ROOT / "node_modules" / ".bin"))
    if found is None:
        pytest.skip("TypeScript is not installed (npm install typescript)")
    return found


def compiled(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "messages.d.ts").write_text(definitions(), encoding="utf-8")
    (folder / "use.ts").write_text(text, encoding="utf-8")
    command = [compiler(), "--strict", "--noEmit", "--target", "es2022", "--module", "es2022", "use.ts"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110)


def test_a_program_that_uses_them_compiles(tmp_path: Path):
    done = compiled(tmp_path, USE.replace("console.log(subscribe, leave);", "export { subscribe, leave };"))
    assert done.returncode == 0, done.stdout


def test_what_is_wrong_does_not(tmp_path: Path):
    head = 'import type { FromWorker, ToWorker } from "./messages";\n'
    lines = [f"export {line.replace('const a', f'const a{n}')}" for n, line in enumerate(WRONG.values())]
    done = compiled(tmp_path, head + "\n".join(lines) + "\n")
    assert done.returncode != 0
    complaints = {int(line) for line in re.findall(r"^use\.ts\((\d+),", done.stdout, re.MULTILINE)}
    assert complaints == set(range(2, 2 + len(WRONG))), done.stdout
