"""Links: in the repository they point to files, in the site to pages."""

import posixpath
import re
from collections.abc import Mapping, Sequence

from site_pages._page import ROOT, Page

LINK = re.compile(r"(?P<start>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<target>[^)\s]+)\)")
_CODE = re.compile(r"(?ms)^(`{3,})[^\n]*\n.*?^\1[ ]*$")


def target_of(target: str, origin: str) -> tuple[str, str]:
    """`(path in the repository, anchor)` of a link in a file; the path is empty for links that leave it."""
    path, _, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return "", anchor
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), path)), anchor


def relinked(pages: Sequence[Page]) -> tuple[list[Page], dict[str, str]]:
    """The pages with links to pages, and the pictures that they show: `{address: path in the repository}`.

    Raises:
      ValueError: a link to a file that is not there.
    """
    homes = {page.origin: page.address for page in pages}
    homes |= {page.address: page.address for page in pages if page.origin == "./"}
    homes["README.md"] = "index.md"
    sections = {slug: page.address for page in pages if page.origin == "README.md" for slug in anchors(page.text)}
    files: dict[str, str] = {}
    return [_relinked(page, homes, sections, files) for page in pages], files


def anchors(text: str) -> list[str]:
    """The anchors of a page's headings."""
    return [slug(heading) for heading in re.findall(r"(?m)^#{1,6} (.+)$", outside_code(text))]


def slug(heading: str) -> str:
    """The anchor of a heading, as on code hosts."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")


def outside_code(text: str) -> str:
    """The text without its blocks of code."""
    return _CODE.sub("", text)


def _relinked(page: Page, homes: Mapping[str, str], sections: Mapping[str, str], files: dict[str, str]) -> Page:
    if not page.section:
        return page
    here = posixpath.dirname(page.address) or "."

    def link(found: re.Match[str]) -> str:
        path, anchor = target_of(found["target"], page.origin)
        if not path:
            inside = page.origin == "README.md" and anchor in sections and "://" not in found["target"]
            return f"{found['start']}{sections[anchor]}#{anchor})" if inside else found[0]
        home = homes.get(path) or homes.get(posixpath.join(path, "README.md"))
        if path == "README.md" and anchor in sections:
            home = sections[anchor]
        if home is None and not (ROOT / path).exists():
            raise ValueError(f"{page.origin or page.address}: link to {found['target']!r}, which is not there")
        if home is None and (ROOT / path).is_dir():
            return found["start"].lstrip("!")[1:].removesuffix("](")  # the words alone
        if home is None:
            home = path.removeprefix("docs/") if path.startswith("docs/images/") else f"files/{path}"
            files[home] = path
        address = posixpath.relpath(home, here)
        return f"{found['start']}{address}{'#' + anchor if anchor else ''})"

    pieces, end = [], 0
    for block in _CODE.finditer(page.text):
        pieces += [LINK.sub(link, page.text[end : block.start()]), block[0]]
        end = block.end()
    text = "".join([*pieces, LINK.sub(link, page.text[end:])])
    return Page(page.address, page.title, page.section, text, page.origin)
