"""Evaluation in a different environment than training: held-out windows, other costs, larger teams."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, seed_key

from jaxmarl_suite.algorithms import Context, Phase
from jaxmarl_suite.runner._environments import Environments, Instance

_SIZES = ("obs_shape", "num_actions", "action_dim")
"""What has to agree."""
_TEAM = ("n_agents", "state_size", "agent_obs_sizes", "agent_num_actions", "agent_action_sizes")
"""What policies may depend on."""


class EvalEnvironments:
    """The evaluation environments of an experiment."""

    def __init__(self, env_id: str, env_options: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """`env_options` are those of training, `changes` the differences; without any, policies are evaluated where
        they train.
        """
        self._id, self._changes = env_id, dict(changes)
        self._environments = Environments(env_id, {**env_options, **changes})

    def get(self, overrides: Mapping[str, Any], trained: Instance) -> Instance:
        """The evaluation environment for policies trained in `trained`, at a grid point. `changes` take precedence.

        Raises:
          ValueError: invalid options, or different sizes of observations or actions.
        """
        if not self._changes:
            return trained
        try:
            found = self._environments.get({k: v for k, v in overrides.items() if k not in self._changes})
        except ValueError as error:
            raise ValueError(f"{error} (in the environment of evaluations: {self})") from None
        for name in _SIZES:
            ours, theirs = getattr(trained.env.spec, name), getattr(found.env.spec, name)
            if ours != theirs:
                raise ValueError(
                    f"policies cannot be evaluated in {self._id} with {self}: {name} is {theirs} there, and {ours} in "
                    "training"
                )
        return found._replace(env=trained.env) if found.env == trained.env else found

    def __str__(self) -> str:
        """As written on the command line."""
        return eval_flags(self._changes)


def eval_flags(options: Mapping[str, Any]) -> str:
    """Options of the evaluation environment, as written on the command line."""
    return " ".join(f"--eval-env.{name.replace('_', '-')} {value}" for name, value in options.items())


_Made = tuple[tuple[Phase, ...], Environment, Any]
"""A method built for an environment, with its parameters."""


def check_policies(algorithm: str, config: Any, trained: _Made, evaluated: _Made) -> None:
    """Rejects an evaluation environment for which policies have different shapes than in training.

    Args:
      algorithm: its name.
      config: the algorithm's config.
      trained: the method built for the training environment.
      evaluated: the method built for the evaluation environment, with the same sizes of observations and actions.

    Raises:
      ValueError: naming the array that differs.
    """
    values = {name: [getattr(env.spec, name) for _, env, _ in (trained, evaluated)] for name in _TEAM}
    different = [name for name, (ours, theirs) in values.items() if ours != theirs]
    if not different:
        return
    for ours, theirs in zip(_policies(config, trained), _policies(config, evaluated)):
        shapes = [
            {jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape for path, leaf in leaves}
            for leaves in map(jax.tree_util.tree_leaves_with_path, (ours, theirs))
        ]
        for name in (*shapes[0], *shapes[1]):
            there, here = shapes[1].get(name), shapes[0].get(name)
            if there != here:
                raise ValueError(
                    f"policies of {algorithm} cannot be evaluated where {different[0]} is {values[different[0]][1]}, as it "
                    f"is {values[different[0]][0]} in training: {name!r} would have shape {there}, and has {here}"
                )


def _policies(config: Any, made: _Made) -> Iterator[Any]:
    """Shapes of the policies of each phase."""
    phases, _, params = made

    def context() -> Context:
        hp, env_params = jax.tree.map(jnp.asarray, (config, params))
        return Context(hp=hp, env_params=env_params, clock=jnp.int32(0), horizon=jnp.int32(1))

    ctx, key = jax.eval_shape(context), jax.eval_shape(lambda: seed_key(0))
    handed: Any = None
    for phase in phases:
        if phase.begin is None:
            state = jax.eval_shape(phase.algorithm.init, key, ctx)
        else:
            state = jax.eval_shape(phase.begin, handed, key, ctx)
        yield jax.eval_shape(phase.algorithm.policy, state)
        handed = state if phase.artifact is None else jax.eval_shape(phase.artifact, state)
