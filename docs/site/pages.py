"""Which files the site shows: its navigation and what it links to, at their paths in the repository.

So a link between two pages is the same on the site and in a checkout, and no page is copied.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
STYLE = "docs/site/site.css"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Puts the pages, and what they link to, in the place of the folder docs/."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    ahead, found = [STYLE, *entries(config.nav)], set()
    while ahead:
        name = ahead.pop()
        if name in found:
            continue
        found.add(name)
        if notebook(name).is_file():
            text = add_notebook(name, files, config)
        elif (ROOT / name).is_file():
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
            text = (ROOT / name).read_text() if name.endswith(".md") else ""
        else:  # made by another hook, or a mistake that MkDocs names
            continue
        ahead += [target for _, path, _ in LINK.findall(text) if (target := resolved(name, path))]
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Links to a folder lead to its README; those to what the site does not show become plain words."""
    here = Path(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        words, path, anchor = link.groups()
        target = resolved(page.file.src_uri, path)
        if target is None:
            return link[0] if (ROOT / here.parent / path).is_file() else words
        up = len(here.parent.parts)
        return f"[{words}]({'../' * up}{target}{anchor or ''})"

    return LINK.sub(rewritten, markdown)


def entries(nav: Any) -> Iterator[str]:
    """The files that the navigation names."""
    if isinstance(nav, str):
        yield nav
    elif nav:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(entry)


def resolved(page: str, path: str) -> str | None:
    """What a relative link of a page names on the site: a file below the repository, a folder's README."""
    target = (ROOT / page).parent.joinpath(path).resolve()
    if target.is_dir():
        target /= "README.md"
    if target.suffix == ".ipynb":
        target = target.with_suffix(".md")
    there = target.is_file() or notebook(target).is_file()
    return target.relative_to(ROOT).as_posix() if there and target.is_relative_to(ROOT) else None


def notebook(name: str | Path) -> Path:
    """The notebook that a page is made of, if there is one."""
    return (ROOT / name).with_suffix(".ipynb")


def add_notebook(name: str, files: Files, config: MkDocsConfig) -> str:
    """Adds a notebook as a page, with its pictures beside it."""
    text, resources = MarkdownExporter().from_filename(str(notebook(name)))
    files.append(File.generated(config, name, content=text))
    for picture, content in resources["outputs"].items():
        uri = (Path(name).parent / picture).as_posix()
        files.append(File.generated(config, uri, content=content))
    return text
