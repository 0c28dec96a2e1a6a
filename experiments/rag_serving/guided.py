"""MAPPO for the serving tasks: one network judges all waiting requests, and it begins as an imitation of a rule."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, VectorEnv
from jaxmarl_envs.rag._interface import ENTRY, OWN, POOL
from jaxmarl_envs.rag._replicas import MODES

from jaxmarl_suite.algorithms import (
    AlgorithmSpec,
    Context,
    Metrics,
    Phase,
    episode_metrics,
    hyperparameters,
    names,
    register,
)
from jaxmarl_suite.algorithms.core import Learner, adam, central_view, check_floats, fit_agents, rollout
from jaxmarl_suite.algorithms.ppo import (
    Drawn,
    JointPolicy,
    PPOConfig,
    PPOState,
    Trajectory,
    local_policy,
    make_ppo,
    make_ppo_learner,
)
from jaxmarl_suite.networks import Network, make_network
from jaxmarl_suite.runner import rules_of

NAME = "guided-mappo"


@hyperparameters
class GuidedConfig(PPOConfig):
    """PPO's fields, and those of the imitation."""

    rule: str = "balanced-sjf+lfu-da"
    """The rule that is imitated."""
    imitation_fraction: float = dataclasses.field(default=0.3, metadata={"static": True})
    """Share of the environment steps in which the rule acts and is imitated."""
    imitation_learning_rate: float = 2e-3
    """Adam's step size for the actor in the imitation."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("imitation_learning_rate",))
        if not 0 < self.imitation_fraction < 1:
            raise ValueError(f"imitation_fraction must lie between 0 and 1, got {self.imitation_fraction}")
        if self.recurrent:
            raise ValueError("recurrent must be False: the rule that acts in the imitation has no memory to continue")


def entry_network(in_size: int, config: PPOConfig, out_scale: float) -> Network:
    """Logits [1 + 24] of an observation of `RagServe`, [`in_size`] with what follows it, such as the agent's index.

    One network reads, for each waiting request, its features, its place in the pool, and everything that is not about a
    waiting request, and returns the logits of its three claims. Another one returns the logit of waiting from the latter.
    """
    rest = in_size - POOL * ENTRY
    claims = make_network(rest + ENTRY + 1, len(MODES), hidden=config.hidden, out_scale=out_scale)
    waits = make_network(rest, 1, hidden=config.hidden, out_scale=out_scale)

    def init(key: jax.Array) -> Any:
        claims_key, waits_key = jax.random.split(key)
        return {"claims": claims.init(claims_key), "waits": waits.init(waits_key)}

    def unroll(params: Any, carry: Any, x: jax.Array, extra: jax.Array, start: jax.Array) -> tuple[jax.Array, Any]:
        batch = x.shape[:-1]
        entries = x[..., OWN : OWN + POOL * ENTRY].reshape(*batch, POOL, ENTRY)
        common = jnp.concatenate([x[..., :OWN], x[..., OWN + POOL * ENTRY :]], axis=-1)
        place = jnp.broadcast_to(jnp.arange(POOL, dtype=jnp.float32)[:, None] / POOL, (*batch, POOL, 1))
        repeated = jnp.broadcast_to(common[..., None, :], (*batch, POOL, rest))
        each = jnp.concatenate([entries, place, repeated], axis=-1)
        nothing = jnp.zeros((*batch, POOL, 0), jnp.float32)
        claim, _ = claims.unroll(params["claims"], carry[..., None, :], each, nothing, start)
        wait, carries = waits.unroll(params["waits"], carry, common, extra, start)
        return jnp.concatenate([wait, claim.reshape(*batch, POOL * len(MODES))], axis=-1), carries

    return Network(init, waits.initial_carry, unroll)


def clone(
    policy: JointPolicy, actor: Learner, batch: dict, loss_fn: Any, optimizer: Any, key: jax.Array, config: PPOConfig
) -> tuple[Learner, dict[str, jax.Array]]:
    """Fits the actor to the actions in the batch, whatever came of them; arguments as for `all_at_once` of PPO."""

    def loss(params: Any, batch: dict) -> tuple[jax.Array, dict[str, jax.Array]]:
        carry = jax.tree.map(lambda c: c[0], batch["carry"])
        output, _ = policy.network.unroll(params, carry, batch["x"], batch["extra"], batch["start"])
        weight, total = batch["weight"], jnp.maximum(batch["weight"].sum(), 1.0)
        cross_entropy = policy.head.imitation_loss(output, batch["mask"], batch["action"])
        agrees = (policy.head.mode(output, batch["mask"]) == batch["action"]).astype(jnp.float32)
        value = (weight * cross_entropy).sum() / total
        return value, {"imitation_loss": value, "agreement": (weight * agrees).sum() / total}

    sizes = {"epochs": config.epochs, "minibatches": config.minibatches}
    return fit_agents(actor, batch, loss, optimizer, key, shared=policy.shared, **sizes)


def make(config: GuidedConfig, env: Environment) -> tuple[Phase, ...]:
    """A phase in which a rule acts and actors and critic learn from it, and MAPPO that goes on from there."""
    rules = rules_of(env)
    if config.rule not in rules or not env.spec.id.startswith("rag/serve"):
        raise ValueError(f"{NAME} needs a serving task with the rule {config.rule!r}, got {env.spec.id!r}")
    rule, vector = jax.vmap(rules[config.rule]), VectorEnv(env, config.num_envs)
    policy = local_policy(config, env, lambda view, outputs, out_scale: entry_network(view.size, config, out_scale))
    ppo = make_ppo(make_ppo_learner(config, env.spec, policy, central_view(env.spec)), env)
    cloner = make_ppo_learner(config, env.spec, policy, central_view(env.spec), fit_actors=clone)

    def act(carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any, Drawn]:
        action = rule(timestep)
        return action, carry, Drawn(action, jnp.zeros(action.shape), carry)

    def imitate(state: PPOState, ctx: Context) -> tuple[PPOState, Metrics]:
        rollout_key, fit_key, key = jax.random.split(state.key, 3)
        ctx = dataclasses.replace(ctx, hp=dataclasses.replace(ctx.hp, learning_rate=ctx.hp.imitation_learning_rate))
        env_state, carry, steps = rollout(
            vector, act, state.env, state.actor_carry, rollout_key, ctx.env_params, config.rollout_length
        )
        trajectory = Trajectory(steps, state.critic_carry)
        learners, critic_carry, metrics = cloner.learn(state.learners, trajectory, fit_key, ctx)
        return PPOState(learners, env_state, carry, critic_carry, key), Metrics(
            episode_metrics(steps.next_timestep), metrics
        )

    def begin(cloned: PPOState, key: jax.Array, ctx: Context) -> PPOState:
        """Goes on with networks and episodes; the actor's optimizer is new, since its loss is."""
        actor = cloned.learners.actor.params
        fresh = adam(ctx.hp.learning_rate, ctx.hp.adam_eps, ctx.hp.max_grad_norm).init(actor)
        learners = dataclasses.replace(cloned.learners, actor=Learner(actor, fresh))
        return dataclasses.replace(cloned, learners=learners, key=key)

    fraction = config.imitation_fraction
    return (
        Phase("imitate", ppo._replace(update=imitate), fraction),
        Phase("ppo", ppo, 1 - fraction, begin),
    )


def register_guided() -> None:
    """Registers the method in this process, if it is not yet."""
    if NAME not in names():
        register(
            AlgorithmSpec(NAME, GuidedConfig, make, "MAPPO for rag/serve-... that begins as an imitation of a rule")
        )
