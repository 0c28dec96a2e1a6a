"""Reading run folders: curves, statistics for few seeds, figures, tables, exports. Needs no JAX."""

from jaxmarl_suite.analysis.exports import Scores, csv_rows, export, marl_eval_data, rliable_scores
from jaxmarl_suite.analysis.figures import plot
from jaxmarl_suite.analysis.groups import Series, SeriesCurve, group_runs
from jaxmarl_suite.analysis.loading import load_run
from jaxmarl_suite.analysis.model_figures import check_figure_path, plot_model
from jaxmarl_suite.analysis.run import Curve, Lane, Row, Run, normalize
from jaxmarl_suite.analysis.statistics import (
    Band,
    Estimate,
    bootstrap_band,
    bootstrap_estimate,
    fraction_estimate,
    iqm,
    median,
    optimality_gap,
    probability_of_improvement,
)
from jaxmarl_suite.analysis.tables import TableRow, render_markdown, summarize, table, update_section

__all__ = [
    "Band",
    "Curve",
    "Estimate",
    "Lane",
    "Row",
    "Run",
    "Scores",
    "Series",
    "SeriesCurve",
    "TableRow",
    "bootstrap_band",
    "bootstrap_estimate",
    "check_figure_path",
    "csv_rows",
    "export",
    "fraction_estimate",
    "group_runs",
    "iqm",
    "load_run",
    "marl_eval_data",
    "median",
    "normalize",
    "optimality_gap",
    "plot",
    "plot_model",
    "probability_of_improvement",
    "render_markdown",
    "rliable_scores",
    "summarize",
    "table",
    "update_section",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
