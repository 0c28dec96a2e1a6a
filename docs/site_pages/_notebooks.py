"""Notebooks: pages in Markdown whose blocks of Python are run one after another, and their Jupyter form."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from site_pages._page import ROOT, Page
from site_pages._repository import read, title_of

BLOCK = re.compile(r"(?ms)^```python\n(.*?)^```\n")
_RUNNER = """
import contextlib, io, json, pathlib, sys
names, outputs = {"__name__": "__main__"}, []
for block in json.load(sys.stdin):
    seen, printed = set(pathlib.Path().glob("*.png")), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "notebook", "exec"), names)
    pictures = sorted(str(path) for path in set(pathlib.Path().glob("*.png")) - seen)
    outputs.append({"text": printed.getvalue(), "pictures": pictures})
pathlib.Path("outputs.json").write_text(json.dumps(outputs))
"""


class Output(NamedTuple):
    """What a block printed, and the names of the pictures (`.png`) that it wrote into the working folder."""

    text: str
    pictures: list[str]


def notebook_pages() -> list[Page]:
    """A page for each file of `docs/notebooks`, before it is run."""
    paths = [f"docs/notebooks/{path.name}" for path in sorted((ROOT / "docs" / "notebooks").glob("*.md"))]
    return [Page(p.removeprefix("docs/"), title_of(read(p)), "Notebooks", read(p), p) for p in paths]


def executed(text: str, folder: Path) -> list[Output]:
    """The outputs of a notebook's blocks, run in one process in `folder`.

    Raises:
      RuntimeError: a block failed; the message is the process's last output.
    """
    command = [sys.executable, "-c", _RUNNER]
    done = subprocess.run(command, input=json.dumps(BLOCK.findall(text)), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [Output(**output) for output in json.loads((folder / "outputs.json").read_text(encoding="utf-8"))]


def with_outputs(text: str, outputs: list[Output], folder: str) -> str:
    """The notebook as a page: each block is followed by what it printed and drew; pictures are in `folder`."""
    left = iter(outputs)

    def shown(block: re.Match[str]) -> str:
        output = next(left)
        printed = f"\n```text\n{output.text.rstrip()}\n```\n" if output.text.strip() else ""
        return block[0] + printed + "".join(f"\n![{name}]({folder}/{name})\n" for name in output.pictures)

    return BLOCK.sub(shown, text)


def notebook_file(text: str, outputs: list[Output], folder: Path) -> str:
    """The notebook as a Jupyter file (nbformat 4), with the pictures of `folder` inside."""
    cells, end, left = [], 0, iter(outputs)
    for block in BLOCK.finditer(text):
        cells += [*_words(text[end : block.start()]), _code(block[1], next(left), len(cells), folder)]
        end = block.end()
    cells += _words(text[end:])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}, indent=1
    )


def _words(text: str) -> list[dict]:
    return [{"cell_type": "markdown", "metadata": {}, "source": text.strip()}] if text.strip() else []


def _code(source: str, output: Output, number: int, folder: Path) -> dict:
    shown: list[dict] = [{"output_type": "stream", "name": "stdout", "text": output.text}] if output.text else []
    for name in output.pictures:
        data = {"image/png": base64.b64encode((folder / name).read_bytes()).decode()}
        shown.append({"output_type": "display_data", "data": data, "metadata": {}})
    return {
        "cell_type": "code",
        "execution_count": number + 1,
        "metadata": {},
        "source": source.rstrip(),
        "outputs": shown,
    }
