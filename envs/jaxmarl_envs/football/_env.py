"""Football: a team of agents against scripted players."""

import dataclasses
import functools
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, restart, transition
from jaxmarl_envs.core._batch_last import apart, batch_last, random_words
from jaxmarl_envs.football import _show
from jaxmarl_envs.football._matches import kicked_off, restarted
from jaxmarl_envs.football._params import FootballParams
from jaxmarl_envs.football._physics import frozen, substep
from jaxmarl_envs.football._plan import (
    ACTIONS,
    BACK,
    DIRECTIONS,
    DRIBBLE,
    FREE,
    GOAL,
    LONG,
    NUM_ACTIONS,
    RELEASE_DIRECTION,
    RELEASE_DRIBBLE,
    RELEASE_SPRINT,
    RUNNING,
    SHOT,
    SLIDE,
    SPRINT,
    TIME,
    Plan,
)  # fmt: skip
from jaxmarl_envs.football._rules import Rule, rules_of
from jaxmarl_envs.football._scenarios import BALL_UNITS
from jaxmarl_envs.football._script import decisions
from jaxmarl_envs.football._state import Game, Wishes
from jaxmarl_envs.football._viewer import draw

CHECKPOINTS = 10
_WORDS = 4
"""Random numbers per substep."""


@dataclasses.dataclass(frozen=True)
class Football:
    """N agents, with a scripted keeper and perhaps scripted mates, against a scripted team.

    The interface, the scenarios and the rules are those of Google Research Football (Kurach et al. 2020); the engine, in
    two and a half dimensions, is this project's own, so results are not comparable with those on the original. An agent
    is the same player throughout.

    - A step is 0.1 s, in `plan.substeps` parts. Players run with inertia, push each other apart, carry the ball in front
      of them, kick it 0.4 s after they have chosen to, in the direction that they then hold; they win, trap or deflect
      balls that come within reach. `FootballParams` has the numbers.
    - Actions: 0 idle, 1 to 8 directions (left, then clockwise), 9 long, 10 high, 11 short pass, 12 shot, 13 sprint, 14
      release direction, 15 release sprint, 16 slide, 17 dribble, 18 release dribble. Direction, sprint and dribble are
      held until changed. The mask allows what changes something; everything else is like idle, and is allowed too with
      `mask="none"`.
    - Observation "cds": own x, y; the other agents' x, y minus one's own; own direction; the others'; the right team's
      x, y minus one's own (keeper first); their directions; the ball's x, y minus one's own; its z; its direction (x, y,
      z). Positions are in GRF's units (x in 54.4 m, y in 83.6 m, downwards; z in meters), directions per step. "rich"
      has the same with directions times 50 (the ball's times 20), then: held direction one-hot (8), sprint, dribble; time
      left in one's act (s), whether it is a shot, a pass, a slide or pause; possession (nobody, left, right); whether one
      owns the ball oneself; whether each other agent does; share of the time limit. "simple115": as in GRF, version 2.
    - Global state: x, y of the agents, their directions; the same of the right team; ball x, y, z and direction. Unless
      the observation is "cds": as for "rich" also what each agent holds, then its act, possession, who owns the ball,
      time, and the clocks of the rules (s): lock, time since the last kick (at most 2), beaten keeper.
    - Reward, for all agents, a sum of: "scoring", 1 for a goal, -1 for one conceded; "checkpoints", 0.1 for each of ten
      distances from the goal at which an agent first has the ball, for each agent, with what is left paid upon a goal;
      "cds", 100 for a goal, otherwise -1 at the end of an episode.
    - Terminated: a goal; the ball out of play, or a foul; the right team has the ball, except in corners and matches; with
      the rules "cds", the ball or an agent in the left half. Matches end only by time. Truncated after
      `FootballParams.limit` steps, in which nothing else ends the episode.
    - Metrics, so far: `goal`, `conceded`, `passes` from agent to agent, `shots`.

    A batch is computed with instances on the last axis, whatever `vmap` says: long rows of equal work.
    """

    plan: Plan
    limit: int
    id: str = dataclasses.field(default="football/unnamed", compare=False)
    optimum: float | None = dataclasses.field(default=None, compare=False)
    default_params: Any = dataclasses.field(default=None, compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description."""
        return EnvSpec(
            id=self.id,
            n_agents=self.plan.n_agents,
            obs_shape=(_show.obs_size(self.plan),),
            num_actions=NUM_ACTIONS,
            state_size=_show.state_size(self.plan),
            episode_limit=self.limit,
            metrics=("goal", "conceded", "passes", "shots"),
            optimum=self.optimum,
        )

    def reset(self, key: Array, params: FootballParams) -> tuple[Game, TimeStep]:
        """All players at their start. Consumes `key`: random offsets, and the kick-off of matches."""
        state, obs, whole, mask = _batched_reset(self.plan)(key, params)
        return state, restart(self.spec, obs=obs, state=whole, action_mask=mask)

    def step(self, key: Array, state: Game, action: Array, params: FootballParams) -> tuple[Game, TimeStep]:
        """A tenth of a second. `action`: [N] int32. Consumes `key`. A finished episode stays as it is, with zero reward."""
        state, obs, whole, mask, reward, terminated, truncated, counts = _batched_step(self.plan)(
            key, state, action, params
        )
        return state, transition(
            self.spec,
            obs=obs,
            state=whole,
            action_mask=mask,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            metrics=dict(zip(self.spec.metrics, counts)),
        )

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Policies for comparison: `timestep -> action [N]` of one instance."""
        return rules_of(self.plan)

    @property
    def seconds_per_frame(self) -> float:
        """Duration of a step, in animations."""
        return _show.STEP

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the 19 actions."""
        return ACTIONS

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw(self.plan, ax, frame)


@functools.lru_cache(maxsize=256)
def _batched_reset(plan: Plan) -> Any:
    """`reset(key, params)` of one instance, which `vmap` turns into one computation on [.., E]."""

    def reset(keys: Array, params: FootballParams) -> Any:
        return _reset(plan, random_words(keys, 2 * plan.n_players + 1), _numbers(params))

    return batch_last(_finite, reset)


@functools.lru_cache(maxsize=256)
def _batched_step(plan: Plan) -> Any:
    """`step(key, state, action, params)` of one instance, which `vmap` turns into one computation on [.., E]."""

    def step(keys: Array, game: Game, action: Array, params: FootballParams) -> Any:
        return _step(plan, random_words(keys, _WORDS * plan.substeps), game, action, _numbers(params))

    return batch_last(_finite, step)


def _finite(params: FootballParams) -> Array:
    """A traced number that is finite."""
    return params.limit


def _numbers(params: FootballParams) -> FootballParams:
    """`params` with scalars as [1, 1 or E]."""
    return jax.tree.map(lambda x: x[None] if x.ndim == 1 else x, params)


def uniform(words: Array) -> Array:
    """[*] float32 in [0, 1) of random words."""
    return (words >> 8).astype(jnp.float32) * (2.0**-24)


def _reset(plan: Plan, words: Array, p: FootballParams) -> Any:
    """The first state and its observations, [.., E]."""
    size, count, n = words.shape[-1], plan.n_players, plan.n_agents
    offset = (uniform(words[: 2 * count]) * 2.0 - 1.0) * p.start_jitter
    x, y = (p.start[:, k] + jnp.where(plan.is_keeper, 0.0, part) for k, part in enumerate(jnp.split(offset, 2)))
    ball = jnp.concatenate([p.ball, jnp.full_like(p.ball[:1], 0.11), jnp.zeros((3, *p.ball.shape[1:]), jnp.float32)])
    zero, none, held = (
        jnp.zeros((count, size), jnp.float32),
        jnp.zeros((1, size), jnp.int32),
        jnp.zeros((n, size), jnp.int32),
    )
    game = Game(
        x=x,
        y=y,
        vx=zero,
        vy=zero,
        hx=jnp.broadcast_to(plan.attack, x.shape),
        hy=zero,
        ball=jnp.broadcast_to(ball, (6, size)),
        owner=none - 1,
        last=none - 1,
        lock=none,
        since=none + 1000,
        beaten=none,
        kind=jnp.full((count, size), FREE, jnp.int32),
        timer=jnp.zeros((count, size), jnp.int32),
        direction=held,
        sprints=held > 0,
        dribbles=held > 0,
        checks=held,
        counts=jnp.zeros((4, size), jnp.int32),
        t=none,
        over=none + RUNNING,
    )
    if plan.is_match:
        middle = jnp.zeros((1, size), jnp.float32)
        game = kicked_off(plan, game, middle, middle, uniform(words[-1:]) < 0.5)
    return [game, *_shown(plan, game, p)]


def _step(plan: Plan, words: Array, game: Game, action: Array, p: FootballParams) -> Any:
    """The next state, its observations, reward, ends and counts, [.., E]."""
    before = game
    luck = 0.5 + p.noise * (uniform(words) - 0.5)
    game, wishes = _decided(plan, game, action, p)
    luck = luck.reshape(plan.substeps, _WORDS, -1)

    def body(k: Array, game: Game) -> Game:
        return substep(plan, game, wishes, jax.lax.dynamic_index_in_dim(luck, k, 0, keepdims=False), p)

    game = jax.lax.fori_loop(0, plan.substeps, body, game)
    game = game.replace(t=game.t + 1)
    if plan.rules == "cds":
        agents = slice(plan.first_agent, plan.n_left)
        is_back = (game.ball[0:1] < 0) | (game.x[agents] < 0).any(0, keepdims=True)
        game = game.replace(over=jnp.where((game.over == RUNNING) & is_back, BACK, game.over))
    reward, checks = _reward(plan, before, game, p)
    if plan.is_match:
        game = restarted(plan, game, p)
    is_late = (game.over == RUNNING) & (game.t.astype(jnp.float32) >= p.limit)
    game = game.replace(over=jnp.where(is_late, TIME, game.over), checks=checks)
    if "cds" in plan.rewards:
        goal = game.over == GOAL
        reward = reward + jnp.where(goal, 100.0, jnp.where(game.over != RUNNING, -1.0, 0.0))
    was_over = before.over != RUNNING
    game = frozen(was_over, before, game)
    reward = jnp.where(was_over, 0.0, reward)
    ended = (game.over != RUNNING) & (game.over != TIME)
    counts = tuple(game.counts.astype(jnp.float32))
    return [game, *_shown(plan, game, p), reward[0], ended[0], (game.over == TIME)[0], counts]


def _decided(plan: Plan, game: Game, action: Array, p: FootballParams) -> tuple[Game, Wishes]:
    """The game after all players have decided, and what they want; agents by their actions [n, E]."""
    agents = slice(plan.first_agent, plan.n_left)
    action = jnp.where(_show.is_legal(plan, game, action), action, 0)
    turns = (action >= 1) & (action <= 8)
    direction = jnp.where(turns, action, jnp.where(action == RELEASE_DIRECTION, 0, game.direction))
    sprints = (game.sprints | (action == SPRINT)) & (action != RELEASE_SPRINT)
    dribbles = (game.dribbles | (action == DRIBBLE)) & (action != RELEASE_DRIBBLE)
    script = decisions(plan, game, p)

    pad = ((plan.first_agent, plan.n_right), (0, 0))
    act = jnp.pad(jnp.where(((action >= LONG) & (action <= SHOT)) | (action == SLIDE), action, 0), pad)
    act = jnp.where((plan.numbers == game.owner) & ~plan.is_agent, script.act, act)
    kick_time, slide_time = plan.duration(0.4), plan.duration(0.5)
    game = game.replace(
        direction=direction,
        sprints=sprints,
        dribbles=dribbles,
        kind=jnp.where(act > 0, act, game.kind),
        timer=jnp.where(act > 0, jnp.where(act == SLIDE, slide_time, kick_time), game.timer),
    )
    aim_x, aim_y = (_heading(direction, axis) for axis in range(2))
    speed = jnp.where(sprints, p.sprint, jnp.where(dribbles, p.dribble, p.walk))
    parts = [aim_x * speed, aim_y * speed, aim_x, aim_y, dribbles & ~sprints]

    def joined(ours: Array, theirs: Array) -> Array:
        return jnp.concatenate([theirs[: agents.start], ours.astype(theirs.dtype), theirs[agents.stop :]])

    never = jnp.zeros(game.x.shape, bool)
    of_script = [script.vx, script.vy, script.aim_x, script.aim_y, never]
    return game, Wishes(*(joined(ours, theirs) for ours, theirs in zip(parts, of_script)))


def _heading(direction: Array, axis: int) -> Array:
    """[n, E] x or y of the unit vectors of held directions; 0 where none is held."""
    found = jnp.zeros(direction.shape, jnp.float32)
    for k, way in enumerate(DIRECTIONS):
        found = jnp.where(direction == k + 1, float(way[axis]), found)
    return found


def _reward(plan: Plan, before: Game, game: Game, p: FootballParams) -> tuple[Array, Array]:
    """[1, E] reward of the step by "scoring" and "checkpoints", and the checkpoints collected, [n, E]."""
    gained = (game.counts - before.counts).astype(jnp.float32)
    reward = jnp.zeros_like(gained[:1])
    if "scoring" in plan.rewards:
        reward = reward + gained[0:1] - gained[1:2]
    checks = game.checks
    if "checkpoints" in plan.rewards:
        x, y = game.ball[0:1] * float(1 / BALL_UNITS[0]) - 1.0, game.ball[1:2] * float(1 / BALL_UNITS[1])
        distance = jnp.sqrt(x * x + y * y)
        number = jnp.arange(CHECKPOINTS, dtype=jnp.float32)[:, None]
        reached = (distance <= 0.99 - (0.99 - 0.19) / 9 * number).sum(0, keepdims=True, dtype=jnp.int32)
        owns = plan.numbers[plan.first_agent : plan.n_left] == game.owner
        checks = jnp.where(owns, jnp.maximum(checks, reached), checks)
        checks = jnp.where(gained[0:1] > 0, CHECKPOINTS, checks)
        new = (checks - game.checks).sum(0, keepdims=True, dtype=jnp.int32)
        reward = reward + 0.1 * new.astype(jnp.float32)
    return reward, checks


def _shown(plan: Plan, game: Game, p: FootballParams) -> tuple[Array, Array, Array]:
    """Observations [D, n, E], the global state [G, E] and masks [19, n, E]."""

    def show(game: Game, p: FootballParams) -> Any:
        return _show.observations(plan, game, p), _show.global_state(plan, game, p), _show.action_mask(plan, game)

    return apart(p.limit, show, game, p)
