"""Hands the pages of `site_pages` to MkDocs. What it makes is kept in a temporary folder, not in the repository."""

import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

from markdown import Extension, Markdown
from markdown.inlinepatterns import SimpleTextInlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).resolve().parent))

from site_pages import ROOT, Page, draw_families, executed, notebook_file, site_pages, with_outputs

_PICTURE = "<!-- picture: {} -->"


class Shapes(Extension):
    """Shapes like [*B, N] in docstrings are text; their asterisks start no emphasis."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Called by Markdown. Before links (170 and less) and emphasis, after code (190)."""
        md.inlinePatterns.register(SimpleTextInlineProcessor(r"(\[\*)(?=\w+[,\]])"), "shapes", 185)


@dataclasses.dataclass
class _Site:
    """What a build is made of."""

    pages: list[Page]
    files: dict[str, Path]
    """Pictures and downloads by address."""
    folder: Path


_sites: list[_Site] = []


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Makes the pages, and the navigation from their sections."""
    folder = Path(tempfile.mkdtemp(prefix="jaxmarl-suite-docs-"))
    draft = bool(config.extra["draft"])
    pages, shown = site_pages(foreign=not draft)
    files = {address: ROOT / path for address, path in shown.items()}
    if not draft:
        pictures = draw_families(folder)
        files |= {f"environments/{name}.png": path for name, path in pictures.items()}
        pages = [_finished(page, pictures, files, folder) for page in pages]
    _sites[:] = [_Site(pages, files, folder)]
    sections: dict[str, list[dict[str, str]]] = {}
    for page in pages:
        if page.section:
            sections.setdefault(page.section, []).append({page.title: page.address})
    config.markdown_extensions.append(Shapes())
    config.nav = [{section: entries} for section, entries in sections.items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Puts the pages in the place of the files that they are made of."""
    (site,) = _sites
    for page in site.pages:
        if old := files.get_file_from_path(page.address):
            files.remove(old)
        files.append(File.generated(config, page.address, content=page.text))
    for address, path in site.files.items():
        if files.get_file_from_path(address) is None:
            files.append(File.generated(config, address, abs_src_path=str(path)))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Removes what was drawn."""
    for site in _sites:
        shutil.rmtree(site.folder, ignore_errors=True)


def _finished(page: Page, pictures: dict[str, Path], files: dict[str, Path], folder: Path) -> Page:
    """The page with its picture, or with what its blocks printed and drew."""
    if page.section == "Notebooks":
        return _run(page, files, folder)
    for name in pictures:
        shown = f"![A random episode of {name}, one step before its end]({name}.png){{ width=480 }}"
        page = dataclasses.replace(page, text=page.text.replace(_PICTURE.format(name), shown))
    return page


def _run(page: Page, files: dict[str, Path], folder: Path) -> Page:
    name = Path(page.address).stem
    here = folder / name
    here.mkdir()
    outputs = executed(page.text, here)
    files |= {f"notebooks/{name}/{picture}": here / picture for output in outputs for picture in output.pictures}
    download = here / f"{name}.ipynb"
    download.write_text(notebook_file(page.text, outputs, here), encoding="utf-8")
    files[f"notebooks/{download.name}"] = download
    text = with_outputs(page.text, outputs, name)
    return dataclasses.replace(page, text=f"{text}\n[As a Jupyter notebook]({download.name})\n")
