"""Ids, errors, registration and entry points."""

import importlib.metadata

import jaxmarl_envs
import jaxmarl_envs.football
import jaxmarl_envs.micro
import jaxmarl_envs.rag
import pytest
from jaxmarl_envs import EnvSpec, Family
from jaxmarl_envs.core import _registry

WITHOUT_OPTIMUM = {
    f"toy/{name}" for name in ("pendulum", "pendulum-2", "point-mass", "point-mass-2", "puck", "handover")
}
WITHOUT_OPTIMUM |= {
    f"{f.name}/{name}"
    for f in (jaxmarl_envs.micro.FAMILY, jaxmarl_envs.football.FAMILY, jaxmarl_envs.rag.FAMILY)
    for name in f.variants
}
"""Tasks of this project whose best return is not known."""


@pytest.fixture
def clean(monkeypatch):
    monkeypatch.setattr(_registry, "_registered", {})


def family(name="tiny"):
    return Family(name=name, make=lambda variant, **options: jaxmarl_envs.make("matrix/xor"), variants=("a",))


def test_every_listed_id_can_be_made_and_says_its_id():
    ids = jaxmarl_envs.available()
    assert len(ids) == len(set(ids)) >= 20
    own = [f"{family.name}/{v}" for family in jaxmarl_envs.families() if not family.package for v in family.variants]
    assert set(own) < set(ids)
    for env_id in own:
        env = jaxmarl_envs.make(env_id)
        assert env.spec.id == env_id
        assert (env.spec.optimum is None) == (env_id in WITHOUT_OPTIMUM)
        assert isinstance(env, jaxmarl_envs.Environment)
        hash(env.spec)


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("matrix/climb", ["unknown environment 'matrix/climb'", "did you mean 'matrix/climbing'?"]),
        ("climbing", ["unknown environment 'climbing'", "did you mean 'matrix/climbing'?"]),
        ("matrx/climbing", ["did you mean 'matrix/climbing'?"]),
        ("matrix", ["names a family only", "e.g. matrix/climbing", "envs --family matrix"]),
        ("hallway/4_4", ["did you mean 'hallway/4-4'?", "L1-L2-"]),
        ("nothing/like-this", ["unknown environment 'nothing/like-this'", "jaxmarl-suite envs"]),
    ],
)
def test_unknown_ids(env_id, words):
    with pytest.raises(ValueError) as error:
        jaxmarl_envs.make(env_id)
    for word in words:
        assert word in str(error.value)


def test_register_adds_a_family_and_refuses_to_replace_one(clean):
    jaxmarl_envs.register(family())
    assert "tiny/a" in jaxmarl_envs.available() and jaxmarl_envs.make("tiny/a").spec.num_actions == 2
    for name in ("tiny", "matrix"):
        with pytest.raises(ValueError, match=f"{name!r} is registered already"):
            jaxmarl_envs.register(family(name))
    for name in ("", "a/b"):
        with pytest.raises(ValueError, match="without '/'"):
            jaxmarl_envs.register(family(name))


@pytest.mark.parametrize(
    ("env_id", "option", "words"),
    [
        ("matrix/xor", "variant", "matrix/xor: unknown option 'variant'; accepted: horizon"),
        ("matrix/xor", "env_id", "matrix/xor: unknown option 'env_id'; accepted: horizon"),
        ("hallway/4-4", "variant", "hallway/4-4: unknown option 'variant'"),
        ("named/a", "sise", "named/a: unknown option 'sise'; did you mean 'size'\\? accepted: size, speed"),
        ("named/a", "variant", "named/a: unknown option 'variant'; accepted: size, speed"),
        ("any/a", "variant", "any/a: unknown option 'variant'; accepted: no options"),
        ("needs/a", "speed", "needs/a: missing option 'size'"),
        ("none/a", "size", "none/a: unknown option 'size'; accepted: no options"),
    ],
)
def test_unknown_options(clean, env_id, option, words):
    xor = jaxmarl_envs.make("matrix/xor")
    for name, make in (
        ("named", lambda variant, size=5, *, speed=1: xor),
        ("any", lambda variant, **options: xor),
        ("none", lambda variant: xor),
        ("needs", lambda variant, size: xor),
    ):
        jaxmarl_envs.register(Family(name, make, ("a",)))
    with pytest.raises(ValueError, match=words):
        jaxmarl_envs.make(env_id, **{option: 2})
    assert jaxmarl_envs.make("named/a", size=2, speed=3) is jaxmarl_envs.make("any/a", whatever=1) is xor


def test_known_families_are_found_without_a_look_at_installed_packages(clean, monkeypatch):
    def look(**_):
        raise AssertionError("reads the metadata of every installed package, which takes milliseconds")

    monkeypatch.setattr(importlib.metadata, "entry_points", look)
    assert jaxmarl_envs.make("matrix/climbing").spec.id == "matrix/climbing"
    assert "horizon" in jaxmarl_envs.options("matrix/climbing")
    assert _registry.evaluation_options("matrix/climbing") == {}


def test_families_of_installed_packages(clean, monkeypatch):
    class Point:
        value = "installed:FAMILY"

        def __init__(self, loaded):
            self.name, self.loaded = "installed", loaded

        def load(self):
            return self.loaded

    found = [Point(family("installed"))]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)
    assert "installed/a" in jaxmarl_envs.available()
    assert jaxmarl_envs.make("installed/a").spec.n_agents == 2
    with pytest.raises(ValueError, match="registered already"):
        jaxmarl_envs.register(family("installed"))
    found[0].loaded = "not a family"
    with pytest.raises(ValueError, match="is not a Family"):
        jaxmarl_envs.make("installed/a")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"n_agents": 0}, "n_agents must be at least 1, got 0"),
        ({"num_actions": 0}, "exactly one of num_actions and action_dim"),
        ({"action_dim": 2}, "exactly one of num_actions and action_dim"),
        ({"state_size": -1}, "sizes must not be negative"),
        ({"episode_limit": 0}, "episode_limit must be at least 1"),
        ({"agent_names": ("a",)}, "agent_names needs one entry per agent"),
    ],
)
def test_specs_refuse_impossible_sizes(sizes, words):
    with pytest.raises(ValueError, match=words):
        EnvSpec(**{"id": "test/x", "n_agents": 2, "obs_shape": (1,), "num_actions": 2, **sizes})


@pytest.mark.parametrize("env_id", ["matrix/random-2x3", "hallway/4-4", "toy/pendulum", "smax/3m", "rag/cache-L0"])
def test_options_and_their_defaults_make_the_environment(env_id):
    found = jaxmarl_envs.options(env_id)
    assert found and jaxmarl_envs.make(env_id, **found).spec == jaxmarl_envs.make(env_id).spec
    with pytest.raises(jaxmarl_envs.UnknownOption) as caught:
        jaxmarl_envs.make(env_id, frob=1)
    assert set(caught.value.accepted) == set(found)


def test_every_family_says_what_options_it_accepts():
    for family in jaxmarl_envs.families():
        assert jaxmarl_envs.options(f"{family.name}/{family.variants[0]}"), family.name
