"""What mkdocs asks while it builds the site: pages from outside docs/, generated ones, links between them.

On the disk a page links to another as `../worker.md` or `docs/settings.md`, so that the links work where the
files lie; in the site all pages lie in one folder. A link to a file that is no page (a module, a licence)
keeps its text and loses its target.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from docs.site import reference  # noqa: E402

OUTSIDE = {
    "README.md": "index.md",
    "worker.md": "worker.md",
    "pympta.md": "pympta.md",
    "deepstream.md": "deepstream.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
}
"""Pages by their place in the repository, and what they are called in the site."""
GENERATED = {
    "reference/worker-messages.md": reference.worker_messages,
    "reference/control-messages.md": reference.control_messages,
    "reference/archive.md": reference.archive,
    "reference/worker-rest.md": reference.worker_rest,
    "reference/control-rest.md": reference.control_rest,
}
_LINK = re.compile(r"(?<!\\)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCED = re.compile(r"(```.*?```)", re.DOTALL)
_AGAIN = re.compile(r"-(\d+)$")


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that do not lie in docs/."""
    from mkdocs.structure.files import File

    for place, name in OUTSIDE.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    for name, make in GENERATED.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    name = page.file.src_uri
    places = {site: place for place, site in OUTSIDE.items()}
    place = places.get(name, f"docs/{name}")
    parts = _FENCED.split(markdown)
    # Every second part is code.
    parts[::2] = [_LINK.sub(lambda found: _link(found, place, name, files), part) for part in parts[::2]]
    return "".join(parts)


def _link(found: re.Match[str], place: str, name: str, files: Any) -> str:
    mark, text, target = found.groups()
    path, hash_mark, anchor = target.partition("#")
    if re.match(r"[a-z]+:", target):
        return found[0]
    # The second heading of a name: `name-1` where the files lie, `name_1` here.
    anchor = _AGAIN.sub(r"_\1", anchor)
    if not path:
        return f"{mark}[{text}](#{anchor})"
    there = posixpath.normpath(posixpath.join(posixpath.dirname(place), path))
    inside = OUTSIDE.get(there) or there.removeprefix("docs/")
    if (there in OUTSIDE or there.startswith("docs/")) and files.get_file_from_path(inside):
        return (
            f"{mark}[{text}]({posixpath.relpath(inside, posixpath.dirname(name) or '.')}{hash_mark}{anchor})"
        )
    if not (ROOT / there).exists():
        return found[0]  # leads nowhere: mkdocs says so
    return text
