"""The secrets that the worker is opened with: what a token may look like, and tokens kept in files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

from siwatsystem.errors import InvalidSetting

KEYS = ("control_token", "view_token")
_MOST = 4096


def _usable(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not 0 < len(text) <= _MOST or not all("!" <= letter <= "~" for letter in text):
        # An empty one would open everything to an empty answer; no header carries the others as they are.
        raise PydanticCustomError("token", "should be 1 to 4096 printable ASCII characters without blanks")
    return token


Token = Annotated[SecretStr, AfterValidator(_usable)]
"""What `Authorization: Bearer` can carry."""


def from_files(values: Any) -> Any:
    """Settings in which each `…_token_file` has become the token in it (a Docker or Kubernetes secret).

    Raises InvalidSetting: a file that cannot be read, a token given twice, one token for both roles.
    """
    if not isinstance(values, Mapping):
        return values
    found: dict[str, Any] = dict(values)  # pyright: ignore[reportUnknownArgumentType]
    for key in KEYS:
        path = found.get(f"{key}_file")
        if path is None:
            continue
        if found.get(key) is not None:
            raise InvalidSetting(f"{key} and {key}_file are both set: one of them is enough")
        try:
            found[key] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not text"
            raise InvalidSetting(f"{key}_file = {str(path)!r}: cannot be read ({reason})") from None
    control, view = (found.get(key) for key in KEYS)
    if control is not None and _text(control) == _text(view):
        raise InvalidSetting("view_token: must differ from control_token, or who may look may command")
    return found


def _text(token: object) -> object:
    return token.get_secret_value() if isinstance(token, SecretStr) else token
