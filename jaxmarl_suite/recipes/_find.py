"""Which recipe serves an algorithm on an environment."""

import difflib

from jaxmarl_suite.recipes._recipe import Recipe
from jaxmarl_suite.recipes._recipes import RECIPES


def names() -> list[str]:
    """The names of all recipes."""
    return sorted(RECIPES)


def get(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
      ValueError: there is none; the nearest name is given.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown recipe {name!r}; {hint}there are: {', '.join(names())}")
    return RECIPES[name]


def find(algorithm: str, env: str) -> Recipe | None:
    """The recipe for an algorithm on an environment, that of its id before that of its family; None if there is none."""
    serving = [recipe for recipe in RECIPES.values() if recipe.serves(algorithm, env)]
    return max(serving, key=lambda recipe: recipe.env == env, default=None)


def choose(recipe: str, algorithm: str, env: str) -> Recipe | None:
    """The recipe that a user asks for.

    Args:
      recipe: "auto" for the one that `find` gives, "none", or a name.
      algorithm: of the run.
      env: of the run.

    Raises:
      ValueError: an unknown name, or a recipe of another algorithm. One of another environment is taken.
    """
    if recipe == "none":
        return None
    if recipe == "auto":
        return find(algorithm, env)
    found = get(recipe)
    if found.algorithm != algorithm:
        raise ValueError(f"recipe {recipe!r} is of {found.algorithm}, not of {algorithm}")
    return found
