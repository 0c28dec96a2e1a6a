"""Where the recorded sample is, and small traces."""

import json
import os
from pathlib import Path

import pytest
from jaxmarl_envs.rag.trace import generate_trace, write_trace

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("JAXMARL_SUITE_RAGPULSE", ROOT.parent / "shared" / "data" / "ragpulse"))
SAMPLE = DATA / "sample"
FULL = DATA / "full"

needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f"no recorded sample in {SAMPLE}; JAXMARL_SUITE_RAGPULSE names its folder"
)
needs_full = pytest.mark.skipif(
    not FULL.is_dir(), reason=f"no full trace in {FULL}; JAXMARL_SUITE_RAGPULSE names the folder around it"
)

TABLES = {
    "1_sys_prompt.jsonl": ("sys_prompt_id", {100: 512, 101: 437}),
    "2_passages.jsonl": ("passage_id", {0: 200, 1: 300, 2: 100, 3: 50, 4: 10, 5: 20, 6: 30, 7: 40}),
    "3_history.jsonl": ("history_id", {200: 11}),
    "4_user_input.jsonl": ("user_input_id", {300: 7}),
    "5_web_search.jsonl": ("web_search_id", {400: 512}),
}


def request(time: int, docs: list[int], **changes) -> dict:
    """A valid record over `TABLES`; `changes` replace fields, or lists of `hash_ids`."""
    lengths = TABLES["2_passages.jsonl"][1]
    ids = {"sys_prompt": [100, 101], "passages_ids": docs, "history": [200], "web_search": [], "user_input": [300]}
    record = {
        "timestamp": str(time),
        "input_length": 512 + 437 + 11 + 7 + 8 + sum(lengths.get(doc, 0) for doc in docs),
        "output_length": 50,
        "hash_ids": ids,
        "session_id": "s-1",
    }
    for name, value in changes.items():
        target = ids if name in ids else record
        target[name] = value
    return record


def write_files(folder: Path, requests: list, **files: str) -> Path:
    """The six files; a request may be a record or a line. `files` replace whole files, by the digit of their name."""
    folder.mkdir(exist_ok=True)
    texts = {"0_trace.jsonl": "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)}
    for name, (field, lengths) in TABLES.items():
        texts[name] = "".join(json.dumps({field: i, "token_length": n}) + "\n" for i, n in lengths.items())
    for name, text in texts.items():
        (folder / name).write_text(files.get(f"file_{name[0]}", text))
    return folder


@pytest.fixture(scope="session")
def generated_folder(tmp_path_factory):
    """Sixty synthetic sessions in files."""
    return write_trace(generate_trace(60, seed=3), tmp_path_factory.mktemp("rag") / "trace")
