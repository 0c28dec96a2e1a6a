"""The pages of the documentation site: what the repository has in Markdown, and pages made of code and docstrings.

`site_pages` needs only the packages of this project, so that tests can look at the pages without a site builder;
`docs/site_hook.py` hands them to MkDocs.
"""

from site_pages._algorithms import algorithm_pages
from site_pages._families import draw_families, family_pages
from site_pages._links import relinked
from site_pages._notebooks import executed, notebook_file, notebook_pages, with_outputs
from site_pages._page import ROOT, Page
from site_pages._reference import reference_pages
from site_pages._repository import repository_pages, source_pages

__all__ = [
    "ROOT",
    "Page",
    "draw_families",
    "executed",
    "notebook_file",
    "notebook_pages",
    "relinked",
    "site_pages",
    "with_outputs",
]


def site_pages(*, foreign: bool = True) -> tuple[list[Page], dict[str, str]]:
    """All pages in the order of the navigation, and the files that they show: `{address: path in the repository}`.

    Args:
      foreign: whether to make the environments of other packages, which takes a minute, to list their sizes.
    """
    pages = [
        *repository_pages(),
        *notebook_pages(),
        *algorithm_pages(),
        *family_pages(foreign=foreign),
        *reference_pages(),
    ]
    shown = [page.text for page in pages]
    pages += source_pages(shown, [page.origin for page in pages])
    return relinked(pages)
