"""A hook of MkDocs: pages from outside docs/, and the reference, which is made from the docstrings.

Links between all pages are relative to the repository, so that they also work where it is browsed as files.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import tfalexnet

ROOT = Path(__file__).parents[1]
START = {"README.md": "index.md"}  # The name of a page on the site, where it is another one.
PAGES = ("README.md", "CHANGES.md", "CONTRIBUTING.md", "SECURITY.md")
FOLDERS = ("examples", "benchmarks")  # Their pages and pictures are added.
SHOWN = (".md", ".png")
LINK = re.compile(r"(?<=\]\()([^):#\s]+)|(?<=src=\")([^\":]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository and the reference."""
    paths = [ROOT / page for page in PAGES if (ROOT / page).exists()]
    paths += [path for folder in FOLDERS for path in (ROOT / folder).iterdir() if path.suffix in SHOWN]
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, START.get(name, name), content=path.read_bytes()))
    names = [name for name in tfalexnet.__all__ if callable(getattr(tfalexnet, name))]
    names += [f"figures.{name}" for name in tfalexnet.figures.__all__]
    reference = "# Reference\n\n" + "\n\n".join(f"::: tfalexnet.{name}" for name in names)
    files.append(File.generated(config, "reference.md", content=reference))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: MkDocsConfig) -> str:
    """Make links relative to the site; those to files that it lacks, such as modules, become their name."""
    start = page.file.src_uri
    source = next((name for name, shown in START.items() if shown == start), start)
    in_docs = (ROOT / "docs" / source).exists()
    folder = posixpath.dirname(f"docs/{source}" if in_docs else source)

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[0])).removeprefix("docs/")
        target = START.get(target, target)
        # MkDocs changes links of Markdown to those between addresses, but not the attribute src.
        return posixpath.relpath(target, (page.url if link[2] else posixpath.dirname(start)) or ".")

    def without_missing(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(start), link[2].partition("#")[0]))
        external = "://" in link[2] or link[2].startswith(("#", "mailto:"))
        return link[0] if external or files.get_file_from_path(target) else link[1]

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", without_missing, LINK.sub(on_site, markdown))
