"""Two agents on a line have to meet. From neighboring cells, both stepping towards the other, they swap and miss."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxmarl_envs
from jaxmarl_envs import EnvSpec, Family, TimeLimit, UnknownVariant, pytree_dataclass, restart, transition

import jaxmarl_suite
from jaxmarl_suite import analysis


@pytree_dataclass
class Params:
    step_cost: float = 0.1  # traced: a grid over env.step_cost is one compiled program


@dataclasses.dataclass(frozen=True)
class Meet:
    size: int = 5
    default_params: Params = dataclasses.field(default=Params(), compare=False)

    @property
    def spec(self):
        return EnvSpec(id="line/meet", n_agents=2, obs_shape=(2, self.size), num_actions=3)

    def reset(self, key, params):
        x = jax.random.randint(key, (2,), 0, self.size)  # the state: a cell for each agent
        return x, restart(self.spec, obs=self.show(x))

    def step(self, key, x, action, params):
        x = jnp.clip(x + action - 1, 0, self.size - 1)  # actions: left, stay, right
        met = x[0] == x[1]
        reward = jnp.where(met, 1.0, -params.step_cost)
        return x, transition(self.spec, obs=self.show(x), reward=reward, terminated=met)

    def show(self, x):
        return jax.nn.one_hot(jnp.stack([x, x[::-1]]), self.size)  # for each agent: its cell, the other's


def make(variant, size=5):
    if variant != "meet":
        raise UnknownVariant
    return TimeLimit(Meet(size), 10)


jaxmarl_envs.register(Family("line", make, variants=("meet",)))

if __name__ == "__main__":
    options = jaxmarl_suite.TrainOptions(total_steps=40_960, seeds=4)
    run = jaxmarl_suite.train("mappo", "line/meet", options=options)
    print(analysis.table(jaxmarl_suite.load_run(run)))
    print(jaxmarl_envs.check_environment(jaxmarl_envs.make("line/meet")))
