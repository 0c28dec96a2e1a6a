"""Altered files of a run end in one line that names file and field; what can be read is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from jaxmarl_suite import analysis
from jaxmarl_suite.analysis import load_run


def test_empty_lines_are_skipped(write_run):
    path = write_run()
    whole, lines = load_run(path), (path / "metrics.jsonl").read_text().splitlines()
    lines[3:3] = ["", "  ", "\t"]
    (path / "metrics.jsonl").write_text("\n" + "\n".join(lines) + "\n\n")
    assert load_run(path).rows == whole.rows
    lines[2] = "{"
    (path / "metrics.jsonl").write_text("\n" + "\n".join(lines) + "\n\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 4: not valid JSON"):
        load_run(path)


def test_only_a_line_without_an_end_is_torn(write_run):
    """A last line that was written whole and is damaged is no sign of a kill: it is not dropped in silence."""
    path = write_run()
    whole = load_run(path)
    content = (path / "metrics.jsonl").read_bytes()
    (path / "metrics.jsonl").write_bytes(content[:-1])
    assert load_run(path).rows == whole.rows
    (path / "metrics.jsonl").write_bytes(content[:-2])
    assert load_run(path).rows == whole.rows[:-1]
    (path / "metrics.jsonl").write_bytes(content[:-2] + b"\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line \d+: not valid JSON"):
        load_run(path)


DEEP = "[" * 100_000 + "]" * 100_000
DEEP_ENOUGH = "[" * 300 + "]" * 300


@pytest.mark.parametrize("name", ["config.json", "summary.json", "versions.json"])
@pytest.mark.parametrize("text", [DEEP, DEEP_ENOUGH], ids=["beyond the parser", "within it"])
def test_deeply_nested_files_are_named(write_run, name, text):
    path = write_run()
    (path / name).write_text(f'{{"schema": 1, "config": {text}}}')
    with pytest.raises(ValueError, match=rf"{name}: nested too deeply to be a file of a run$"):
        load_run(path)


def test_a_deeply_nested_row_is_named(write_run):
    path = write_run()
    lines = (path / "metrics.jsonl").read_text().splitlines()
    (path / "metrics.jsonl").write_text("\n".join([lines[0], DEEP, *lines[1:]]) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: nested too deeply"):
        load_run(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env_options": 3}, "'env_options' must be dict; got 3"),
        ({"env_options": [1]}, r"'env_options' must be dict; got \[1\]"),
        ({"config": "none"}, "'config' must be dict; got 'none'"),
        ({"config": [["learning_rate", 1]]}, "'config' must be dict"),
        ({"train": []}, r"'train' must be dict; got \[\]"),
        ({"total_steps": True}, "'total_steps' must be int; got True"),
        ({"total_steps": 10**30}, "'total_steps' must be int; got 1000"),
        ({"total_steps": "x" * 1000}, r"'total_steps' must be int; got 'x{76}\.\.\.$"),
        ({"untrained_phases": 5}, "'untrained_phases' must be list; got 5"),
        ({"untrained_phases": "teach"}, "'untrained_phases' must be list; got 'teach'"),
        ({"untrained_phases": [["teach"]]}, r"'untrained_phases' must hold names; got \[\['teach'\]\]"),
        ({"lanes": {"0": {}}}, "'lanes' must be list"),
        ({"lanes": [{"lane": 0, "point": 0, "seed": 0, "overrides": [1]}]}, r"lanes\[0\]: 'overrides' must be dict"),
        ({"lanes": [{"lane": 0, "point": 0, "seed": 0, "optimum": True}]}, "'optimum' must be a number or null; got True"),
        ({"lanes": [{"lane": 0, "point": 0, "seed": 0, "optimum": 10**400}]}, "'optimum' must be a number or null"),
        ({"lanes": [{"lane": 0, "point": 0, "seed": 0, "optimum": 1e999}]}, "'optimum' must be a number or null; got inf"),
        ({"algorithm": ["mappo"]}, r"'algorithm' must be str; got \['mappo'\]"),
    ],
)  # fmt: skip
def test_wrong_types_in_a_description_are_named(write_run, change, message):
    path = write_run()
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=r"config\.json: .*" + message):
        load_run(path)


@pytest.mark.parametrize("name", ["env_options", "config", "train", "untrained_phases", "sinks"])
def test_what_may_be_missing_may_be_null(write_run, name):
    path = write_run()
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {name: None}))
    assert analysis.table(load_run(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": 1}, "'status' must be str; got 1"),
        ({"status": ["finished"]}, "'status' must be str"),
        ({"seconds": "12"}, "'seconds' must be a number; got '12'"),
        ({"compile_seconds": {}}, "'compile_seconds' must be a number"),
    ],
)
def test_wrong_types_in_a_summary_are_named(write_run, change, message):
    path = write_run()
    (path / "summary.json").write_text(json.dumps({"status": "finished", "seconds": 1.0} | change))
    with pytest.raises(ValueError, match=r"summary\.json: " + message):
        load_run(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 3}, "'kind' must be str; got 3"),
        ({"lane": None}, "'lane' must be int; got None"),
        ({"phase": 7}, "'phase' must be str; got 7"),
        ({"wall": "soon"}, "'wall' must be a number; got 'soon'"),
        ({"wall": 10**400}, "'wall' must be a number"),
        ({"episodes": "many"}, "'episodes' must be int; got 'many'"),
        ({"env_steps": 10**30}, "'env_steps' must be int"),
        ({"update": 1.5}, "'update' must be int; got 1.5"),
        ({"cut": 0.5}, "'cut' must be dict; got 0.5"),
        ({"cut": {"return": "half"}}, "cut 'return' must be a number or null; got 'half'"),
        ({"metrics": {"return": True}}, "metric 'return' must be a number or null; got True"),
        ({"metrics": {"return": 10**400}}, "metric 'return' must be a number or null; got 1000"),
        ({"metrics": {"return": [1.0]}}, r"metric 'return' must be a number or null; got \[1.0\]"),
    ],
)
def test_wrong_types_in_a_row_are_named(write_run, change, message):
    path = write_run()
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | change)
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3: " + message):
        load_run(path)


def test_infinite_metrics_count_as_missing(write_run):
    path = write_run(seeds=(0,), evaluations=2)
    text = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(text.replace('{"return": 0.0', '{"return": -Infinity'))
    run = load_run(path)
    np.testing.assert_array_equal(run.curve().values, [[np.nan, 10.0]])
    assert analysis.summarize(run)[0].final.value == 10.0


def test_folders_whose_names_are_no_text(make_run, tmp_path):
    """A path is bytes on some systems; what is read and written there is the same."""
    folder = tmp_path / Path(os.fsdecode(b"run-\xff\xfe"))
    make_run().path.rename(folder)
    run = load_run(folder)
    for suffix in (".png", ".svg", ".pdf"):
        assert analysis.plot(run, folder / f"figure{suffix}", resamples=20).stat().st_size
    for suffix in (".json", ".npz"):
        assert analysis.export(run, folder / f"results{suffix}").stat().st_size
    (folder / "page.md").write_text("<!-- a begin -->\n<!-- a end -->\n")
    assert analysis.update_section(folder / "page.md", "a", analysis.table(run))
    with pytest.raises(ValueError, match="no eval metric 'win'"):
        run.curve("win")
    with pytest.raises(ValueError, match=r"config\.json of the run .* is its own"):
        analysis.export(run, folder / "config.json")
