"""GEM for discrete actions: Q-networks learn the best returns found along stored trajectories (Hu et al. 2021, arXiv
2103.06469; the variants are those of its released Atari code).

Before each block of gradient steps, new targets R are computed for every stored step, backwards along the replay
(`ops.episodic_targets`), with two groups of Q-networks:

    B^k(s) = max_{a legal} min_{j in group k} Q_j⁻(s, a)            clipped double within a group, double across groups

`gem-q`: four networks learn the memory and supply its bootstraps. L(Q_j) = mean[ δ₊² + κ δ₋² ], δ = Q_j(s, a) -
R^{k(j)}. Exploration is ε-greedy on the mean over groups of each group's minimum.

`gem-meta`: each of four "sub" networks learns its own one-step target, y_j = r + γ max_a Q_j⁻(s', a) (`double_q`: at
the action that Q_j prefers), and they supply the bootstraps; two "meta" networks learn R^1 and R^2, and exploration is
ε-greedy on their mean. The memory never enters the bootstraps. Huber losses.

κ is 1 by default, and `own` is "evaluator": here R^k = max(V^k at the other group's stop, V^k_1), while the continuous
agents use the selecting group instead. Target networks are copies of the networks, updated before a block when
`target_period` gradient steps have passed.

Deliberate differences from the released code: it computes the targets of an episode once, at its end, from the target
networks' values during the episode, and those of the whole memory when the target networks are updated, which it counts
in gradient steps. Here all are recomputed before every block (with the same result as long as target networks do not
change), target updates happen between blocks, and the running episode is also learned from, with a bootstrap at its
newest step as at a time limit. At a time limit it is not possible to stop with value 0 (`zero_tail` restores this). The
losses of meta networks are not multiplied by 10, which makes no difference to Adam, and Adam's epsilon has its usual
value instead of 1.5e-4. Rewards are not clipped. Networks are dense layers on the flattened observation; the released
ones have convolutions. The defaults are for small tasks: the released settings (a learning rate of 6.25e-5, target
updates every 8000 gradient steps, 25 gradient steps per 100 environment steps, ε from 1 to 0.01 in 250,000 steps,
batches of 32, a memory of 10^6) are for Atari.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._schedules import epsilon
from jaxmarl_suite.algorithms.core._targets import copied_if, polyak
from jaxmarl_suite.algorithms.core._types import ActContext, Context, Milestone, hyperparameters
from jaxmarl_suite.algorithms.core._views import local_view
from jaxmarl_suite.algorithms.off_policy._memory import MemoryConfig, memory_targets
from jaxmarl_suite.algorithms.off_policy._parts import (
    Batch,
    Method,
    Metrics,
    Networks,
    NoActor,
    Setup,
    backed_up,
    discrete_actions,
)
from jaxmarl_suite.algorithms.off_policy._spec import off_policy_spec
from jaxmarl_suite.networks import ActionValues, make_action_values
from jaxmarl_suite.ops import (
    asymmetric_loss,
    critic_targets,
    epsilon_greedy,
    greedy,
    group_minimum,
    legal,
    take,
    target_jump,
)
from jaxmarl_suite.replay import Store, StoreLayout, Transitions


@hyperparameters
class GEMQConfig(MemoryConfig):
    """The fields of the memory, and those of ε-greedy Q-learning."""

    warmup_steps: int = dataclasses.field(default=1000, metadata={"least": 0})
    """Environment steps with uniformly random actions before the first gradient step."""
    num_critics: int = 4
    """Number of networks that supply the bootstraps."""
    critic_groups: int = 2
    """Number of groups into which they are divided, in order; each group bootstraps from the minimum of its own
    networks."""
    kappa: float = 1.0
    """Weight of underestimates in the loss on remembered returns; 1 is the symmetric loss."""
    own: Literal["selector", "evaluator"] = "evaluator"
    """Which group learns the value found at a stop: the one that selected the stop or the one that evaluates it. The
    lower bound is that group's own one-step target."""
    loss: Literal["mse", "huber"] = "mse"
    """Loss function of all networks."""
    huber_delta: float = 1.0
    """Error at which the Huber loss becomes linear."""
    target_period: int = dataclasses.field(default=500, metadata={"least": 0})
    """Gradient steps between copies of the networks into the target networks, which happen before a block; 0 for
    averaged targets instead, which move by `target_rate` per gradient step of a block, all at once before it."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start of the run."""
    epsilon_end: float = 0.05
    """Probability of a random action after `epsilon_steps`."""
    epsilon_steps: float = 10_000.0
    """Environment steps over which epsilon falls linearly, including the warm-up."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(
            self, fractions=("epsilon_start", "epsilon_end"), amounts=("epsilon_steps",), positive=("huber_delta",)
        )
        if self.loss not in ("mse", "huber"):
            raise ValueError(f"loss must be 'mse' or 'huber', got {self.loss!r}")


@hyperparameters
class GEMMetaConfig(GEMQConfig):
    """The same for sub and meta networks, with one meta network per group."""

    loss: Literal["mse", "huber"] = "huber"
    """Loss function of all networks."""
    double_q: bool = False
    """Double Q-learning: one-step targets use the target network's value of the network's own greedy action."""


def milestones(config: GEMQConfig) -> tuple[Milestone, ...]:
    """When targets are first copied, and when exploration has decayed."""
    found = [Milestone("epsilon_steps", "the end of the decay of exploration", config.epsilon_steps)]
    if config.target_period:
        blocks = math.ceil(config.target_period / config.gradient_steps)
        copied = blocks * config.num_envs * config.rollout_length
        found.append(Milestone("target_period", "the first copy into the target networks", copied))
    return tuple(found)


def bootstrap(config: GEMQConfig, q: jax.Array, mask: jax.Array) -> jax.Array:
    """[B, K] value of each group for its best legal action, from [C, B, A] and [B, A]."""
    return legal(group_minimum(q, config.critic_groups), mask[..., None]).max(axis=-2)


def chosen(q: jax.Array, action: jax.Array) -> jax.Array:
    """[C, B] values of the actions [B], from [C, B, A]."""
    return take(q, jnp.broadcast_to(action[None], q.shape[:-1]))


def make_setup(config: GEMQConfig, env: Environment) -> Setup:
    """A single agent with discrete actions, which stores no global state."""
    return Setup(config, env.spec.replace(state_size=0), discrete_actions())


def make_values(setup: Setup, num: int) -> ActionValues:
    """`num` networks that see the agent's observation: `values(params, obs [B, 1, *obs_shape]) -> [num, B, A]`."""
    config, spec = setup.config, setup.spec
    view = local_view(spec, agent_id=False)
    nets = make_action_values(view.size, spec.num_actions, num=num, hidden=config.hidden, layer_norm=config.layer_norm)

    def values(params: Any, obs: jax.Array) -> jax.Array:
        nothing = jnp.zeros(0, jnp.float32)
        return nets.values(params, view.encode(obs, nothing, nothing)[0][..., 0, :])

    return ActionValues(nets.init, values)


