"""Classical rules: what they choose on situations made by hand, and that they are what they are called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import make
from jaxmarl_envs.rag._interface import ENTRY, OWN, POOL
from jaxmarl_envs.rag._rules import CACHE_RULES, SERVE_RULES, serve_rule

from tests.cli.conftest import Cli, cli  # noqa: F401

SMALL = {"sessions": 900, "windows": 4, "requests": 24, "capacity": 24, "n_agents": 3, "batch": 3}


class Shown:
    """What a rule reads of a `TimeStep`."""

    def __init__(self, obs, mask):
        self.obs, self.action_mask = jnp.asarray(obs, jnp.float32), jnp.asarray(mask)
        self.reward = jnp.zeros(self.obs.shape[0])


def situation(backlog, uncached, overlap, here, age, full=()):
    """Replicas with `backlog` seconds of work; waiting requests with columns [N][k] of what each replica sees."""
    n, waiting = len(backlog), len(age)
    obs = np.zeros((n, OWN + ENTRY * POOL + 8))
    obs[:, 0], obs[:, 3], obs[:, 4] = np.log1p(backlog), 1.0, np.arange(n) / n
    entries = np.zeros((n, POOL, ENTRY))
    entries[:, :waiting, 0] = 1
    entries[:, :waiting, 1] = np.log1p(age)
    entries[:, :waiting, 2] = np.asarray(uncached) / 2048
    entries[:, :waiting, 3] = overlap
    entries[:, :waiting, 8] = here
    obs[:, OWN : OWN + ENTRY * POOL] = entries.reshape(n, -1)
    mask = np.ones((n, 25), bool)
    mask[:, 1 + 3 * waiting :] = False
    mask[list(full), 1:] = False
    return Shown(obs, mask)


def chosen(rule, shown):
    """Request of each replica, None where it waits; the mode must be LFU-DA."""
    action = np.asarray(rule(shown))
    assert all((a - 1) % 3 == 1 for a in action if a)
    return [None if a == 0 else int(a - 1) // 3 for a in action]


TWO = {
    "backlog": [0.5, 0.1],
    "uncached": [[2000, 100], [2000, 900]],
    "overlap": [[0.9, 0.9], [0.0, 0.1]],
    "here": [[0, 0], [0, 1]],
    "age": [1.0, 0.5],
}
ONE = {**TWO, "uncached": [[2000], [2000]], "overlap": [[0.9], [0.0]], "here": [[0], [1]], "age": [1.0]}


def test_who_takes_the_only_request():
    shown = situation(**ONE)
    who = {place: chosen(serve_rule(place, "fifo", "lfu-da"), shown).index(0) for place in
           ("rr", "jsq", "session", "overlap", "balanced")}  # fmt: skip
    assert who == {"rr": 0, "jsq": 1, "session": 1, "overlap": 0, "balanced": 1}
    near = situation(**{**ONE, "uncached": [[100], [6000]]})  # 0.015 s of prefill behind 0.5 s, or 0.9 s behind 0.1 s
    assert chosen(serve_rule("balanced", "fifo", "lfu-da"), near) == [0, None]


def test_waiting_for_a_full_replica():
    shown = situation(**ONE, full=[0])
    assert chosen(serve_rule("overlap", "fifo", "lfu-da"), shown) == [None, None]
    assert chosen(serve_rule("rr", "fifo", "lfu-da"), shown) == [None, 0]
    assert chosen(serve_rule("session", "fifo", "lfu-da"), situation(**ONE, full=[1])) == [None, None]
    assert chosen(serve_rule("jsq", "fifo", "lfu-da"), situation(**ONE, full=[0, 1])) == [None, None]


def test_which_request_goes_first():
    one_free = situation(**TWO, full=[1])
    assert chosen(serve_rule("rr", "fifo", "lfu-da"), one_free) == [0, None]
    assert chosen(serve_rule("rr", "sjf", "lfu-da"), one_free) == [1, None]
    assert chosen(serve_rule("rr", "guard", "lfu-da"), one_free) == [1, None]
    starved = situation(**{**TWO, "age": [3.0, 0.5]}, full=[1])
    assert chosen(serve_rule("rr", "guard", "lfu-da"), starved) == [0, None]
    assert chosen(serve_rule("rr", "fifo", "lfu-da"), situation(**TWO)) == [0, 1]


@pytest.mark.parametrize("name", ["rr-fifo+lru", "overlap-guard+bypass", "session-sjf+lfu-da", "balanced-sjf+lfu-da"])
def test_serve_rules_are_legal_and_finish(name):
    env = make("rag/serve-L2", **{**SMALL, "batch": 2})
    params, rule = env.default_params, env.unwrapped.rules[name]
    assert SERVE_RULES[name] is rule and len(SERVE_RULES) == 45

    def body(carry, key):
        state, timestep = carry
        action = rule(timestep)
        legal = jnp.take_along_axis(timestep.action_mask, action[:, None], axis=1).all()
        state, timestep = env.step(key, state, action, params)
        return (state, timestep), (legal, timestep.done, timestep.metrics["conflicts"])

    start = jax.jit(env.reset)(jax.random.key(0), params)
    _, (legal, done, conflicts) = jax.jit(
        lambda start: jax.lax.scan(body, start, jax.random.split(jax.random.key(1), env.spec.episode_limit))
    )(start)
    assert legal.all() and done.any() and (conflicts == 0).all()


def test_cache_rules():
    hit, free, full = [True] + [False] * 4, [True, True, False, False, False], [True] * 5
    unshared = [True, True, True, True, False]
    obs = np.zeros((5, 30))
    obs[4, 4] = 1 / 3  # a peer holds it
    shown = Shown(obs, [hit, free, full, unshared, full])
    expected = {
        "lru": [0, 1, 1, 1, 1],
        "lfu": [0, 1, 2, 2, 2],
        "lfu-da": [0, 1, 3, 3, 3],
        "shared-first": [0, 1, 4, 3, 4],
        "lru-unless-held": [0, 1, 1, 1, 0],
        "lfu-da-unless-held": [0, 1, 3, 3, 0],
        "bypass": [0, 0, 0, 0, 0],
    }
    assert {name: np.asarray(rule(shown)).tolist() for name, rule in CACHE_RULES.items()} == expected
    assert make("rag/cache-L1", actions="sampled", sessions=900, rounds=24).unwrapped.rules == {}


def test_rules_from_the_command_line(cli: Cli):  # noqa: F811
    small = "--env.sessions 900 --env.windows 4 --env.rounds 24 --env.capacity 8"
    outcome = cli(f"eval --env rag/cache-L1 --rule lru lfu-da --episodes 8 --json {small}")
    rules = outcome.json["rules"]
    assert outcome.code == 0 and list(rules) == ["lru", "lfu-da"]
    for metrics in rules.values():
        assert metrics["return"] == pytest.approx(-24 * metrics["cost"], rel=1e-4)
    assert "did you mean 'lfu-da'?" in cli(f"eval --env rag/cache-L1 --rule lfuda {small}").error
    assert "matrix/xor offers no rules" in cli("eval --env matrix/xor").error
    assert "episodes must be in 1.." in cli("eval --env rag/cache-L1 --episodes 0").error
