"""Pages of the repository that are not in docs/ become pages of the site, and links between them stay links."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]

#: Where a page of the repository is on the site.
PAGES = {
    "README.md": "quick-start.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "example_project/README.md": "example.md",
}
SOURCES = {page: source for source, page in PAGES.items()}

_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links right that are written for the repository."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def rewritten(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        on_site = PAGES.get(target, target[len("docs/") :] if target.startswith("docs/") else target)
        return f"]({posixpath.relpath(on_site, posixpath.dirname(here) or '.')}{link[2] or ''})"

    return _LINK.sub(rewritten, markdown)
