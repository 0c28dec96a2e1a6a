"""The pages of the documentation site: one for every algorithm, family and study, links that lead somewhere, notebooks
that run. Only the last test needs MkDocs.
"""

import importlib
import importlib.util
import json
import posixpath
import re
from pathlib import Path

import jaxmarl_envs
import pytest
import site_pages
from site_pages import _algorithms, _equations, _links, _reference, _repository

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import AlgorithmSpec

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site():
    """`(pages by address, addresses of pictures)`; environments of other packages are not made."""
    pages, files = site_pages.site_pages(foreign=False)
    found = {page.address: page for page in pages}
    assert len(found) == len(pages)
    return found, set(files)


def test_every_algorithm_family_and_study_has_a_page(site):
    pages, _ = site
    for name in algorithms.names():
        text = pages[f"algorithms/{name}.md"].text
        for heading in ("Method and deviations", "Equations and functions", "Settings", "Results"):
            assert f"\n## {heading}\n" in text
        for setting in algorithms.field_types(algorithms.get(name).config):
            assert f"\n| `{setting}` |" in text, (name, setting)
    for family in jaxmarl_envs.families():
        text = pages[f"environments/{family.name}.md"].text
        assert all(f"`{family.name}/{variant}`" in text for variant in family.variants)
    for readme in (ROOT / "experiments").glob("*/README.md"):
        assert f"studies/{readme.parent.name}.md" in pages


def test_a_new_algorithm_gets_a_page(monkeypatch):
    spec = algorithms.get("mappo")
    new = AlgorithmSpec("quite-new", spec.config, spec.make, "a method of someone else")
    monkeypatch.setattr(algorithms, "names", lambda: ["quite-new"])
    monkeypatch.setattr(algorithms, "get", lambda name: new)
    monkeypatch.setattr(_algorithms, "_settings", lambda name: "")  # the command looks into the registry itself
    overview, page = _algorithms.algorithm_pages()
    assert "[quite-new](algorithms/quite-new.md)" in overview.text and "A method of someone else" in page.text


def test_internal_links_lead_somewhere(site):
    pages, files = site
    there = {*pages, *files, *(f"images/{path.name}" for path in (ROOT / "docs" / "images").iterdir())}
    checked = 0
    for page in pages.values():
        if not page.section:
            continue  # source code
        for link in _links.LINK.finditer(_links.outside_code(page.text)):
            path, _, anchor = link["target"].partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page.address), path)) if path else page.address
            assert target in there, (page.address, link[0])
            checked += 1
            if anchor.startswith("__codelineno"):
                assert int(anchor.rpartition("-")[2]) <= pages[target].text.count("\n")
            elif anchor:
                assert anchor in _links.anchors(pages[target].text), (page.address, link[0])
    assert checked > 200


def test_a_link_to_nothing_is_an_error():
    page = site_pages.Page("a.md", "a", "Start", "see [this](docs/nothing.md)", "./")
    with pytest.raises(ValueError, match=r"a\.md|nothing"):
        site_pages.relinked([page])


def test_links_of_the_readme_find_both_of_its_pages(site):
    pages, _ = site
    assert "](own.md#your-own-algorithm)" in pages["building_blocks.md"].text
    assert "](architecture.md)" in pages["index.md"].text
    start, own = _repository.readme_parts((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "## Install" in start and "## Your own algorithm" in own and "## Your own" not in start


def test_equations_are_those_of_functions_that_a_method_reaches():
    found = {name: {e.name: e for e in _equations.equations_of(algorithms.get(name).make)} for name in ("happo", "vdn")}
    assert "M_{m+1} = M_m · π_new(a_{i_m}) / π_old(a_{i_m})" in found["happo"]["one_after_another"].text
    assert "δ_t = r_t + γ (1 - terminated_t) v'_t - v_t" in found["happo"]["generalized_advantage"].text
    assert "clip(ρ, 1 - ε, 1 + ε) A" in found["happo"]["actor_loss"].text
    assert "mixed" in found["vdn"] and "actor_loss" not in found["vdn"]
    assert "y_t = r_t + γ (1 - terminated_t) ((1 - λ) Q'_t + λ y_{t+1})" in found["vdn"]["bootstrap"].text
    line = found["happo"]["one_after_another"].line
    source = (ROOT / "jaxmarl_suite/algorithms/ppo/happo.py").read_text(encoding="utf-8").splitlines()
    assert source[line - 1].startswith("def one_after_another(")


def test_the_reference_has_the_public_names(site):
    pages, _ = site
    for name in (
        "jaxmarl_suite",
        "jaxmarl_suite.algorithms.ppo",
        "jaxmarl_suite.ops",
        "jaxmarl_envs",
        "jaxmarl_envs.palette",
    ):
        public = importlib.import_module(name).__all__
        assert all(f"\n        - {one}" in pages[f"reference/{name}.md"].text for one in public)
    assert not any("._" in page.title for page in pages.values() if page.section == "Reference")
    assert _reference.public_names(ROOT / "docs" / "site_hook.py") == []


@pytest.mark.parametrize("name", [pytest.param("first_run", marks=pytest.mark.slow), "environments"])
def test_notebook_runs(name, tmp_path):
    text = (ROOT / "docs" / "notebooks" / f"{name}.md").read_text(encoding="utf-8")
    outputs = site_pages.executed(text, tmp_path)
    printed, pictures = "".join(one.text for one in outputs), [p for one in outputs for p in one.pictures]
    if name == "first_run":
        assert "(8, 5)" in printed and printed.count("learning_rate=") == 2 and pictures == ["curves.png"]
        assert (
            float(re.findall(r"pays (\S+) of 11", printed)[0]) >= 5
        )  # as in the README: a safer choice, or the optimum
    else:
        assert "hallway/2-3: ok" in printed and "[ 5.5 11.  22. ]" in printed and pictures == ["episode.png"]
    page = site_pages.with_outputs(text, outputs, name)
    assert f"![{pictures[0]}]({name}/{pictures[0]})" in page and page.count("```text\n") == sum(
        bool(o.text) for o in outputs
    )
    cells = json.loads(site_pages.notebook_file(text, outputs, tmp_path))["cells"]
    assert [c["cell_type"] for c in cells].count("code") == len(outputs) and cells[0]["source"].startswith("# ")


def test_a_notebook_that_fails_says_where(tmp_path):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        site_pages.executed("```python\nx = 1\n```\n\n```python\nx / 0\n```\n", tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="MkDocs is not installed")
def test_the_settings_of_the_site_are_accepted():
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), hooks=[])
    assert config["strict"] and config["theme"]["font"] is False and config["plugins"]
