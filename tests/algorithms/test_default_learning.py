"""Plain defaults, as a first try on the command line has them, solve what is easy."""

import pytest

import jaxmarl_suite
from jaxmarl_suite import TrainOptions, load_run


@pytest.mark.slow
@pytest.mark.optimized
def test_vdn_solves_a_short_chain(tmp_path):
    """Its return was 0 while targets were copied every 100 updates: once in a run of default length."""
    options = TrainOptions(seeds=5, evaluations=4, absolute_episodes=0)
    env_options = {"length": 6, "wrong": "end"}
    path = jaxmarl_suite.train("vdn", "toy/chain", env_options=env_options, options=options, run_dir=tmp_path / "run")
    assert load_run(path).curve().values[:, -1].tolist() == [1.0] * 5


@pytest.mark.slow
@pytest.mark.optimized
def test_ippo_gets_better_than_uniform_play_on_spread(tmp_path):
    """It fell to -51 and -59 while values were normalized by moments of a hundred updates. Uniform play has -27.6."""
    options = TrainOptions(total_steps=100_000, seeds=3, evaluations=4, eval_episodes=64, absolute_episodes=0)
    path = jaxmarl_suite.train("ippo", "mpe/simple-spread", options=options, run_dir=tmp_path / "run")
    last = load_run(path).curve().values[:, -1]
    assert last.min() > -25
