"""A team of units against a scripted enemy."""

import dataclasses
import functools
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, restart, transition
from jaxmarl_envs.core._batch_last import apart, batch_last, random_words
from jaxmarl_envs.micro import _show, _starts
from jaxmarl_envs.micro._params import (
    POINT,
    MicroParams,
    Pairs,
    Units,
    on_grid,
    pairs_of,
    unit_columns,
    units_of,
)
from jaxmarl_envs.micro._physics import substep
from jaxmarl_envs.micro._plan import Plan
from jaxmarl_envs.micro._rules import Rule, rules_of
from jaxmarl_envs.micro._state import Chance, Fight, Orders
from jaxmarl_envs.micro._viewer import draw

Array = jax.Array
_FAR = 640.0
"""Distance in 1/64 cell of the point that a move heads for: farther than any unit walks in a step."""


@dataclasses.dataclass(frozen=True)
class Micro:
    """N units, each an agent, against M units that follow a script: micromanagement after SMAC.

    This is a separate engine with SMAC's interface, maps and rules (Samvelyan et al. 2019; random teams as in SMACv2,
    Ellis et al. 2023). Results are not comparable with those of StarCraft II.

    - A step is 8 game loops (16 loops per second), simulated in `plan.substeps` parts; all units act at the same time.
    - Actions: 0 nothing (only for dead units, which have no other), 1 stop, 2 to 5 walk north, south, east, west, 6 +
    j attack enemy j;
    for medivacs: heal ally j. Walking is legal towards walkable cells, attacking where centers are at most
    `shoot_range`
      apart; the attacker approaches until it is in weapon range. Orders that cannot be carried out count as stops.
    - A shot hits at once: damage plus bonus against light or armored targets, minus armor once the shield is gone;
    then the unit waits for its period plus U(-1, 2) loops. This noise and the enemy's `accuracy` are the only
    randomness of a battle.
      Shields recharge after 160 loops without damage, zerg always regenerate. Beams of colossi and explosions of
      banelings
      hurt
      all enemies in their way. Units that overlap push each other apart.
    - Enemies attack the nearest ally that they see, or that hurt them (armed before unarmed); without one they walk to
    the
      goal. `MicroParams` has all numbers, including those that make enemies stronger or weaker.
    - Observation: `spec.entities` names every column. Distances are in units of `sight`; entities farther away are
    hidden. All zeros for dead agents. Global state: for each ally hit points, time until the next shot in its period
    (energy of
      medivacs), x, y from the middle, then shield, and kind if the map has several; for each enemy the same without
      the time; then the last actions one-hot.
    - Reward, for all agents: hit points and shields taken from enemies, `reward_kill` for each killed enemy and
    `reward_win` for winning, scaled so that a flawless win returns `reward_scale` = 20. "positive" (default) is never
    negative, even if shields recharge faster than damage is done; "abs" is the absolute value as in SMAC; "sparse" is
    1 for a win and -1 for a defeat.
    - Terminated: won, when no enemy is left (or only a medivac is); lost, when no ally is left (or only medivacs are);
    or both sides are gone, which counts as neither. The family adds the time limit, which truncates.
    - Metrics: `win` (in the step that wins), `dead_allies`, `dead_enemies` (now).

    All numbers of the state are on grids that float32 represents exactly, so every program computes the same battle,
    bit for bit, as long as params are an argument of it: with the game's key, `step` is an exact model; with another
    key, a sample; with `noise=0`, deterministic.

    A batch is computed with instances on the last axis, whatever `vmap` says: long rows of equal work.
    """

    plan: Plan
    id: str = dataclasses.field(default="micro/unnamed", compare=False)
    default_params: Any = dataclasses.field(default=None, compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description."""
        return EnvSpec(
            id=self.id,
            n_agents=self.plan.n_allies,
            obs_shape=(_show.obs_size(self.plan),),
            num_actions=self.plan.num_actions,
            state_size=_show.state_size(self.plan),
            obs_bounds=(-1.0, 1.0),
            metrics=("win", "dead_allies", "dead_enemies"),
            reset_is_costly=self.plan.draws_teams or self.plan.jitters,
            entities=_show.entity_blocks(self.plan),
            dead_action=0,
        )

    def reset(self, key: Array, params: MicroParams) -> tuple[Fight, TimeStep]:
        """All units at their start. Consumes `key` (used only if starts are random)."""
        state, *shown = _batched_reset(self.plan)(key, params)
        obs, whole, mask = shown
        return state, restart(self.spec, obs=obs, state=whole, action_mask=mask)

    def step(self, key: Array, state: Fight, action: Array, params: MicroParams) -> tuple[Fight, TimeStep]:
        """Eight game loops. `action`: [N] int32. Consumes `key`. A finished battle continues with zero reward."""
        state, *shown = _batched_step(self.plan)(key, state, action, params)
        obs, whole, mask, reward, terminated, metrics = shown
        return state, transition(
            self.spec,
            obs=obs,
            state=whole,
            action_mask=mask,
            reward=reward,
            terminated=terminated,
            metrics=dict(zip(self.spec.metrics, metrics)),
        )

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Simple policies for comparison: `timestep -> action [N]` of one instance."""
        return rules_of(self.spec, np.asarray(self.default_params.start))

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw(self.plan, ax, frame)


@functools.lru_cache(maxsize=256)
def _batched_reset(plan: Plan) -> Any:
    """`reset(key, params)` of one instance, which `vmap` turns into one computation on [.., E]."""
    words = _starts.words_of_reset(plan)
    return batch_last(_finite, lambda keys, params: _reset(plan, random_words(keys, words), params))


@functools.lru_cache(maxsize=256)
def _batched_step(plan: Plan) -> Any:
    """`step(key, state, action, params)` of one instance, which `vmap` turns into one computation on [.., E]."""

    def step(keys: Array, fight: Fight, action: Array, params: MicroParams) -> Any:
        return _step(plan, random_words(keys, 2), fight, action, params)

    return batch_last(_finite, step)


def _finite(params: MicroParams) -> Array:
    """A traced number that is finite."""
    return params.sight


def _numbers(plan: Plan, fight_kinds: Array, params: MicroParams) -> tuple[MicroParams, Units, Pairs]:
    """`params` with scalars as [1, 1 or E], and the numbers of units and pairs."""
    params = jax.tree.map(lambda x: x[None] if x.ndim == 1 else x, params)
    kinds = fight_kinds if plan.draws_teams else np.array(plan.allies + plan.enemies)
    columns = unit_columns(params, kinds, plan.n_allies)
    units = units_of(columns, params, plan.dt)
    return params, units, pairs_of(columns, units, params, plan.n_allies)


def _reset(plan: Plan, words: Array, params: MicroParams) -> Any:
    """The first state and its observations, [.., E]."""
    n, size = plan.n_allies, words.shape[-1]
    count = n + plan.n_enemies
    kinds = _starts.drawn_kinds(plan, words[:count]) if plan.draws_teams else jnp.zeros((0, size), jnp.float32)
    params, units, _ = _numbers(plan, kinds, params)
    if plan.draws_teams:
        x, y = _starts.drawn_places(plan, words[count:])
    else:
        x, y = (jnp.broadcast_to(params.start[:, k], (count, size)) for k in range(2))
    fight = _starts.begin(plan, x, y, kinds, units, params)
    if plan.draws_teams:
        fight = _starts.settled(plan, fight, units, params)
    if plan.jitters:
        fight = _starts.jittered(plan, fight, words[-count:], units, params)
    return [fight, *_shown(plan, fight, jnp.full((n, size), -1, jnp.int32), units, params)]


def _step(plan: Plan, words: Array, fight: Fight, action: Array, params: MicroParams) -> Any:
    """The next state, its observations, reward, end and metrics, [.., E]."""
    n, m = plan.n_allies, plan.n_enemies
    params, units, pairs = _numbers(plan, fight.kinds, params)
    chance = _chance(n, m, words, params)
    orders = _orders(plan, fight, action)
    before = fight

    def body(_: Array, fight: Fight) -> Fight:
        return substep(plan, fight, orders, chance, units, pairs, params)

    fight = jax.lax.fori_loop(0, plan.substeps, body, fight)
    was_over = functools.reduce(jnp.logical_or, _ends(plan, before))
    won, lost, drawn = _ends(plan, fight)
    reward = _reward(plan, before, fight, won, lost, units, params)
    reward = jnp.where(was_over, 0.0, reward)
    dead = fight.hp <= 0
    metrics = (
        (won & ~was_over).astype(jnp.float32),
        dead[:n].astype(jnp.float32).sum(0),
        dead[n:].astype(jnp.float32).sum(0),
    )
    return [fight, *_shown(plan, fight, action, units, params), reward, won | lost | drawn, metrics]


def _chance(n: int, m: int, words: Array, params: MicroParams) -> Chance:
    """16 bits per unit, hashed from `words` [2, E]: noise of the time between shots, and whether an enemy's shot hits."""
    number = jnp.arange(1, n + m + 1, dtype=jnp.uint32)[:, None]
    bits = _mixed(_mixed(words[:1] ^ (number * jnp.uint32(0x9E3779B9))) ^ words[1:])
    share = (bits & 255).astype(jnp.float32)
    noise = share * (3 / 256) - (1 - 1.5 / 256)  # exact: U(-1, 2) in 256 steps
    luck = ((bits >> 8) & 255).astype(jnp.float32)[n:] < params.accuracy * 256
    always = jnp.ones((n, words.shape[-1]), bool)
    return Chance(on_grid(noise * params.noise, POINT), jnp.concatenate([always, luck]))


def _mixed(x: jax.Array) -> jax.Array:
    """A bijection of [*] uint32 in which every output bit depends on all bits of `x`.

    Two rounds of multiplication and shift, which turn a random word and a number into another random word.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _orders(plan: Plan, fight: Fight, action: Array) -> Orders:
    """Decodes the actions [N, E]."""
    n = plan.n_allies
    target = jnp.where(action >= 6, (action - 6).astype(jnp.float32), -1.0)
    heal = jnp.full_like(target, -1.0)
    if plan.healers:
        heals = plan.marked("heals", fight.kinds, fight.hp)[:n]
        is_other = target != jnp.arange(n, dtype=jnp.float32)[:, None]
        heal = jnp.where(heals & is_other, target, -1.0)
        target = jnp.where(heals, -1.0, target)
    move_x, move_y = (
        sum(jnp.where(action == 2 + k, jnp.float32(_FAR * way[axis]), 0.0) for k, way in enumerate(_show.DIRECTIONS))
        for axis in range(2)
    )
    return Orders(target, heal, move_x, move_y)  # type: ignore[arg-type]


def _ends(plan: Plan, fight: Fight) -> tuple[Array, Array, Array]:
    """[E] bool each: won, lost, and neither with both sides gone."""
    n = plan.n_allies
    alive = fight.hp > 0
    ours, theirs = alive[:n].any(0), alive[n:].any(0)
    lost, won = ~ours & theirs, ours & ~theirs
    if plan.healers:  # as in SMAC: medivacs alone cannot win, and the last one cannot continue
        heals = plan.marked("heals", fight.kinds, fight.hp)
        fights = alive & ~heals
        lost |= ours & ~fights[:n].any(0)
        single = alive[n:].astype(jnp.float32).sum(0) == 1
        won = ~lost & (won | (ours & single & ~fights[n:].any(0)))
    return won, lost, ~ours & ~theirs


def _reward(
    plan: Plan, before: Fight, after: Fight, won: Array, lost: Array, units: Units, params: MicroParams
) -> Array:
    """[E] reward of the step between two states."""
    if plan.reward == "sparse":
        return won.astype(jnp.float32) - lost.astype(jnp.float32)
    n, m = plan.n_allies, plan.n_enemies
    fall = (before.hp + before.shield) - (after.hp + after.shield)
    died = ((before.hp > 0) & (after.hp <= 0)).astype(jnp.float32)

    def worth(side: slice) -> Array:
        """[1, E] health lost by a side, on the grid of hit points, so that sums are exact."""
        damage = on_grid(fall[side].sum(0, keepdims=True) * params.reward_damage, POINT)
        return damage + on_grid(died[side].sum(0, keepdims=True) * params.reward_kill, POINT)

    theirs = worth(slice(n, None))
    theirs = jnp.abs(theirs) if plan.reward == "abs" else jnp.maximum(theirs, 0.0)
    ours = on_grid(worth(slice(0, n)) * params.ally_loss, POINT)
    total = theirs - ours + jnp.where(won[None], on_grid(params.reward_win, POINT), 0.0)
    health = (units.max_hp + units.max_shield)[n:].sum(0, keepdims=True)
    most = on_grid(params.reward_kill * float(m), POINT) + on_grid(params.reward_win, POINT) + health
    return (total * (params.reward_scale / most))[0]


def _shown(plan: Plan, fight: Fight, action: Array, units: Units, params: MicroParams) -> tuple[Array, Array, Array]:
    """Observations [D, N, E], the global state [G, E] and masks [A, N, E]."""

    def show(fight: Fight, action: Array, units: Units, params: MicroParams) -> Any:
        mask = _show.action_mask(plan, fight, params)
        obs = _show.observations(plan, fight, mask, units, params)
        return obs, _show.global_state(plan, fight, action, units), mask

    parts, whole, mask = apart(params.sight, show, fight, action, units, params)
    return apart(params.sight, jnp.concatenate, parts), whole, mask
