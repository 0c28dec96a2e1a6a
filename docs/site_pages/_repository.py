"""Pages that are files of the repository: README, studies, benchmarks, concepts, and linked source code."""

import re
from collections.abc import Iterable

from jaxmarl_envs.core import field_docs

from jaxmarl_suite import TrainOptions
from site_pages._links import LINK, target_of
from site_pages._page import ROOT, Page, cell, code, joined, table

CONCEPTS = ("architecture", "building_blocks", "devices")
"""Those that come first among the pages of `docs/`."""
_OPTIONS = re.compile(r"<!-- train-options: ([\w ]+) -->")
_LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml", ".txt": "text"}


def read(path: str) -> str:
    """A text file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def repository_pages() -> list[Page]:
    """README in two pages, `docs/*.md`, studies, benchmarks, contributing and changelog."""
    start, own = readme_parts(read("README.md"))
    names = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
    names.sort(key=lambda name: CONCEPTS.index(name) if name in CONCEPTS else len(CONCEPTS))
    concepts = [_concept(f"docs/{name}.md") for name in names]
    studies = [_included(f"studies/{name}.md", "Studies", f"experiments/{name}/README.md") for name in study_names()]
    overview = {"study": "", "title": ""}
    listing = [overview | {"study": f"[{s.address[8:-3]}]({s.origin})", "title": s.title} for s in studies]
    text = joined(["# Studies", table(listing), "`python -m experiments.NAME` trains the missing runs of a study."])
    return [
        Page("index.md", "Quickstart", "Start", start, "README.md"),
        Page("own.md", "Your own parts", "Start", own, "README.md"),
        *concepts,
        Page("studies/index.md", "Overview", "Studies", text, "./"),
        *studies,
        _included("benchmarks.md", "Benchmarks", "benchmarks/README.md"),
        _included("contributing.md", "Project", "CONTRIBUTING.md"),
        _included("changelog.md", "Project", "CHANGELOG.md"),
    ]


def study_names() -> list[str]:
    """The studies that have a page."""
    return sorted(path.parent.name for path in (ROOT / "experiments").glob("*/README.md"))


def readme_parts(text: str) -> tuple[str, str]:
    """The README without and with the sections about the user's own parts."""
    head, *sections = re.split(r"(?m)^(?=## )", text)
    own = [section for section in sections if is_own(section.splitlines()[0][3:])]
    return head + "".join(s for s in sections if s not in own), "# Your own parts\n\n" + "".join(own)


def is_own(heading: str) -> bool:
    """Whether a section of the README with this heading is on the page about the user's own parts."""
    return heading.startswith("Your own") or heading == "Planning"


def title_of(text: str) -> str:
    """The first heading."""
    found = re.search(r"(?m)^# (.+)$", text)
    return found[1].replace("`", "") if found else ""


def _included(address: str, section: str, path: str) -> Page:
    text = read(path)
    return Page(address, title_of(text), section, text, path)


def _concept(path: str) -> Page:
    text = _OPTIONS.sub(lambda found: _options(found[1].split()), read(path))
    return Page(path.removeprefix("docs/"), title_of(text), "Concepts", text, path)


def _options(names: list[str]) -> str:
    """A table of fields of `TrainOptions`."""
    meaning, default = field_docs(TrainOptions), TrainOptions()
    rows = [{"option": name, "default": getattr(default, name), "meaning": meaning[name]} for name in names]
    return table([{"option": code(r["option"]), "default": code(r["default"]), "meaning": r["meaning"]} for r in rows])


def source_pages(texts: Iterable[str], origins: Iterable[str]) -> list[Page]:
    """A page for each file of code or settings that some page links to."""
    found = set()
    for text, origin in zip(texts, origins, strict=True):
        for link in LINK.finditer(text):
            path = target_of(link["target"], origin)[0]
            if path and (ROOT / path).is_file() and not path.endswith((".md", ".png", ".gif")):
                found.add(path)
    return [_source(path) for path in sorted(found)]


def _source(path: str) -> Page:
    language = _LANGUAGES.get(path[path.rfind(".") :] if "." in path else "", "text")
    hidden = "---\nsearch:\n  exclude: true\n---\n"
    text = f"{hidden}\n# {cell(code(path))}\n\n````` {{ .{language} linenums=1 }}\n{read(path)}`````\n"
    return Page(f"source/{path}.md", path, "", text, path)
