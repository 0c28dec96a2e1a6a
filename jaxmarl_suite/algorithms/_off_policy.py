"""Off-policy learning from single steps, once: a block of play, a preparation, a block of gradient steps.

Deliberate differences from the published codes, which take a gradient step after each step of a single environment:
`rollout_length` steps of `num_envs` environments are played with one policy, then `gradient_steps` follow (with 1, 1 and
1 it is the same). Play before the first gradient step is uniformly random, and no gradient step is taken during it.
Methods without an actor (Q-learning) have an empty one, of which no gradient step is taken.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms._base import Algorithm, Average, Context, Metrics, Milestone, Phase, episode_metrics
from jaxmarl_suite.algorithms._learner import Learner, gradient_step
from jaxmarl_suite.algorithms._off_policy_config import OffPolicyConfig
from jaxmarl_suite.algorithms._off_policy_parts import Method, Players, Step, draw_batch
from jaxmarl_suite.replay import Draw, StepState, make_step_replay


@pytree_dataclass
class Learnt:
    """What gradient steps change."""

    actor: Learner
    critic: Learner
    targets: Any  # averaged parameters by name

    @property
    def params(self) -> dict[str, Any]:
        """Parameters by name."""
        return {"actor": self.actor.params, "critic": self.critic.params}


@pytree_dataclass
class OffPolicyState:
    """All that a learner carries from one update to the next. E environments."""

    learnt: Learnt
    replay: Any  # `Step` [E, capacity / E, ...]
    env: VectorState  # [E, ...]
    key: jax.Array  # []


def milestones(method: Method, config: OffPolicyConfig) -> tuple[Milestone, ...]:
    """Settings in absolute units that decide when learning begins, beside those of the method."""
    steps = config.num_envs * config.rollout_length
    first = max(math.ceil(config.warmup_steps / steps), 1)
    found = [Milestone("warmup_steps", "the first gradient step", first * steps, is_vital=True)]
    if method.actor_loss is not None and method.policy_delay > 1:
        acted = max(math.ceil(method.policy_delay / config.gradient_steps), 1) + first - 1
        found.append(Milestone("policy_delay", "the first gradient step of the actor", acted * steps, is_vital=True))
    return (*found, *method.milestones(config))


def make_off_policy(players: Players, env: Environment, method: Method) -> tuple[Phase, ...]:
    """The algorithm with these parts.

    Args:
      players: static sizes and the kind of actions; the config's floats are replaced by `ctx.hp`'s.
      env: one instance; batched and auto-reset here.
      method: what is regressed and improved.
    """
    config, spec, actions = players.config, env.spec, players.actions
    vector = VectorEnv(env, config.num_envs)
    replay = make_step_replay(config.num_envs, config.capacity // config.num_envs)
    steps_per_update = config.num_envs * config.rollout_length
    delay = method.policy_delay
    stored_mask, stored_state = spec.num_actions, players.spec.state_size

    def optimizer(ctx: Context) -> Any:
        return optax.adam(ctx.hp.learning_rate)

    def init(key: jax.Array, ctx: Context) -> OffPolicyState:
        net_key, env_key, key = jax.random.split(key, 3)
        params = method.init(net_key)
        actor, critic = (Learner(params[name], optimizer(ctx).init(params[name])) for name in ("actor", "critic"))
        env_state = vector.reset(env_key, ctx.env_params)
        shape = jax.eval_shape(lambda: collect(method.policy(params), env_state, env_key, ctx)[1])
        step = jax.tree.map(lambda s: jnp.zeros(s.shape[2:], s.dtype), shape)
        return OffPolicyState(Learnt(actor, critic, method.targets(params)), replay.init(step), env_state, key)

    def collect(
        policy: Any, env_state: VectorState, key: jax.Array, ctx: Context
    ) -> tuple[VectorState, Step, TimeStep]:
        """A block of play as steps [E, L, ...], and what they led to, [L, E, ...]."""
        is_warming_up = ctx.played(steps_per_update) < config.warmup_steps  # no lane's own: stays a branch

        def step(env_state: VectorState, key: jax.Array) -> tuple[VectorState, tuple[Step, TimeStep]]:
            seen = env_state.timestep
            act_key, step_key = jax.random.split(key)
            action = jax.lax.cond(
                is_warming_up,
                lambda key: actions.random(key, seen.action_mask),
                lambda key: method.explore(policy, seen.obs, seen.action_mask, key, ctx),
                act_key,
            )
            env_state = vector.step(step_key, env_state, actions.to_env(action), ctx.env_params)
            led_to = env_state.timestep
            stored = Step(
                obs=seen.obs,
                state=seen.state[:, :stored_state],
                action=action,
                reward=led_to.reward.mean(-1) * ctx.hp.reward_scale,
                terminated=led_to.terminated,
                truncated=led_to.truncated,
                next_obs=led_to.final_obs,
                next_state=led_to.final_state[:, :stored_state],
                next_mask=led_to.final_mask[..., :stored_mask],
            )
            return env_state, (stored, led_to)

        env_state, (steps, led_to) = jax.lax.scan(step, env_state, jax.random.split(key, config.rollout_length))
        return env_state, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps), led_to

    def improve(learnt: Learnt, batch: Any, key: jax.Array, ctx: Context) -> tuple[Learner, Any, dict[str, jax.Array]]:
        """`(actor, targets, metrics)` after a gradient step of the actors, where there are any."""
        actor, actor_loss = learnt.actor, method.actor_loss
        metrics: dict[str, jax.Array] = {}
        if actor_loss is not None:
            actor, metrics = gradient_step(
                actor, batch, lambda p, b: actor_loss(p, learnt.critic.params, b, key, ctx), optimizer(ctx)
            )
            metrics["actor_grad_norm"] = metrics.pop("grad_norm")
        params = {"actor": actor.params, "critic": learnt.critic.params}
        return actor, method.follow(learnt.targets, params, ctx), metrics

    def learn(
        learnt: Learnt, ring: StepState, key: jax.Array, ctx: Context
    ) -> tuple[Learnt, dict[str, jax.Array], dict[str, jax.Array]]:
        """After a block of gradient steps; metrics of the critics (means) and of the actors (sums, with their number)."""
        prepare_key, draw_key, step_key = jax.random.split(key, 3)
        targets, prepared = method.prepare(learnt.params, learnt.targets, ring, prepare_key, ctx)
        steps = config.gradient_steps
        draws = replay.draw(ring, draw_key, (steps, config.batch_size))
        updates = ctx.played(steps_per_update) // steps_per_update
        before = (updates % delay) * (steps % delay)  # gradient steps so far, up to multiples of the delay

        def step(
            learnt: Learnt, inputs: tuple[jax.Array, Draw, jax.Array]
        ) -> tuple[Learnt, tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
            index, draw, (critic_key, actor_key) = inputs
            batch = draw_batch(ring, prepared, draw, n_step=method.n_step, gamma=ctx.hp.gamma)
            critic, metrics = gradient_step(
                learnt.critic,
                batch,
                lambda p, b: method.critic_loss(p, learnt.actor.params, learnt.targets, b, critic_key, ctx),
                optimizer(ctx),
            )
            metrics["critic_grad_norm"] = metrics.pop("grad_norm")
            learnt = Learnt(learnt.actor, critic, learnt.targets)

            def now(learnt: Learnt) -> tuple[Learner, Any, dict[str, jax.Array]]:
                return improve(learnt, batch, actor_key, ctx)

            def later(learnt: Learnt) -> tuple[Learner, Any, dict[str, jax.Array]]:
                shapes = jax.eval_shape(now, learnt)[2]
                return learnt.actor, learnt.targets, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

            is_due = (before + index + 1) % delay == 0
            actor, targets, own = jax.lax.cond(is_due, now, later, learnt) if delay > 1 else now(learnt)
            own["actor_steps"] = is_due.astype(jnp.float32)
            return Learnt(actor, critic, targets), (metrics, own)

        keys = jax.random.split(step_key, (steps, 2))
        learnt, (metrics, own) = jax.lax.scan(
            step, Learnt(learnt.actor, learnt.critic, targets), (jnp.arange(steps, dtype=jnp.int32), draws, keys)
        )
        return learnt, jax.tree.map(jnp.mean, metrics), jax.tree.map(jnp.sum, own)

    def update(state: OffPolicyState, ctx: Context) -> tuple[OffPolicyState, Metrics]:
        play_key, learn_key, key = jax.random.split(state.key, 3)
        env_state, steps, led_to = collect(method.policy(state.learnt.params), state.env, play_key, ctx)
        ring = replay.add(state.replay, steps)
        # What was played is no lane's own, so this stays a branch where lanes are batched.
        is_ready = ctx.played(steps_per_update) + steps_per_update >= config.warmup_steps

        def train(learnt: Learnt) -> tuple[Learnt, dict[str, jax.Array], dict[str, jax.Array]]:
            return learn(learnt, ring, learn_key, ctx)

        def wait(learnt: Learnt) -> tuple[Learnt, dict[str, jax.Array], dict[str, jax.Array]]:
            shapes = jax.eval_shape(train, learnt)[1:]
            return learnt, *jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        learnt, of_critics, of_actors = jax.lax.cond(is_ready, train, wait, state.learnt)
        weight = is_ready.astype(jnp.float32)
        learner = {name: Average(value, weight) for name, value in of_critics.items()}
        count = of_actors.pop("actor_steps")
        learner |= {name: Average(value, count) for name, value in of_actors.items()}
        return OffPolicyState(learnt, ring, env_state, key), Metrics(episode_metrics(led_to), learner)

    def act(policy: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, ctx: Context) -> tuple[jax.Array, Any]:
        return actions.to_env(method.greedy(policy, timestep.obs, timestep.action_mask)), carry

    algorithm = Algorithm(
        init=init,
        update=update,
        policy=lambda state: method.policy(state.learnt.params),
        init_carry=lambda n: jnp.zeros((n, 0), jnp.float32),
        act=act,
        env_steps_per_update=steps_per_update,
        milestones=partial(milestones, method),
    )
    return (Phase("q" if method.actor_loss is None else "actor-critic", algorithm),)
