"""The experiment behind a recipe's results."""

from jaxmarl_suite.recipes import Recipe
from jaxmarl_suite.runner._experiment import Experiment
from jaxmarl_suite.runner._options import TrainOptions

EVALUATIONS, EPISODES = 10, 128


def recipe_experiment(recipe: Recipe, env: str, *, seeds: int, first_seed: int) -> Experiment:
    """The training whose last evaluation, of 128 episodes per seed, is the result of `recipe` on `env`."""
    options = TrainOptions(
        total_steps=recipe.total_steps,
        seeds=seeds,
        first_seed=first_seed,
        evaluations=EVALUATIONS,
        eval_episodes=EPISODES,
        absolute_episodes=0,
    )
    return Experiment(recipe.algorithm, env, dict(recipe.settings), {}, {}, options)
