"""Figures of world models."""

from pathlib import Path

import numpy as np
import pytest

from jaxmarl_suite.analysis import check_figure_path, plot_model


@pytest.mark.parametrize("size", [1, 9])
def test_a_figure_is_written(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4, 8, size)).astype(np.float32)
    predicted = true[:, 3:] + 0.1
    path = plot_model(true, predicted, np.abs(predicted - true[:, 3:]), tmp_path / "folder" / "model.svg")
    text = path.read_text()
    again = plot_model(true, predicted, np.abs(predicted - true[:, 3:]), tmp_path / "again.svg")
    assert again.read_text() == text, "equal figures give equal files"


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown figure suffix '\.gif'; accepted: \.png, \.svg, \.pdf"):
        check_figure_path(tmp_path / "model.gif")
    true = np.zeros((2, 4, 1), np.float32)
    with pytest.raises(ValueError, match="sample must be one of the 2 tests, 0 to 1, got 2"):
        plot_model(true, true[:, 1:], true[:, 1:], tmp_path / "model.png", sample=2)
