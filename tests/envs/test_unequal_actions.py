"""Agents with unequally many entries of a continuous action: specs, masks, wrappers, adapters, the check."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, LastAction, PadAgents, ProtocolError, adapters, check_environment, random_action
from jaxmarl_envs.core import restart, transition

from tests.envs.adapter_tools import assert_same, needs, play

KEY = jax.random.key(3)
REAL = [[True, True, True], [True, False, False]]


@dataclasses.dataclass(frozen=True)
class Uneven:
    """Three entries for the first agent, one for the second; pays the sum of these four; two steps."""

    default_params: tuple = ()
    masks: str = "of the spec"
    spec = EnvSpec(
        id="test/uneven",
        n_agents=2,
        obs_shape=(2,),
        action_dim=3,
        agent_action_sizes=(3, 1),
        action_bounds=(0.0, 4.0),
        episode_limit=2,
        metrics=("padding",),
    )

    def show(self):
        mask = {"of the spec": None, "all true": jnp.ones((2, 3), bool)}[self.masks]
        return {"obs": jnp.ones((2, 2)), "action_mask": mask}

    def reset(self, key, params):
        return jnp.int32(0), restart(self.spec, **self.show())

    def step(self, key, state, action, params):
        reward, padding = action[0].sum() + action[1, 0], jnp.abs(action[1, 1:]).max()
        return state + 1, transition(
            self.spec, **self.show(), reward=reward, terminated=state >= 1, metrics={"padding": padding}
        )


class Tuples(Uneven):
    """The same as `PadAgents` takes it: rows as long as each agent's."""

    spec = Uneven.spec.replace(agent_obs_sizes=(2, 1), action_dim=3)

    def show(self):
        return {"obs": jnp.ones((2, 2)), "action_mask": jnp.ones((2, 3), bool)}

    def _rows(self, timestep):
        obs, mask = (jnp.ones(2), jnp.ones(1)), (jnp.ones(3, bool), jnp.ones(1, bool))
        return timestep.replace(obs=obs, final_obs=obs, action_mask=mask, final_mask=mask)

    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, self._rows(timestep)

    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, self._rows(timestep)


def test_specs_say_what_is_real():
    assert Uneven.spec.real_actions.tolist() == REAL and Uneven.spec.actions_per_agent == (3, 1)
    discrete = EnvSpec("test/discrete", 2, (1,), num_actions=3, agent_num_actions=(3, 1))
    assert discrete.real_actions.tolist() == REAL
    assert EnvSpec("test/equal", 2, (1,), num_actions=2).real_actions.all()
    for wrong in ((3,), (4, 1), (3, 0)):
        with pytest.raises(ValueError, match="agent_action_sizes"):
            Uneven.spec.replace(agent_action_sizes=wrong)
    with pytest.raises(ValueError, match="agent_num_actions must be between 1 and num_actions=3, got"):
        discrete.replace(agent_num_actions=(3, 4))


@pytest.mark.parametrize("env", [Uneven(), PadAgents(Tuples())])
def test_masks_and_random_actions(env):
    check_environment(env)
    _, timestep = env.reset(KEY, ())
    assert timestep.action_mask.tolist() == timestep.final_mask.tolist() == REAL
    action = random_action(env.spec, KEY, jnp.broadcast_to(timestep.action_mask, (50, 2, 3)))
    assert (action[:, 1, 1:] == 2.0).all() and (action[:, env.spec.real_actions].std(0) > 0.5).all()
    shown = LastAction(env).step(KEY, jnp.int32(0), action[0], ())[1].obs[:, 2:]
    np.testing.assert_array_equal(shown, jnp.where(jnp.array(REAL), action[0], 0.0))


def test_a_mask_that_differs_from_the_spec_is_named():
    with pytest.raises(ProtocolError, match=r"spec.real_actions\); expected \(3, 1\) true ones, got \[\(3, 3\)\]"):
        check_environment(Uneven(masks="all true"))


@needs("jaxmarl")
def test_to_jaxmarl_and_back():
    there = adapters.to_jaxmarl(Uneven())
    assert [there.action_space(agent).shape for agent in there.agents] == [(3,), (1,)]
    back = adapters.from_jaxmarl(there, id="test/uneven")
    spec = back.spec
    assert (spec.action_dim, spec.agent_action_sizes, spec.action_bounds) == (3, (3, 1), (0.0, 4.0))
    shown, expected = play(back, KEY, 3), play(Uneven(), KEY, 3)
    assert shown[0].action_mask.tolist() == REAL
    assert_same([x.reward for x in shown[::2]], [x.reward for x in expected[::2]])
    assert not shown[2].metrics["padding"].any()  # what stands there does not get through


@needs("pettingzoo")
def test_to_pettingzoo():
    env = adapters.to_pettingzoo(Uneven(), seed=1)
    env.reset()
    assert [env.action_space(name).shape for name in env.possible_agents] == [(3,), (1,)]
    infos = env.step({"agent_0": np.ones(3, np.float32), "agent_1": np.ones(1, np.float32)})[4]
    assert infos["agent_1"]["action_mask"].tolist() == [1] and infos["agent_0"]["padding"] == 0


@pytest.mark.parametrize(
    ("env_id", "sizes"),
    [("mabrax/pusher-3|2|2", (3, 2, 2)), ("mabrax/pusher-3|4", (3, 4)), ("mabrax/humanoid-9|8", (9, 8)),
     ("mabrax/pusher-7x1", ()), ("mabrax/ant-4x2", ())],
)  # fmt: skip
def test_robots(env_id, sizes):
    spec = jaxmarl_envs.make(env_id).spec
    assert spec.agent_action_sizes == sizes and sum(spec.actions_per_agent) == spec.real_actions.sum()
    assert spec.real_actions.sum() == {"p": 7, "h": 17, "a": 8}[env_id.removeprefix("mabrax/")[0]]
