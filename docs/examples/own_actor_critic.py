"""An advantage actor-critic with local actors and a critic on the global state, from the suite's public parts."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxmarl_envs import VectorEnv, pytree_dataclass

import jaxmarl_suite
from jaxmarl_suite import analysis
from jaxmarl_suite.algorithms import (
    Algorithm,
    AlgorithmSpec,
    Metrics,
    Phase,
    episode_metrics,
    hyperparameters,
    register,
)
from jaxmarl_suite.algorithms.core import Learner, adam, central_view, gradient_step, local_view, new_learner, rollout
from jaxmarl_suite.networks import make_network
from jaxmarl_suite.ops import categorical, generalized_advantage


@hyperparameters
class Config:
    num_envs: int = 32
    rollout_length: int = 8
    hidden: tuple[int, ...] = (64,)
    learning_rate: float = 3e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    entropy: float = 0.01


@pytree_dataclass
class State:
    actor: Learner
    critic: Learner
    env: object  # VectorState [E, ...]
    key: jax.Array


class Parts:
    """Networks, what they see, and the losses; nothing here plays."""

    def __init__(self, config, spec):
        self.config, self.head = config, categorical(spec.num_actions)
        self.own, self.central = local_view(spec, agent_id=True), central_view(spec)
        self.actor = make_network(self.own.size, self.head.num_outputs, hidden=config.hidden, out_scale=0.01)
        self.critic = make_network(self.central.size, 1, hidden=config.hidden)

    def logits(self, params, timestep):  # [*B, N, A], for batches [T, E] and [E] alike
        x, extra = self.own.encode(timestep.obs, timestep.state, None)
        carry = self.actor.initial_carry(x.shape[1:-1])
        return self.actor.unroll(params, carry, x, extra, jnp.zeros(x.shape[:2], bool))[0]

    def value(self, params, obs, state):  # [T, E], of the team
        x, extra = self.central.encode(obs, state, None)
        carry = self.critic.initial_carry(x.shape[1:-1])
        return self.critic.unroll(params, carry, x, extra, jnp.zeros(x.shape[:2], bool))[0][..., 0, 0]

    def act(self, params, carry, timestep, key):
        one = jax.tree.map(lambda x: x[None], timestep)  # networks run over time: here over one step
        action = self.head.sample(key, self.logits(params, one)[0], timestep.action_mask)
        return self.head.to_env(action), carry, action

    def actor_loss(self, ctx, params, batch):
        steps, advantage = batch
        output, mask = self.logits(params, steps.timestep), steps.timestep.action_mask
        entropy = self.head.entropy(output, mask).mean()
        log_prob = self.head.log_prob(output, mask, steps.record).sum(-1)
        return -(log_prob * advantage).mean() - ctx.hp.entropy * entropy, {"entropy": entropy}

    def critic_loss(self, params, batch):
        steps, target = batch
        loss = jnp.square(self.value(params, steps.timestep.obs, steps.timestep.state) - target).mean()
        return loss, {"value_loss": loss}

    def learn(self, actor, critic, steps, ctx):
        """After one rollout, wherever it was played: `(actor, critic, metrics)`."""
        shown, after = steps.timestep, steps.next_timestep
        value = self.value(critic.params, shown.obs, shown.state)
        next_value = self.value(critic.params, after.final_obs, after.final_state)  # from before any restart
        ends = (after.terminated, after.truncated)
        advantage = generalized_advantage(
            after.reward.mean(-1), value, next_value, *ends, gamma=ctx.hp.gamma, lambda_=ctx.hp.gae_lambda
        )
        optimizer = adam(ctx.hp.learning_rate, 1e-5, 0.5)
        actor, found = gradient_step(actor, (steps, advantage), partial(self.actor_loss, ctx), optimizer)
        critic, of_critic = gradient_step(critic, (steps, advantage + value), self.critic_loss, optimizer)
        return actor, critic, {"entropy": found["entropy"], "value_loss": of_critic["value_loss"]}


def make(config, env):
    parts, games = Parts(config, env.spec), VectorEnv(env, config.num_envs)

    def init(key, ctx):
        actor_key, critic_key, env_key, key = jax.random.split(key, 4)
        optimizer = adam(ctx.hp.learning_rate, 1e-5, 0.5)
        actor = new_learner(parts.actor.init, actor_key, optimizer, shared=True)
        critic = new_learner(parts.critic.init, critic_key, optimizer, shared=True)
        return State(actor, critic, games.reset(env_key, ctx.env_params), key)

    def update(state, ctx):
        play_key, key = jax.random.split(state.key)
        act = partial(parts.act, state.actor.params)
        env, _, steps = rollout(games, act, state.env, (), play_key, ctx.env_params, config.rollout_length)
        actor, critic, found = parts.learn(state.actor, state.critic, steps, ctx)
        return State(actor, critic, env, key), Metrics(episode_metrics(steps.next_timestep), found)

    def act(params, carry, timestep, key, ctx):
        one = jax.tree.map(lambda x: x[None], timestep)
        return parts.head.mode(parts.logits(params, one)[0], timestep.action_mask), carry

    steps = config.num_envs * config.rollout_length
    return (Phase("learn", Algorithm(init, update, lambda s: s.actor.params, lambda n: (), act, steps)),)


register(AlgorithmSpec("central-a2c", Config, make, "advantage actor-critic with a central critic"))

if __name__ == "__main__":
    options = jaxmarl_suite.TrainOptions(total_steps=100_000, seeds=4)
    run = jaxmarl_suite.train("central-a2c", "matrix/two-step", options=options)
    print(analysis.table(jaxmarl_suite.load_run(run)))
