"""Recipes: settings of an algorithm that were tuned for an environment or a family, with their measured results."""

from jaxmarl_suite.recipes._find import choose, find, get, names
from jaxmarl_suite.recipes._recipe import Recipe, Result, store
from jaxmarl_suite.recipes._recipes import RECIPES

__all__ = ["RECIPES", "Recipe", "Result", "choose", "find", "get", "names", "store"]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
