"""JaxMARL's Hanabi."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.adapters._from_jaxmarl import Reading, from_jaxmarl
from jaxmarl_envs.adapters._packages import check_options, foreign, load, scalar_options
from jaxmarl_envs.core import Environment, Family, UnknownVariant

# The games of the Hanabi Learning Environment.
_GAMES: dict[str, dict[str, Any]] = {
    "full": {},
    "small": {"num_colors": 2, "hand_size": 2, "max_info_tokens": 3, "max_life_tokens": 1},
    "very-small": {"num_colors": 1, "hand_size": 2, "max_info_tokens": 3, "max_life_tokens": 1},
}


def make(variant: str, /, **options: Any) -> Environment:
    """JaxMARL's Hanabi: `full-2p` to `full-5p`, `small-2p` .. , `very-small-2p` .. (games of the learning environment).

    Terminated: out of lives, all cards played, or after the last round; there is no time limit. The reward is the
    team's; losing the last life takes back the whole score. Masks are `get_legal_moves`: players who are not to move
    may only pass. Metric `perfect`: 1 in the step that plays the last card of the last color. There is no global state
    (all observations together show all hands).

    Args:
      variant: GAME-Np with N players, 2 to 5.
      options: `num_colors`, `hand_size`, `max_info_tokens`, `max_life_tokens`, `shuffle_player_order`.

    Raises:
      ValueError: an unknown option, an invalid value, or JaxMARL is not installed.
      UnknownVariant: any other variant.
    """
    match = re.fullmatch(rf"({'|'.join(_GAMES)})-([2-5])p", variant)
    if not match:
        raise UnknownVariant
    env_id, players = f"hanabi/{variant}", int(match[2])
    hanabi = load("jaxmarl.environments.hanabi", env_id).Hanabi
    # Five ranks: another number would need a table of the number of cards of each.
    accepted = scalar_options(hanabi, without=("num_agents", "num_ranks")) | {"hand_size": 5 if players < 4 else 4}
    chosen = accepted | _GAMES[match[1]] | check_options(env_id, options, accepted)
    for name in ("num_colors", "hand_size", "max_info_tokens", "max_life_tokens"):
        if chosen[name] < 1:
            raise ValueError(f"{env_id}: {name} must be at least 1, got {chosen[name]}")
    if players * chosen["hand_size"] >= 10 * chosen["num_colors"]:
        raise ValueError(
            f"{env_id}: {players} hands of {chosen['hand_size']} leave nothing of {10 * chosen['num_colors']} cards"
        )
    return _make(env_id, players, tuple(sorted(chosen.items())))


@functools.lru_cache  # equal options give one object of JaxMARL, and so equal environments and one program
def _make(env_id: str, players: int, options: tuple[tuple[str, Any], ...]) -> Environment:
    chosen = dict(options)
    with foreign():
        try:
            env = load("jaxmarl.environments.hanabi", env_id).Hanabi(num_agents=players, **chosen)
        except AssertionError as error:
            raise ValueError(f"{env_id}: {error}") from None
    # A turn uses up a card or an information token, and only a card brings a token back.
    cards = 10 * chosen["num_colors"] - players * chosen["hand_size"] + players + 1
    reading = Reading(
        episode_limit=2 * cards + chosen["max_info_tokens"],
        legal=_legal,
        metrics=("perfect",),
        measure=_measure,
        reset_is_costly=True,
    )
    return from_jaxmarl(env, reading, id=env_id)


def _legal(env: Any, state: Any) -> dict[str, jax.Array]:
    # After the end there may be no legal move left, but stepping must remain possible.
    return {agent: (legal > 0) | ~(legal > 0).any() for agent, legal in env.get_legal_moves(state).items()}


def _measure(env: Any, state: Any, rewards: Any, dones: Any, infos: Any) -> dict[str, jax.Array]:
    won = state.fireworks.sum() == env.num_colors * env.num_ranks
    return {"perfect": (won & dones["__all__"]).astype(jnp.float32)}


FAMILY = Family(
    name="hanabi",
    make=make,
    variants=("full-2p", "full-3p", "full-4p", "full-5p", "small-2p", "very-small-2p"),
    summary="the card game, from JaxMARL",
    pattern="GAME-Np (GAME: full, small, very-small; N players, 2 to 5)",
    package="jaxmarl",
)
