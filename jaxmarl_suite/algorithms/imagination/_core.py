"""Policies learned in a world model, shared by all its methods: one round is play, model updates, and PPO in the model.

The model is an environment: imagination is `rollout` in it, and what learns is the shared PPO. A round is one `update`,
so that all of it is compiled together.

Deliberate differences from DIMA's code: training examples are drawn by age of steps instead of episodes, and uniformly
for rewards and observations instead of by visit counts; the step sizes of the models are not warmed up; the critic sees
the state, not the previous joint action; actors have the suite's networks; returns are those of the shared generalized
advantage, so that its extra discount does not occur.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass
from jaxmarl_envs.core import observation_function

from jaxmarl_suite.algorithms.core import (
    ActContext,
    Algorithm,
    Context,
    Learner,
    Metrics,
    Milestone,
    Phase,
    Transitions,
    central_view,
    episode_metrics,
    gradient_step,
    learn_when,
    new_learner,
    rollout,
)
from jaxmarl_suite.algorithms.imagination._config import ImaginationConfig
from jaxmarl_suite.algorithms.ppo import PPO, PPOLearners, Trajectory, local_policy, make_ppo_learner
from jaxmarl_suite.replay import (
    Block,
    Store,
    StoreLayout,
    Windows,
    add_block,
    draw_by_age,
    draw_steps,
    new_store,
    read_windows,
)
from jaxmarl_suite.worldmodels import (
    SMALL_DENOISER,
    SMALL_OUTCOMES,
    DenoiserSizes,
    ModelEnvironment,
    ModelParams,
    Normalizer,
    OutcomeSizes,
    Played,
    Seen,
    WorldModel,
    WorldParams,
    make_world_model,
    read_segments,
    read_sequences,
    read_starts,
)

AGES = (0.1, 0.1, 0.1, 0.7)
"""Shares of training examples and starts from the quarters of the stored time, oldest first."""
SIZES = {
    "tiny": (DenoiserSizes(8, 1, 1, 2, 8, 0, 2, 4, 8, 4), OutcomeSizes(1, 1, 2, 2, 8)),
    "small": (SMALL_DENOISER, SMALL_OUTCOMES),
    "full": (DenoiserSizes(), OutcomeSizes()),
}
"""Sizes of the denoiser and of the model of rewards and ends, by `model_size`."""


@pytree_dataclass
class WorldLearners:
    """The parts of a world model with their optimizers."""

    states: Learner
    outcomes: Learner
    observations: Learner  # of the weights; empty for exact observations
    codes: Any  # of the model of observations
    normalizer: Normalizer

    @property
    def params(self) -> WorldParams:
        """What playing in the model needs."""
        observations = (self.observations.params, self.codes)
        return WorldParams(self.states.params, self.outcomes.params, observations, self.normalizer)


@pytree_dataclass
class ImaginationState:
    """The state of a learner between rounds. E environments of the task."""

    learners: PPOLearners
    world: WorldLearners
    replay: Store  # of `Played` and `Seen`
    env: VectorState  # [E, ...]
    key: jax.Array  # []


@dataclasses.dataclass(frozen=True)
class Imagination:
    """The learner and its static parts; floats of the config are read from `ctx.hp`."""

    config: ImaginationConfig
    env: VectorEnv
    """The task."""
    model: WorldModel
    ppo: PPO
    layout: StoreLayout
    """Of the replay."""

    def rounds_before(self, ctx: Context) -> jax.Array:
        """[] int32, earlier rounds with model updates; negative during the warm-up."""
        return ctx.played(self.config.steps_per_round) // self.config.steps_per_round - first_round(self.config)

    def optimizers(self, ctx: Context) -> dict[str, Any]:
        """The optimizers of the parts of the model, by name."""
        hp = ctx.hp

        def adamw(rate: jax.Array, max_norm: float) -> Any:
            step = optax.adamw(rate, weight_decay=hp.model_weight_decay)
            # On one vector: a step per leaf would be most of what is compiled.
            return optax.flatten(optax.chain(optax.clip_by_global_norm(max_norm), step))

        return {
            "states": adamw(hp.model_learning_rate, 1.0),
            "outcomes": adamw(hp.model_learning_rate, 10.0),
            "observations": (  # exact ones have no weights, of which no vector can be made
                adamw(hp.observation_learning_rate, 10.0) if self.model.observations.is_learned else optax.identity()
            ),
        }

    def init_world(self, key: jax.Array, ctx: Context) -> WorldLearners:
        """An untrained model. Consumes `key`."""
        params, optimizers = self.model.init(key), self.optimizers(ctx)
        weights, codes = params.observations

        def learner(name: str, params: Any) -> Learner:
            return new_learner(lambda key: params, key, optimizers[name], shared=True)

        return WorldLearners(
            states=learner("states", params.states),
            outcomes=learner("outcomes", params.outcomes),
            observations=learner("observations", weights),
            codes=codes,
            normalizer=params.normalizer,
        )

    def play(
        self, actor: Any, state: VectorState, key: jax.Array, ctx: Context
    ) -> tuple[VectorState, Block, Transitions]:
        """Plays a round in the task: `(state, block, transitions [L, E, ...])`. Consumes `key`."""
        carry = self.ppo.policy.initial_carry(self.env.num_envs)  # of a policy without memory

        def act(carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
            action, carry, _ = self.ppo.act(actor, carry, timestep, key)
            return action, carry, action

        state, _, steps = rollout(self.env, act, state, carry, key, ctx.env_params, self.config.rollout_length)
        return state, self._to_block(steps, state.timestep), steps

    def _to_block(self, steps: Transitions, last: TimeStep) -> Block:
        shown, after = steps.timestep, steps.next_timestep

        def seen(state: jax.Array, obs: jax.Array) -> Seen:
            size = obs.shape[-1] if self.model.observations.is_learned else 0
            return Seen(state, obs[..., :size])

        def swap(tree: Any) -> Any:
            return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)

        return Block(
            steps=swap(Played(steps.record, after.reward.mean(-1))),
            observed=swap(seen(shown.state, shown.obs)),
            observed_after=seen(last.state, last.obs),
            final=swap(seen(after.final_state, after.final_obs)),
            terminated=after.terminated.T,
            truncated=after.truncated.T,
            start=(),
        )

    def windows(self, store: Store, key: jax.Array, number: int, length: int, *, by_age: bool = True) -> Windows:
        """Windows of `length` steps, all of them stored. Consumes `key`."""
        if by_age:
            places = draw_by_age(self.layout, store.head, key, (number,), AGES, ahead=length - 1)
        else:
            places = draw_steps(self.layout, store.head, key, (number,), ahead=length - 1)
        return read_windows(self.layout, store.head, store.contents, places, length)

    def fit_world(
        self, world: WorldLearners, store: Store, key: jax.Array, ctx: Context
    ) -> tuple[WorldLearners, dict[str, jax.Array]]:
        """Updates all parts of the model: `(world, metrics)`. Consumes `key`."""
        optimizers, updates = self.optimizers(ctx), self.config.model_updates
        of_observations, of_states, of_outcomes = jax.random.split(key, 3)

        def repeated(step: Callable[..., Any], carry: Any, key: jax.Array) -> Any:
            carry, metrics = jax.lax.scan(step, carry, jax.random.split(key, updates))
            return carry, {name: m.mean() for name, m in metrics.items() if name != "grad_norm"}

        metrics: dict[str, jax.Array] = {}
        observations = (world.observations, world.codes)
        if self.model.observations.is_learned:
            observe = partial(self._observation_step, store, world.normalizer, optimizers["observations"])
            observations, metrics = repeated(observe, observations, of_observations)
        step = partial(self._state_step, store, world.normalizer, optimizers["states"])
        states, found = repeated(step, world.states, of_states)
        metrics |= found
        step = partial(self._outcome_step, store, world.normalizer, optimizers["outcomes"])
        outcomes, found = repeated(step, world.outcomes, of_outcomes)
        return WorldLearners(states, outcomes, *observations, world.normalizer), metrics | found

    def _state_step(
        self, store: Store, normalizer: Normalizer, optimizer: Any, learner: Learner, key: jax.Array
    ) -> tuple[Learner, dict[str, jax.Array]]:
        draw_key, loss_key = jax.random.split(key)
        windows = self.windows(store, draw_key, self.config.state_batch, self.config.segment_length)
        segments = read_segments(self.model.spec, normalizer, windows)
        return gradient_step(learner, segments, lambda p, batch: self.model.states.loss(p, loss_key, batch), optimizer)

    def _outcome_step(
        self, store: Store, normalizer: Normalizer, optimizer: Any, learner: Learner, key: jax.Array
    ) -> tuple[Learner, dict[str, jax.Array]]:
        draw_key, loss_key = jax.random.split(key)
        windows = self.windows(store, draw_key, self.config.outcome_batch, self.config.horizon, by_age=False)
        sequences = read_sequences(self.model.spec, normalizer, windows)
        return gradient_step(
            learner, sequences, lambda p, batch: self.model.outcomes.loss(p, loss_key, batch), optimizer
        )

    def _observation_step(
        self, store: Store, normalizer: Normalizer, optimizer: Any, carry: tuple[Learner, Any], key: jax.Array
    ) -> tuple[tuple[Learner, Any], dict[str, jax.Array]]:
        learner, codes = carry
        seen = self.windows(store, key, self.config.observation_batch, 1, by_age=False).observed
        batch = (normalizer.normalize(seen.state[:, 0]), seen.obs[:, 0])

        def loss(weights: Any, batch: Any) -> tuple[jax.Array, dict[str, Any]]:
            found, (metrics, codes_after) = self.model.observations.loss(weights, codes, *batch)
            return found, {**metrics, "codes": codes_after}

        learner, metrics = gradient_step(learner, batch, loss, optimizer)
        return (learner, metrics.pop("codes")), metrics

    def imagine(
        self, actor: Any, world: WorldLearners, store: Store, key: jax.Array
    ) -> tuple[Trajectory, dict[str, jax.Array]]:
        """Plays in the model, from stored histories: `(trajectory, metrics)`. Consumes `key`."""
        start_key, reset_key, play_key = jax.random.split(key, 3)
        config = self.config
        starts = read_starts(self.model.spec, self.windows(store, start_key, config.imagined_envs, config.history))
        params = ModelParams(world.params, starts)
        games = VectorEnv(
            ModelEnvironment(self.model, config.horizon, params, config.samples_ends), config.imagined_envs
        )
        _, _, steps = rollout(
            games,
            partial(self.ppo.act, actor),
            games.reset(reset_key, params),
            self.ppo.policy.initial_carry(config.imagined_envs),
            play_key,
            params,
            config.horizon,
        )
        metrics = {
            "imagined_reward": steps.next_timestep.reward.mean(),
            "imagined_ends": steps.next_timestep.terminated.astype(jnp.float32).mean(),
        }
        return Trajectory(steps, self.ppo.initial_critic_carry(config.imagined_envs)), metrics

    def fit_policy(
        self, learners: PPOLearners, world: WorldLearners, store: Store, key: jax.Array, ctx: Context
    ) -> tuple[PPOLearners, dict[str, jax.Array]]:
        """PPO on one batch of episodes in the model: `(learners, metrics)`. Consumes `key`."""
        imagine_key, learn_key = jax.random.split(key)
        trajectory, found = self.imagine(learners.actor.params, world, store, imagine_key)
        learners, _, metrics = self.ppo.learn(learners, trajectory, learn_key, ctx)
        return learners, metrics | found

    def fit_policies(
        self, learners: PPOLearners, world: WorldLearners, store: Store, key: jax.Array, ctx: Context
    ) -> tuple[PPOLearners, dict[str, jax.Array]]:
        """All PPO updates of a round: `(learners, metrics)`. Consumes `key`."""

        def one(learners: PPOLearners, key: jax.Array) -> tuple[PPOLearners, dict[str, jax.Array]]:
            return self.fit_policy(learners, world, store, key, ctx)

        keys = jax.random.split(key, self.config.imagined_rollouts)
        learners, metrics = jax.lax.scan(one, learners, keys)
        return learners, jax.tree.map(jnp.mean, metrics)


def first_round(config: ImaginationConfig) -> int:
    """Index of the first update with model updates."""
    return max(-(-config.warmup_steps // config.steps_per_round), 1) - 1


def make_imagination(config: ImaginationConfig, env: Environment) -> Imagination:
    """The learner of a task.

    Raises:
      ValueError: a task without a global state, whose episodes are shorter than the history, or whose observations are not a
        known function of its state although the config says so.
    """
    observe = None if config.observations == "learned" else observation_function(env)
    if config.observations == "exact" and observe is None:
        raise ValueError(
            f"observations 'exact' needs an environment that declares its observations as a function of its state "
            f"(a method observe), but {env.spec.id!r} does not; accepted there: 'auto' or 'learned'"
        )
    denoiser, outcomes = SIZES[config.model_size]
    model = make_world_model(
        env.spec,
        observe=observe,
        history=config.history,
        horizon=config.horizon,
        windows=config.windows,
        denoiser=denoiser,
        outcomes=outcomes,
        **config.world_options(),
    )
    layout = StoreLayout(
        config.num_envs,
        -(-config.capacity // config.steps_per_round),
        config.rollout_length,
        env.spec.episode_limit,
    )
    ppo = make_ppo_learner(config, env.spec, local_policy(config, env), central_view(env.spec))
    return Imagination(config, VectorEnv(env, config.num_envs), model, ppo, layout)


def make(config: ImaginationConfig, env: Environment) -> tuple[Phase, ...]:
    """The algorithm for `env`."""
    learner = make_imagination(config, env)
    policy = learner.ppo.policy

    def act(actor: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> tuple[jax.Array, Any]:
        action, carry = policy.greedy(actor, carry, timestep, key)
        return policy.head.to_env(action), carry

    algorithm = Algorithm(
        init=partial(init_state, learner),
        update=partial(update_state, learner),
        policy=lambda state: state.learners.actor.params,
        init_carry=policy.initial_carry,
        act=act,
        env_steps_per_update=config.steps_per_round,
        milestones=milestones,
    )
    return (Phase("imagination", algorithm),)


def milestones(config: ImaginationConfig) -> tuple[Milestone, ...]:
    """When the model and the policy are updated for the first time."""
    steps, first = config.steps_per_round, first_round(config) + 1
    return (
        Milestone("warmup_steps", "the first update of the model", first * steps, is_vital=True),
        Milestone(
            "warmup_rounds", "the first update of the policy", (first + config.warmup_rounds) * steps, is_vital=True
        ),
    )


def init_state(learner: Imagination, key: jax.Array, ctx: Context) -> ImaginationState:
    """New networks and episodes, and an empty replay. Consumes `key`."""
    policy_key, world_key, env_key, key = jax.random.split(key, 4)
    learners = learner.ppo.init(policy_key, ctx)
    env = learner.env.reset(env_key, ctx.env_params)
    block = jax.eval_shape(lambda: learner.play(learners.actor.params, env, env_key, ctx)[1])
    world = learner.init_world(world_key, ctx)
    return ImaginationState(learners, world, new_store(learner.layout, block), env, key)


def update_state(learner: Imagination, state: ImaginationState, ctx: Context) -> tuple[ImaginationState, Metrics]:
    """One round: plays in the task, then updates the model, then the policy in the model."""
    play_key, world_key, policy_key, key = jax.random.split(state.key, 4)
    env, block, steps = learner.play(state.learners.actor.params, state.env, play_key, ctx)
    store = add_block(learner.layout, state.replay, block)
    normalizer = state.world.normalizer.update(steps.timestep.state)
    world = dataclasses.replace(state.world, normalizer=normalizer)
    rounds = learner.rounds_before(ctx)
    world, of_world = learn_when(rounds >= 0, lambda world: learner.fit_world(world, store, world_key, ctx), world)
    learners, of_policy = learn_when(
        rounds >= learner.config.warmup_rounds,
        lambda learners: learner.fit_policies(learners, world, store, policy_key, ctx),
        state.learners,
    )
    metrics = Metrics(episode_metrics(steps.next_timestep), of_world | of_policy)
    return ImaginationState(learners, world, store, env, key), metrics
