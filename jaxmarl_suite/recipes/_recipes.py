"""The recipes that the suite has. `python -m experiments.recipes` measures them and rewrites `results.json`."""

from collections.abc import Mapping

from jaxmarl_suite.recipes._recipe import Recipe

_ALL: tuple[Recipe, ...] = ()
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