def regress_on_memory(config: GEMQConfig, q: jax.Array, batch: Batch, ctx: Context) -> tuple[jax.Array, Metrics]:
    """`(loss [], metrics)` of networks' values [C, B, A] on the remembered returns of the sampled steps, summed over
    networks.
    """
    values, target = chosen(q, batch.action[:, 0]), critic_targets(batch.prepared, q.shape[0])
    error = asymmetric_loss(values, target, kappa=ctx.hp.kappa, kind=config.loss, huber_delta=ctx.hp.huber_delta)
    loss = error.mean(-1).sum()
    return loss, {
        "critic_loss": loss,
        "td_error": jnp.abs(values - target).mean(),
        "q_mean": values.mean(),
        "memory_mean": target.mean(),
        "epsilon": epsilon(ctx, config.num_envs * config.rollout_length),
    }


def _remembering(
    setup: Setup,
    nets: ActionValues,
    *,
    init: Callable[[jax.Array], Any],
    decide: Callable[[Any, jax.Array], jax.Array],
    critic_loss: Callable[[Any, Any, Networks, Batch, jax.Array, Context], tuple[jax.Array, Metrics]],
    estimators: Callable[[Any], Any],
    policy: Callable[[Any], Any],
) -> Method:
    """The method with these parts.

    Args:
      setup: sizes and the kind of actions.
      nets: networks that supply the bootstraps.
      init: `key -> critic`, the parameters of all networks.
      decide: `(policy, obs) -> [B, A]`, the values for ε-greedy exploration.
      critic_loss: see `Method`.
      estimators: `critic -> params` of `nets`, which have target networks.
      policy: `critic -> params` that `decide` reads.
    """
    config: Any = setup.config
    steps = config.num_envs * config.rollout_length

    def greedy_action(policy: Any, obs: jax.Array, mask: jax.Array) -> jax.Array:
        return greedy(decide(policy, obs)[:, None], mask)

    def explore(policy: Any, obs: jax.Array, mask: jax.Array, key: jax.Array, ctx: ActContext) -> jax.Array:
        return epsilon_greedy(key, decide(policy, obs)[:, None], mask, epsilon(ctx, steps))

    def prepare(
        params: Networks, targets: Networks, layout: StoreLayout, store: Store, key: jax.Array, ctx: Context
    ) -> tuple[Networks, jax.Array]:
        online, old = estimators(params["critic"]), targets["critic"]
        if config.target_period:
            period, size = config.target_period, config.gradient_steps
            updates = ctx.played(steps) // steps
            is_due = (updates % period) * (size % period) % period < size  # a multiple was reached in the last block
            target = copied_if(is_due, online, old)
        else:
            share = target_jump(ctx.hp.target_rate, config.gradient_steps)
            target = polyak(online, old, share)

        def values(steps: Transitions, key: jax.Array) -> jax.Array:
            after = steps.next_observed
            return bootstrap(config, nets.values(target, after.obs), after.mask[:, 0])

        return {"critic": target}, memory_targets(config, layout, store, values, key, ctx)

    return Method(
        init=lambda key: {"actor": NoActor(), "critic": init(key)},
        explore=explore,
        greedy=greedy_action,
        targets=lambda params: {"critic": estimators(params["critic"])},
        critic_loss=critic_loss,
        actor_loss=None,
        prepare=prepare,
        update_targets=lambda targets, params, ctx: targets,
        policy=lambda params: policy(params["critic"]),
        milestones=milestones,
    )


