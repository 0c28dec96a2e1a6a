"""To PettingZoo's parallel interface."""

import warnings

import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import adapters

from tests.envs.adapter_tools import needs

pytestmark = needs("pettingzoo")


@pytest.mark.parametrize("env_id", ["matrix/xor", "hallway/2-3"])
@pytest.mark.parametrize("masks", [False, True])
def test_its_own_test_passes_without_a_warning(env_id, masks):
    from pettingzoo.test import parallel_api_test

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(adapters.to_pettingzoo(jaxmarl_envs.make(env_id), masks=masks), num_cycles=40)


@pytest.mark.parametrize(("env_id", "is_truncated"), [("matrix/M1", False), ("matrix/mmdp", True)])
def test_ends_are_apart_and_the_last_observation_is_the_final_one(env_id, is_truncated):
    env = adapters.to_pettingzoo(jaxmarl_envs.make(env_id), masks=True, seed=3)
    observations, infos = env.reset()
    assert set(observations["agent_0"]) == {"observation", "action_mask"} and infos["agent_0"]["action_mask"].all()
    steps = 0
    while env.agents:
        observations, rewards, terminations, truncations, _ = env.step(dict.fromkeys(env.agents, 0))
        steps += 1
    assert steps == env.spec.episode_limit
    assert set(terminations.values()) == {not is_truncated} and set(truncations.values()) == {is_truncated}
    np.testing.assert_array_equal(env.state(), observations["agent_1"]["observation"])
    assert rewards["agent_0"] == rewards["agent_1"]


def test_a_seed_repeats_an_episode():
    env = adapters.to_pettingzoo(jaxmarl_envs.make("hallway/6-6"))
    starts = [env.reset(seed=seed)[0]["agent_0"].tolist() for seed in (1, 1, 2, 3, 4)]
    assert starts[0] == starts[1] and len({tuple(start) for start in starts}) > 1


def test_mistakes():
    env = adapters.to_pettingzoo(jaxmarl_envs.make("matrix/xor"))
    with pytest.raises(ValueError, match="call reset first"):
        env.step({})
    env.reset()
    with pytest.raises(ValueError, match=r"agent_1 needs an action in Discrete\(2\), got None"):
        env.step({"agent_0": 0})
    with pytest.raises(ValueError, match="got 2"):
        env.step({"agent_0": 0, "agent_1": 2})
    with pytest.raises(ValueError, match="has no global state"):
        adapters.to_pettingzoo(_Stateless()).state()


class _Stateless:
    spec = jaxmarl_envs.EnvSpec(id="test/none", n_agents=1, obs_shape=(1,), num_actions=2)
    default_params = ()

    def reset(self, key, params): ...
    def step(self, key, state, action, params): ...
