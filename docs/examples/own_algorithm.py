"""Independent REINFORCE with one softmax table per agent, for one-step games."""

import jax
import jax.numpy as jnp
from jaxmarl_envs import VectorEnv, pytree_dataclass

import jaxmarl_suite
from jaxmarl_suite import analysis
from jaxmarl_suite.algorithms import Algorithm, AlgorithmSpec, Phase, hyperparameters, register


@hyperparameters
class Config:
    learning_rate: float = 0.1  # a float: traced, so a grid over it is one compiled program
    num_envs: int = 64  # anything else is static


@pytree_dataclass
class State:
    logits: jax.Array  # [N, A]
    key: jax.Array


def make(config, env):
    if env.spec.episode_limit != 1:
        raise ValueError(f"reinforce needs one-step games, and {env.spec.id!r} is none")
    games, n, num_actions = VectorEnv(env, config.num_envs), env.spec.n_agents, env.spec.num_actions

    def init(key, ctx):
        return State(jnp.zeros((n, num_actions)), key)

    def update(state, ctx):
        key, act_key, reset_key, step_key = jax.random.split(state.key, 4)
        action = jax.random.categorical(act_key, state.logits, shape=(config.num_envs, n))
        start = games.reset(reset_key, ctx.env_params)
        reward = games.step(step_key, start, action, ctx.env_params).timestep.reward  # [E, N]

        def loss(logits):
            chosen = jax.nn.one_hot(action, num_actions) * jax.nn.log_softmax(logits)
            return -jnp.mean((reward - reward.mean(0)) * chosen.sum(-1))

        logits = state.logits - ctx.hp.learning_rate * jax.grad(loss)(state.logits)
        return State(logits, key), {"reward": reward.mean()}

    def act(logits, carry, timestep, key, ctx):
        return jnp.broadcast_to(logits.argmax(-1), timestep.reward.shape), carry

    algorithm = Algorithm(init, update, lambda state: state.logits, lambda n: (), act, config.num_envs)
    return (Phase("learn", algorithm),)


register(AlgorithmSpec("reinforce", Config, make, "independent REINFORCE for one-step games"))

if __name__ == "__main__":
    options = jaxmarl_suite.TrainOptions(total_steps=64 * 500, seeds=8)
    grid = {"learning_rate": [0.1, 0.5]}
    run = jaxmarl_suite.train("reinforce", "matrix/climbing", grid=grid, options=options)
    print(analysis.table(jaxmarl_suite.load_run(run)))
