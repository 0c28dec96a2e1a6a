"""Options and traced parameters of environments: what is one program, what is refused, what is known of the optimum."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import jaxmarl_envs
import pytest
from jaxmarl_envs import EnvSpec, Family, UnknownVariant, pytree_dataclass, restart, transition
from jaxmarl_envs.core import _registry

from jaxmarl_suite.algorithms import get
from jaxmarl_suite.runner import Experiment, TrainOptions
from jaxmarl_suite.runner._environments import Environments, same_instance

OPTIONS = TrainOptions(total_steps=2048)


@pytree_dataclass
class Params:
    """Three scalars that may be set by name, and a table that may not."""

    prize: float = 1.0
    count: int = 2
    is_paid: bool = True
    table: Any = (1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Prize:
    """Pays the prize at once, whatever anyone does."""

    size: int = 5
    default_params: Params = dataclasses.field(default=Params(), compare=False)

    @property
    def spec(self) -> EnvSpec:
        """Static description."""
        return EnvSpec("test/prize", 2, (self.size,), num_actions=2, optimum=1.0)

    def reset(self, key, params):
        """A fresh episode."""
        return jnp.zeros(()), restart(self.spec, obs=jnp.zeros((2, self.size)))

    def step(self, key, state, action, params):
        """The only step."""
        obs = jnp.zeros((2, self.size))
        return state, transition(self.spec, obs=obs, reward=params.prize, terminated=True)


def make(variant: str, size: int = 5) -> Prize:
    """The family's `make`; it knows nothing of the parameters."""
    if variant != "prize":
        raise UnknownVariant
    return Prize(size)


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test/prize` has a name."""
    monkeypatch.setattr(_registry, "_registered", {})
    jaxmarl_envs.register(Family("test", make, ("prize",)))


def experiment(**settings: Any) -> Experiment:
    return Experiment("ippo", "test/prize", options=OPTIONS, **settings)


def test_the_optimum_is_unknown_where_a_parameter_is_another_than_the_environments_own() -> None:
    (group,) = experiment(grid={"env.prize": [1.0, 10.0]}).groups()
    assert [lane.optimum for lane in group.lanes] == [1.0, None]
    assert [float(lane.env_params.prize) for lane in group.lanes] == [1.0, 10.0]
    assert [lane.optimum for lane in experiment(grid={"env.size": [5, 6]}).groups()[1].lanes] == [1.0]


def test_a_parameter_is_set_with_and_without_a_grid() -> None:
    (group,) = experiment(env_options={"prize": 3, "size": 4}).groups()
    (lane,) = group.lanes
    assert (group.env.spec.obs_shape, lane.optimum) == ((4,), None)
    assert lane.env_params.prize.dtype == jnp.float32 and float(lane.env_params.prize) == 3.0
    groups = experiment(env_options={"prize": 3, "count": 7}, grid={"env.size": [4, 5], "env.count": [1]}).groups()
    assert [group.env.spec.obs_shape for group in groups] == [(4,), (5,)]
    for group in groups:
        assert (float(group.lanes[0].env_params.prize), int(group.lanes[0].env_params.count)) == (3.0, 1)


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="test/prize: unknown option 'prise'"):
        experiment(env_options={"prise": 3}).groups()
    with pytest.raises(ValueError, match="test/prize: unknown option 'sise'; did you mean 'size'"):
        experiment(env_options={"prize": 3, "sise": 2}).groups()


def test_a_value_that_the_family_refuses_is_not_set_as_a_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an option that the family does not have may be meant for the parameters."""

    def picky(variant: str, size: int = 5, prize: float = 1.0) -> Prize:
        if prize < 0:
            raise ValueError(f"test/{variant}: prize must not be negative, got {prize}")
        return Prize(size, Params(prize=prize))

    monkeypatch.setattr(_registry, "_registered", {})
    jaxmarl_envs.register(Family("test", picky, ("prize",)))
    with pytest.raises(ValueError, match="prize must not be negative, got -1"):
        experiment(env_options={"prize": -1}).groups()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("prize", "a", "a finite number"),
        ("prize", [1.0], "a finite number"),
        ("prize", True, "a finite number"),
        ("prize", None, "a finite number"),
        ("prize", float("nan"), "a finite number"),
        ("prize", 1e39, "a finite number"),
        ("prize", 10**400, "a finite number"),
        ("count", 1.5, "an integer"),
        ("count", 2**31, "an integer"),
        ("is_paid", 1, "True or False"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_name(name: str, value: Any, wanted: str) -> None:
    for settings in ({"grid": {f"env.{name}": [value]}}, {"env_options": {name: value}}):
        with pytest.raises(ValueError, match=rf"^env.{name} must be {wanted}, got "):
            experiment(**settings).groups()


def test_values_keep_the_dtype_of_their_field() -> None:
    params = Environments("test/prize", {"prize": jnp.float32(2), "count": 3.0, "is_paid": False}).get({}).params
    assert [x.dtype for x in (params.prize, params.count, params.is_paid)] == [jnp.float32, jnp.int32, jnp.bool_]


def test_explicit_defaults_are_the_same_environment() -> None:
    default = Environments("test/prize", {}).get({})
    assert same_instance(Environments("test/prize", {"size": 5, "prize": 1}).get({}), default)
    assert same_instance(Environments("test/prize", {}).get({"prize": 1.0}), default)
    for other in ({"size": 6}, {"prize": 2.0}):
        assert not same_instance(Environments("test/prize", other).get({}), default)


def test_groups_are_made_once() -> None:
    one = experiment()
    assert one.groups()[0] is one.groups()[0]
    assert one.base_config == get("ippo").default_config
