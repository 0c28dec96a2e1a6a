"""The recipes that the suite has. `jaxmarl-suite reproduce NAME --first-seed 0 --store` measures one."""

from collections.abc import Mapping

from jaxmarl_suite.recipes._recipe import Recipe

_ALL: tuple[Recipe, ...] = (
    Recipe(
        "qmix",
        "micro/*",
        {"trace_decay": 0.6, "optimizer": "adam", "learning_rate": 1.91e-3},
        400_000,
        "jaxmarl-suite tune qmix --env micro/3m --space trace_decay=0.0,0.6,0.8,0.9 --space learning_rate=2e-4:2e-3:log "
        "--space optimizer=rmsprop,adam --metric win --points 24",
        "2026-11",
        metric="win",
        measured_on=("micro/3m", "micro/8m", "micro/2s3z"),
    ),
)
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