def gem_q_method(setup: Setup) -> Method:
    """GEM in which the networks that learn the memory also supply its bootstraps."""
    config: Any = setup.config
    nets = make_values(setup, config.num_critics)

    def decide(policy: Any, obs: jax.Array) -> jax.Array:
        return group_minimum(nets.values(policy, obs), config.critic_groups).mean(-1)

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        return regress_on_memory(config, nets.values(critic, batch.obs), batch, ctx)

    return _remembering(
        setup,
        nets,
        init=nets.init,
        decide=decide,
        critic_loss=critic_loss,
        estimators=lambda critic: critic,
        policy=lambda critic: critic,
    )


def gem_meta_method(setup: Setup) -> Method:
    """GEM in which sub networks supply the bootstraps and learn one-step targets; meta networks learn the memory, and
    act.
    """
    config: Any = setup.config
    sub, meta = make_values(setup, config.num_critics), make_values(setup, config.critic_groups)

    def init(key: jax.Array) -> dict[str, Any]:
        sub_key, meta_key = jax.random.split(key)
        return {"sub": sub.init(sub_key), "meta": meta.init(meta_key)}

    def decide(policy: Any, obs: jax.Array) -> jax.Array:
        return meta.values(policy, obs).mean(0)

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        after = sub.values(targets["critic"], batch.next_obs)  # [C, B, A]
        judge = jax.lax.stop_gradient(sub.values(critic["sub"], batch.next_obs)) if config.double_q else after
        mask = jnp.broadcast_to(batch.next_mask[None, :, 0], after.shape)
        target = backed_up(batch, take(after, greedy(judge, mask)))
        values = chosen(sub.values(critic["sub"], batch.obs), batch.action[:, 0])
        error = asymmetric_loss(values, target, kappa=1.0, kind=config.loss, huber_delta=ctx.hp.huber_delta)
        sub_loss = error.mean(-1).sum()
        loss, metrics = regress_on_memory(config, meta.values(critic["meta"], batch.obs), batch, ctx)
        return sub_loss + loss, metrics | {"sub_loss": sub_loss}

    return _remembering(
        setup,
        sub,
        init=init,
        decide=decide,
        critic_loss=critic_loss,
        estimators=lambda critic: critic["sub"],
        policy=lambda critic: critic["meta"],
    )


def parts(config: GEMQConfig, env: Environment) -> tuple[Setup, Method]:
    """GEM for `env`."""
    setup = make_setup(config, env)
    return setup, gem_q_method(setup)


def meta_parts(config: GEMMetaConfig, env: Environment) -> tuple[Setup, Method]:
    """GEM with sub and meta networks for `env`."""
    setup = make_setup(config, env)
    return setup, gem_meta_method(setup)


SPEC = off_policy_spec(
    "gem-q",
    GEMQConfig,
    parts,
    "gem for discrete actions: Q-networks learn the best returns along stored trajectories",
    for_teams="qmix",
    actions="discrete",
)
META_SPEC = off_policy_spec(
    "gem-meta",
    GEMMetaConfig,
    meta_parts,
    "gem-q whose bootstraps come from networks of their own",
    for_teams="qmix",
    actions="discrete",
)
