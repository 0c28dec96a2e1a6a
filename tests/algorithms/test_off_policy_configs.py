"""What off-policy actor-critics cannot do is refused, with a message that says why."""

import dataclasses
from pathlib import Path

import jax
import pytest
from dataset_tools import about_of, random_data
from line_env import Line
from off_policy_tools import SMALL
from toy_envs import Noisy, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.replay import Dataset


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
        ({"n_step": 0}, "n_step must be at least 1, got 0"),
        ({"hidden": (4, 0)}, r"hidden must hold positive widths, got \(4, 0\)"),
        ({"hidden": (), "action_twice": True}, "action_twice needs a first layer"),
        ({"gamma": 1.5}, "gamma must lie between 0 and 1, got 1.5"),
        ({"target_rate": -0.1}, "target_rate must lie between 0 and 1, got -0.1"),
        ({"learning_rate": -1.0}, "learning_rate must be finite and not negative, got -1.0"),
        ({"target_noise": -1.0}, "target_noise must be finite and not negative, got -1.0"),
        ({"num_critics": 3, "critic_groups": 2}, r"critic_groups must divide the 3 critics \(num_critics\), got 2"),
        ({"capacity": 9}, r"capacity must hold the 10 steps of one update \(num_envs 2 x rollout_length 5\), got 9"),
        ({"capacity": 21}, "capacity must be a multiple of num_envs, .* got 21 and 2"),
        ({"n_step": 11}, "n_step must not exceed the 10 steps kept of each environment .* got 11"),
        ({"climb": "last"}, "climb must be 'first' or 'mean', got 'last'"),
        ({"context": "all"}, "context must be 'auto' or 'state' or 'observations', got 'all'"),
        ({"others": "none"}, "others must be 'replay' or 'policy', got 'none'"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=message):
        algorithms.get("matd3").config(**(SMALL | settings))


@pytest.mark.parametrize("name", ["td3", "td3-star", "sac", "matd3", "masac"])
def test_discrete_actions_are_refused_by_name(name):
    spec = algorithms.get(name)
    with pytest.raises(ValueError, match=f"{name} supports continuous actions, but 'test/noisy' has discrete ones"):
        spec.build(spec.default_config, Noisy())


@pytest.mark.parametrize("name, team", [("td3", "matd3"), ("td3-star", "matd3"), ("sac", "masac")])
def test_single_agent_methods_name_those_for_teams(name, team):
    spec = algorithms.get(name)
    with pytest.raises(ValueError, match=f"{name} is for a single agent, but 'line/2' has 2; use {team}"):
        spec.build(spec.default_config, Line(2))
    algorithms.get(team).build(algorithms.get(team).config(), Line(2))


@dataclasses.dataclass(frozen=True)
class Unusual(Line):
    """Without a state, or without bounds."""

    high: float = 1.0

    @property
    def spec(self):
        return Line(2).spec.replace(id="test/unusual", state_size=0, action_bounds=(-1.0, self.high))


def test_environments_that_lack_something():
    config = algorithms.get("matd3").config
    with pytest.raises(ValueError, match="context 'state' needs a global state, which 'test/unusual' does not have"):
        algorithms.get("matd3").build(config(context="state"), Unusual())
    with pytest.raises(
        ValueError, match=r"need finite bounds, lower below upper, but 'test/unusual' has \(-1.0, inf\)"
    ):
        algorithms.get("matd3").build(config(), Unusual(high=float("inf")))


class Watched:
    """A config that notes which of its fields are read."""

    def __init__(self, config, seen):
        self._config, self._seen = config, seen

    def __getattr__(self, name):
        self._seen.add(name)
        return getattr(self._config, name)


TURNED = {
    "gem": [{"average": True}],
    "gem-q": [{"average": True, "target_period": 0}],
    "gem-meta": [{"average": True, "target_period": 0}],
}


@pytest.mark.parametrize("name", ["td3", "matd3", "sac", "masac", "gem", "gem-q", "gem-meta"])
def test_every_field_of_a_config_is_read(name):
    """By the update, in one setting or another: what means nothing to a method is no field of its config."""
    spec = algorithms.get(name)
    env = Noisy(1) if spec.actions == ("discrete",) else Line(2 if name.startswith("ma") else 1)
    seen = set()
    for changes in [{}, *TURNED.get(name, [])]:
        config = dataclasses.replace(spec.default_config, **SMALL, **changes)
        (phase,) = spec.build(Watched(config, seen), env)

        def run(key, phase=phase, config=config):
            ctx = dataclasses.replace(context(config, env), hp=Watched(config, seen))
            return phase.algorithm.update(phase.algorithm.init(key, ctx), ctx)

        jax.eval_shape(run, jax.random.key(0))
    assert seen == {field.name for field in dataclasses.fields(spec.config)}


OFFLINE = {"hidden": (4,), "batch_size": 3, "gradient_steps": 2, "total_gradient_steps": 4}
PLAY = {"num_envs": 2, "rollout_length": 5, "capacity": 20, "warmup_steps": 0, "num_intents": 2, "intent_hidden": (3,)}
OF_LIBRARY = [{}, {"reuse": "guide"}, {"online": "sac"}]


@pytest.mark.parametrize("name", ["bc", "td3-bc", "implicit-q", "uber"])
def test_every_field_of_an_offline_config_is_read(name):
    """By the updates of all phases, in one setting or another."""
    spec, env, seen = algorithms.get(name), Line(2), set()
    items = random_data(env.spec).items
    for changes in OF_LIBRARY if name == "uber" else [{}]:
        sizes = OFFLINE | (PLAY if name == "uber" else {})
        config = dataclasses.replace(spec.default_config, **sizes, **changes)
        for phase in spec.build(Watched(config, seen), env, has_data=True):
            stored = None
            if phase.data is not None:
                stored = phase.data(Dataset(Path("data"), dict(items), about_of(env.spec, len(items["episode"]))))

            def run(key, phase=phase, config=config, stored=stored):
                ctx = dataclasses.replace(context(config, env, data=stored), hp=Watched(config, seen))
                return phase.algorithm.update(phase.algorithm.init(key, ctx), ctx)

            jax.eval_shape(run, jax.random.key(0))
    assert seen == {field.name for field in dataclasses.fields(spec.config)}
