"""What may be launched, and the argument list that comes of it. What came over the network is checked here.

A command line is a list that this server makes; a client's text is at most one whole argument of it, and
no shell reads any of it.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from posixpath import normpath

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream.admission import Refused
from siwatsystem.deepstream.apps import Spec

_OWN = (sys.executable, "-m", "siwatsystem", "analyze")
_FIELD = re.compile(r"\{(config|streams|server|instance)\}")


class Allowed:
    """The settings' answer to a launch. `server_url`: what the apps connect to."""

    def __init__(self, settings: ControlSettings, server_url: str) -> None:
        self._settings = settings
        self._server_url = server_url
        self._patterns = [re.compile(pattern) for pattern in settings.additional_args]

    def refused(self, spec: Spec) -> Refused | None:
        """Why this must not be launched; looks at the disk.

        403 for what a setting does not allow, 404 for a config that is not there, 422 for what is none.
        """
        if spec.docker_container is None:
            refused = self._config(spec.config_path)
        else:
            refused = self._container(spec.docker_container) or self._config_inside(spec)
        return refused or self._additional(spec.additional_args)

    def arguments(self, instance_id: str, spec: Spec) -> list[str]:
        """The argument list of an app that is not refused."""
        inside = spec.docker_container is not None
        programs = self._settings.container_programs if inside else self._settings.programs
        template = _program(programs, spec.config_path)
        if template is None:
            # Of an option that is given twice the last counts: ours.
            own = ["--server", self._server_url, "--config", spec.config_path]
            streams = [] if spec.streams_count is None else ["--streams", str(spec.streams_count)]
            return [*_OWN, *spec.additional_args, *own, *streams]
        values = {
            "config": spec.config_path,
            "streams": str(spec.streams_count or 1),
            "server": self._server_url,
            "instance": instance_id,
        }
        filled = [_FIELD.sub(lambda found: values[found[1]], part) for part in template]
        return [*filled, *spec.additional_args]

    def _config(self, path: str) -> Refused | None:
        if not self._settings.config_folders:
            return Refused(403, "no app may be launched: control.config_folders names no folder")
        if path.startswith("-"):
            return Refused(422, "config_path: must not begin with a dash")
        try:
            real = Path(path).resolve()
            folders = [folder.resolve() for folder in self._settings.config_folders]
            if not any(real.is_relative_to(folder) for folder in folders):
                return Refused(403, f"config_path: {path} is not below a folder of control.config_folders")
            if not real.exists():
                return Refused(404, f"config_path: there is no {path}")
            if not real.is_file():
                return Refused(422, f"config_path: {path} is not a file")
            with real.open("rb"):
                return None
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a usable path"
            return Refused(422, f"config_path: {path} cannot be read ({reason})")

    def _container(self, name: str) -> Refused | None:
        if not self._settings.docker:
            return Refused(403, "docker_container: control.docker does not allow containers")
        if not any(fnmatchcase(name, pattern) for pattern in self._settings.docker_containers):
            return Refused(403, f"docker_container: control.docker_containers does not allow {name}")
        return None

    def _config_inside(self, spec: Spec) -> Refused | None:
        """Inside a container only the text of a path can be judged."""
        path = PurePosixPath(spec.config_path)
        if not path.is_absolute() or str(path) != normpath(spec.config_path):
            return Refused(422, "config_path: must be absolute and plain inside a container")
        folders = self._settings.config_folders
        if not any(path.is_relative_to(folder) for folder in folders):
            return Refused(403, f"config_path: {path} is not below a folder of control.config_folders")
        if _program(self._settings.container_programs, spec.config_path) is None:
            return Refused(403, f"control.container_programs names no program for {path.name}")
        return None

    def _additional(self, arguments: Sequence[str]) -> Refused | None:
        for argument in arguments:
            known = any(pattern.fullmatch(argument) for pattern in self._patterns)
            if not known or argument == "--" or "\0" in argument:
                return Refused(
                    403, f"additional_args: control.additional_args does not allow {argument[:100]}"
                )
        return None


def _program(programs: Mapping[str, Sequence[str]], config_path: str) -> Sequence[str] | None:
    """The first whose pattern the config's name matches."""
    name = PurePosixPath(config_path).name
    found = (program for pattern, program in programs.items() if program and fnmatchcase(name, pattern))
    return next(found, None)
