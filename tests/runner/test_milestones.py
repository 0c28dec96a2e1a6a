"""Settings in absolute units against the length of a run: refused where nothing is learned, else warned of."""

import dataclasses
from unittest import mock

import pytest

from jaxmarl_suite import algorithms
from jaxmarl_suite.runner import Experiment, TrainOptions, check_milestones, train

Q_METHODS = ("iql", "vdn", "qmix", "qtran", "cw-qmix", "ow-qmix", "qplex")
CONTINUOUS = ("td3", "td3-star", "sac", "gem")


def lines(name, env, steps, grid=None, **settings):
    config = dataclasses.replace(algorithms.get(name).default_config, **settings)
    experiment = Experiment(name, env, config, {}, grid or {}, TrainOptions(total_steps=steps))
    return check_milestones(experiment.groups(), experiment.options)


@pytest.mark.parametrize(
    ("name", "env", "settings", "message"),
    [
        *(
            (name, "toy/pendulum", {"warmup_steps": 6000}, "warmup_steps 6,000 the first gradient step comes after 6,000")
            for name in CONTINUOUS
        ),
        ("td3", "toy/pendulum", {"warmup_steps": 0, "policy_delay": 9000}, "policy_delay 9,000 the first"),
        ("gem-q", "gymnax/catch", {"warmup_steps": 6000}, "warmup_steps 6,000"),
        ("gem-meta", "gymnax/catch", {"warmup_steps": 6000}, "warmup_steps 6,000"),
        *((name, "matrix/climbing", {"warmup_steps": 6000}, "warmup_steps 6,000") for name in ("mazero", "muzero-joint")),
        *((name, "matrix/climbing", {"learning_starts": 400}, "learning_starts 400") for name in Q_METHODS),
    ],
)  # fmt: skip
def test_a_run_that_cannot_learn_is_refused(name, env, settings, message):
    with pytest.raises(ValueError, match=f"{name} would learn nothing: with .*{message}.*has [45],.*raise total_steps"):
        lines(name, env, 5000, **settings)


def test_nothing_is_written_for_it(tmp_path):
    with pytest.raises(ValueError, match="would learn nothing"):
        train("td3", "toy/pendulum", options=TrainOptions(total_steps=5000), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_that_come_into_effect_just_in_time_are_taken():
    assert lines("td3", "toy/pendulum", 5000, warmup_steps=5000) == []
    with pytest.raises(ValueError, match="would learn nothing"):
        lines("td3", "toy/pendulum", 5000, warmup_steps=5001)


def test_inert_parts_are_warned_of_once_for_every_value():
    grid = {"epsilon_steps": [1000.0, 9000.0, 20000.0], "learning_rate": [1e-3, 1e-4]}
    found = lines("vdn", "matrix/climbing", 5120, grid, target_period=50)
    assert found == [
        "warning: with target_period 50 the first copy into the target networks comes after 12,800 environment steps, "
        "and phase 'q' has 5,120",
        "warning: with epsilon_steps 9,000 the end of the decay of exploration comes after 9,000 environment steps, and "
        "phase 'q' has 5,120",
        "warning: with epsilon_steps 20,000 the end of the decay of exploration comes after 20,000 environment steps, and "
        "phase 'q' has 5,120",
    ]
    assert [line.split()[2] for line in lines("gem-q", "gymnax/catch", 3000, target_period=5000)] == [
        "epsilon_steps",
        "target_period",
    ]


@pytest.mark.parametrize("name", Q_METHODS)
def test_a_run_of_default_length_copies_its_targets_often(name):
    """One copy in a whole default run was the default once."""
    options = TrainOptions()
    experiment = Experiment(name, "matrix/climbing", options=options)
    (group,) = experiment.groups()
    assert check_milestones([group], options) == []
    steps = options.total_steps // group.phases[0].algorithm.env_steps_per_update * group.config.gradient_steps
    assert steps // group.config.target_period >= 10


def test_a_phase_counts_the_experience_that_it_goes_on_with():
    """Warmed up in the phase before: the second half of a run learns from its first update on."""
    spec = algorithms.get("td3")

    def halves(config, env):
        (phase,) = spec.make(config, env)
        second = phase._replace(name="second", fraction=0.5, begin=lambda state, key, ctx: state)
        return phase._replace(name="first", fraction=0.5), second

    config = dataclasses.replace(spec.default_config, warmup_steps=3000)
    env, options = "toy/pendulum", TrainOptions(total_steps=6000)
    with mock.patch.object(Experiment, "spec", dataclasses.replace(spec, make=halves)):
        assert check_milestones(Experiment("td3", env, config, options=options).groups(), options) == []
        config = dataclasses.replace(config, warmup_steps=3050)  # not in the first
        with pytest.raises(ValueError, match="phase 'first' has 3,000"):
            check_milestones(Experiment("td3", env, config, options=options).groups(), options)
