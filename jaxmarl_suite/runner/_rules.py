"""Evaluation of the fixed rules that an environment offers as `rules`, in the same way as trained policies."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
from jaxmarl_envs import Environment, EpisodeStatistics, TimeStep

from jaxmarl_suite.runner._devices import configure, in_32_bits
from jaxmarl_suite.runner._evaluate import FIRST_EVALUATION, check_episodes
from jaxmarl_suite.runner._play import Played, eval_keys, mean_played, play_policy, played_fields

_AT_ONCE = 32
_MOST_STEPS = 1000

Rule = Callable[[TimeStep], jax.Array]


def rules_of(env: Environment) -> Mapping[str, Rule]:
    """`timestep -> action [N]` of one instance, by name: the attribute `rules` of the innermost environment, if it has
    one.
    """
    return getattr(getattr(env, "unwrapped", env), "rules", {})


@in_32_bits
def evaluate_rules(
    env_id: str,
    names: Sequence[str] = (),
    *,
    env_options: Mapping[str, Any] | None = None,
    episodes: int = 320,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Mean metrics of whole episodes for each rule, by name; all rules play the same episodes.

    Args:
      env_id: `family/variant`.
      names: names of rules; empty for all.
      env_options: passed to `jaxmarl_envs.make`.
      episodes: at least this many, in batches of 32.
      seed: seed of the episodes.

    Raises:
      ValueError: the environment has no rules, a rule is unknown, or the seed or the number of episodes is invalid.
    """
    check_episodes(episodes)
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must be in 0..{2**31 - 1:,}, got {seed}")
    configure()
    env = EpisodeStatistics(jaxmarl_envs.make(env_id, **(env_options or {})))
    known = rules_of(env)
    if not known:
        raise ValueError(f"{env_id} offers no rules to evaluate")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{env_id} has no rule {name!r}; {hint}there are: {', '.join(known)}")
    size = min(episodes, _AT_ONCE)
    keys = [
        eval_keys(jnp.array([seed], jnp.int32), jnp.int32(FIRST_EVALUATION + k))[0]
        for k in range(math.ceil(episodes / size))
    ]
    found = {}
    for name in names or known:
        program = _program(env, known[name], size)
        played = mean_played([program(env.default_params, key) for key in keys])
        found[name] = played_fields(jax.tree.map(lambda x: x[None], played), 0, size * len(keys), env)["metrics"]
    return found


def _program(env: Environment, rule: Rule, episodes: int) -> Callable[..., Played]:
    """`(params, key) -> what was played`, compiled."""

    def act(carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any]:
        return jax.vmap(rule)(timestep), carry

    def evaluate(params: Any, key: jax.Array) -> Played:
        return play_policy(env, act, (), params, key, episodes=episodes, max_steps=_MOST_STEPS)

    return jax.jit(evaluate)
