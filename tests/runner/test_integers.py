"""Every integer that can be set has bounds, and is named where it is out of them."""

import dataclasses
import time
import typing
from typing import Any

import pytest
from runner_tools import toy

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import check_integers, hyperparameters
from jaxmarl_suite.runner import Experiment, TrainOptions

DEFAULTS = {name: algorithms.get(name).default_config for name in algorithms.names()} | {"train": TrainOptions()}
INTEGERS = [
    (owner, field.name, kind)
    for owner, default in DEFAULTS.items()
    for field in dataclasses.fields(default)
    if int in (kind := typing.get_type_hints(type(default))[field.name], *typing.get_args(kind))
]


def test_there_are_many() -> None:
    assert {("train", "log_rows", int), ("td3", "policy_delay", int), ("mappo", "hidden", tuple[int, ...])} < {
        *INTEGERS
    }
    assert len(INTEGERS) > 150


@pytest.mark.parametrize("value", [2**31, 2**63])
@pytest.mark.parametrize(("owner", "name", "kind"), INTEGERS, ids=[f"{owner}-{name}" for owner, name, _ in INTEGERS])
def test_huge_integers_are_refused_by_name(owner: str, name: str, kind: Any, value: int) -> None:
    if (owner, name, value) == ("train", "seeds", 2**31):
        return  # 0 to 2**31 - 1 are seeds; there are limits on lanes instead
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(DEFAULTS[owner], **{name: (8, value) if typing.get_origin(kind) is tuple else value})
    assert str(caught.value).startswith(name)
    assert any(shown in str(caught.value) for shown in (f"{value:,}", str(value), f"{value - 1}"))  # the last seed


@pytest.mark.parametrize("value", [2.5, True, "8", None])
def test_what_is_no_integer_is_refused_by_name(value: Any) -> None:
    for owner, name, kind in INTEGERS:
        if kind is int:
            with pytest.raises(ValueError, match=f"^{name} must be an integer, got {value!r}$"):
                dataclasses.replace(DEFAULTS[owner], **{name: value})


@hyperparameters
class Foreign:
    """A config that checks nothing itself."""

    offset: int = 0
    size: int | None = None


def test_configs_of_other_packages_are_checked_by_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = algorithms.AlgorithmSpec("foreign", Foreign, lambda config, env: ())
    monkeypatch.setattr(algorithms, "get", lambda name: spec)
    for config, message in (
        (Foreign(offset=2**31), "^offset must be at most 2,147,483,647, got 2,147,483,648$"),
        (Foreign(size=2**63), "^size must be at most 2,147,483,647, got 9,223,372,036,854,775,808$"),
        (Foreign(size=-(2**63)), "^size must be at least -2147483647, got -9223372036854775808$"),
    ):
        with pytest.raises(ValueError, match=message):
            Experiment("foreign", "matrix/xor", config).groups()
    check_integers(Foreign(offset=-3), least=-4)


@pytest.mark.parametrize("options", [{"log_rows": 100_000}, {"evaluations": 100_000}])
@pytest.mark.usefixtures("toys")
def test_many_marks_are_planned_at_once(options: dict[str, int]) -> None:
    from jaxmarl_suite.runner import plan_phases

    group = toy(total_steps=2**31 - 1, **options).groups()[0]
    began = time.perf_counter()
    plans = plan_phases(group, toy(total_steps=2**31 - 1, **options).options)
    stops, update = 0, 0
    while update < plans[0].updates:
        update, stops = plans[0].next_stop(update), stops + 1
    assert stops >= 100_000 // len(plans) and time.perf_counter() - began < 10
