"""Figures: they come out at the promised size, the same each time, and their parts obey their rules."""

from __future__ import annotations

import itertools
import json
import struct

import numpy as np
import pytest

from jaxmarl_suite.analysis import figures, load_run, plot
from jaxmarl_suite.analysis.drawing import spread
from jaxmarl_suite.analysis.style import ALGORITHM_COLORS, algorithm_color, format_count, format_score, format_share

FAST = {"resamples": 20}


def png_size(path):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_runs_give_the_same_file(make_run, tmp_path, suffix):
    runs = [make_run(algorithm=name, teacher=lambda p, s, g: 11.0) for name in ("tad-ppo", "mappo")]
    first, second = (plot(runs, tmp_path / folder / f"a{suffix}", **FAST) for folder in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) > 4000


def test_png_files_fit_a_readme(make_run, tmp_path):
    runs = [make_run(env=f"matrix/{name}") for name in "abcdef"]
    for count in (1, 2, 3, 4, 5, 6):
        width, height = png_size(plot(runs[:count], tmp_path / "a.png", **FAST))
        assert width == 960 and 400 < height < 960


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": (0,)},
        {"evaluations": 1},
        {"optimum": None},
        {"optimum": -3.0},
        {"total_steps": 0},  # trained from a data set
        {"score": lambda p, s, g: 5.0},
        {"score": lambda p, s, g: -30000.0 * (1 - g)},
        {"points": [{"clip": value} for value in (0.1, 0.2, 0.3)]},
        {"points": [{"clip": value, "rate": rate} for value in (0.1, 0.2, 0.3) for rate in (1, 2, 3)]},
        {"points": [{"env.seed": value} for value in range(3)]},
        {"points": [{"a_setting_with_a_long_name": f"and a long value {value}"} for value in range(2)]},
        {"env": "matrix/with-a-name-much-longer-than-its-panel", "env_options": {"penalty": -100}},
        {"is_finished": False},
    ],
)
def test_all_sorts_of_runs_can_be_drawn(make_run, tmp_path, options):
    run = make_run(**options)
    width, _ = png_size(plot(run, tmp_path / "a.png", **FAST))
    assert width == 960
    beside = [make_run(env=name, algorithm="mappo") for name in ("x/y", "x/z")]
    plot([run, *beside], tmp_path / "b.png", title="Together", **FAST)


def test_other_metrics_can_be_drawn(make_run, tmp_path):
    run = make_run()
    plot(run, tmp_path / "a.png", "length", **FAST)
    plot(run, tmp_path / "b.png", "return", kind="train", axis="updates", **FAST)
    with pytest.raises(ValueError, match="no eval metric 'win'; it has return, length"):
        plot(run, tmp_path / "c.png", "win")


def test_misuse_is_named(make_run, tmp_path):
    with pytest.raises(ValueError, match=r"unknown figure suffix '\.gif'; accepted: \.png, \.svg, \.pdf"):
        plot(make_run(), tmp_path / "a.gif")
    with pytest.raises(ValueError, match="cannot normalize lane 0: its optimum is unknown"):
        plot(make_run(optimum=None), tmp_path / "a.png", normalize=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (500, "500"), (0.5, "0.5"), (1000, "1k"), (20_000, "20k"), (999_999, "1M"), (1_500_000, "1.5M"),
     (64_000_000, "64M"), (2e9, "2B"), (-2500, "-2.5k")],
)  # fmt: skip
def test_counts_are_short(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (-0.001, "0.00"), (-0.01, "-0.01"), (11.0, "11.00"), (123.45, "123.5"), (4321.9, "4,322"),
     (float("nan"), "–")],
)  # fmt: skip
def test_scores_have_as_many_digits_as_they_need(value, text):
    assert format_score(value) == text


def test_shares_are_whole_percents_and_never_nothing():
    assert [format_share(value) for value in (1.0, 0.5, 0.014, 0.01, 0.004)] == ["100%", "50%", "1%", "1%", "< 1%"]


def test_labels_are_moved_apart_as_little_as_possible():
    assert spread([1.0, 0.2], 0.1, 0.0, 2.0) == [1.0, 0.2]
    assert spread([1.0, 1.0], 0.2, 0.0, 2.0) == pytest.approx([1.1, 0.9])
    assert spread([2.0, 2.0], 0.2, 0.0, 2.0) == pytest.approx([2.0, 1.8])
    assert spread([0.0, 0.0, 0.0], 0.2, 0.0, 2.0) == pytest.approx([0.4, 0.2, 0.0])
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = rng.uniform(0, 3, size=rng.integers(1, 9)).tolist()
        placed = spread(wanted, 0.2, 0.0, 3.0)
        assert np.all(np.diff(np.sort(placed)) > 0.2 - 1e-9)
        assert np.array_equal(np.argsort(placed), np.argsort(wanted))
        assert min(placed) >= -1e-9 and max(placed) <= 3 + 1e-9


def test_an_unknown_algorithm_has_a_color_of_its_own_that_stays():
    assert algorithm_color("mappo") == "#FF7E01"
    assert algorithm_color("mazero") == algorithm_color("mazero") != algorithm_color("other")
    assert algorithm_color("mazero") not in ALGORITHM_COLORS.values()


# Machado, Oliveira and Fernandes (2009): what a full red, green or blue deficiency sees, in linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(color, deficiency):
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(DEFICIENCIES[deficiency]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ seen / [0.9505, 1.0, 1.089], 216 / 24389))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colors_can_be_told_apart(deficiency):
    colors = {name: lab(color, deficiency) for name, color in ALGORITHM_COLORS.items()}
    together = ("tad-ppo", "mappo", "ippo", "happo")
    for a, b in itertools.combinations(together, 2):
        assert np.linalg.norm(colors[a] - colors[b]) > 30, (a, b)
    for a, b in itertools.combinations(colors, 2):
        assert np.linalg.norm(colors[a] - colors[b]) > 15, (a, b)


def test_a_student_is_drawn_from_where_it_begins_to_learn(write_run, tmp_path, monkeypatch):
    """Evaluations in phases that do not train the evaluated policy are left out; its teacher's stay."""
    folder = write_run(teacher=lambda p, s, g: 11.0)
    config = json.loads((folder / "config.json").read_text())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = sorted({row["env_steps"] for row in rows if row["kind"] == "eval"})
    half = steps[len(steps) // 2]
    rows = [row | {"phase": "teach" if row["env_steps"] < half else "distill"} for row in rows]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.json").write_text(json.dumps(config | {"untrained_phases": ["teach"]}))
    panels = []
    monkeypatch.setattr(figures, "draw", lambda figure, drawn, **_: panels.extend(drawn))
    plot(load_run(folder), tmp_path / "figure.png")
    (line,) = panels[0].lines
    assert line.position[0] == half
    assert line.policies[0][1][0] == steps[0]
