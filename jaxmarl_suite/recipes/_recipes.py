"""The recipes that the suite has. `jaxmarl-suite reproduce NAME --first-seed 0 --store` measures one."""

from collections.abc import Mapping

from jaxmarl_suite.recipes._recipe import Recipe

_ALL: tuple[Recipe, ...] = ()
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
