"""Parts of an update: play, learning, and the whole of it, of one seed at the sizes of `bench peers`; and the GRU.

Each part is a program of its own. The whole update has work besides them: a Q-learner stores what was played. As in the
runner, its state is donated. The GRU of
`jaxmarl_suite.networks` is timed beside Flax's cell in a scan, forward and backward, at the sizes of these methods. One
process, pinned to one core, as the runner configures it; repetitions alternate. Use CPU seconds if other work shares the
machine.

    python -m benchmarks.parts --json parts.json
"""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs import VectorEnv, seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain
from benchmarks.peers import CONTESTS, ENV

Method = Literal["qmix", "ippo", "mappo"]
WHOLE = "whole update"
HORIZON = 10**6  # updates; far enough that no schedule ends


class Size(NamedTuple):
    """Of a memory: steps, rows, inputs, units."""

    steps: int
    rows: int
    inputs: int
    units: int

    def __str__(self) -> str:
        """As it is shown."""
        return f"{self.rows} rows, {self.steps} steps, {self.units} units"


GRU_SIZES: Mapping[str, Size] = {"mappo": Size(128, 12, 128, 128), "qmix": Size(26, 96, 64, 64)}
"""Of a minibatch of the actors and a batch of the agents."""


class Call(NamedTuple):
    """A function and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    is_carried: bool = False
    """The first argument is donated, and the next call gets the first result in its place."""


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures the parts of an update on one core."""

    methods: tuple[Method, ...] = ("qmix", "ippo", "mappo")
    """Methods."""
    updates: int = 40
    """Updates before the parts are measured, so that experience is stored."""
    repetitions: int = 15
    """Timed repetitions of each part, alternating."""
    calls: int = 5
    """Calls in one repetition."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if not self.methods or min(self.updates, self.repetitions, self.calls) < 1:
            raise ValueError("methods needs at least one name; updates, repetitions and calls must be positive")


def parts_of(method: str, env: Any, config: Any, updates: int) -> dict[str, Call]:
    """The parts of an update of `method` after so many updates, and the whole update."""
    from jaxmarl_suite.algorithms import Context

    ctx = Context(
        hp=jax.tree.map(jnp.float32, config),
        env_params=jax.tree.map(jnp.asarray, env.default_params),
        data=None,
        clock=jnp.int32(0),
        horizon=jnp.int32(HORIZON),
    )
    return (_q_parts if method == "qmix" else _ppo_parts)(method, env, config, ctx, updates)


def _advanced(update: Callable[..., Any], state: Any, ctx: Any, updates: int) -> tuple[Any, Any]:
    """`(state, ctx)` after so many updates."""
    compiled = jax.jit(update)
    for clock in range(updates):
        state, _ = compiled(state, dataclasses.replace(ctx, clock=jnp.int32(clock)))
    return jax.block_until_ready(state), dataclasses.replace(ctx, clock=jnp.int32(updates))


def _ppo_parts(method: str, env: Any, config: Any, ctx: Any, updates: int) -> dict[str, Call]:
    from jaxmarl_suite.algorithms.core import rollout
    from jaxmarl_suite.algorithms.ppo import Trajectory, init_state, ippo, mappo, update_state

    ppo = {"ippo": ippo, "mappo": mappo}[method].parts(config, env)
    vector = VectorEnv(env, config.num_envs)
    update = partial(update_state, ppo, vector)
    state = jax.jit(partial(init_state, ppo, vector))(seed_key(0), ctx)
    state, ctx = _advanced(update, state, ctx, updates)

    def play(state: Any, ctx: Any) -> Any:
        act = partial(ppo.act, state.learners.actor.params)
        length = config.rollout_length
        return rollout(vector, act, state.env, state.actor_carry, state.key, ctx.env_params, length)

    def learn(state: Any, steps: Any, ctx: Any) -> Any:
        return ppo.learn(state.learners, Trajectory(steps, state.critic_carry), state.key, ctx)

    steps = jax.jit(play)(state, ctx)[2]
    own = jax.tree.map(jnp.copy, state)  # to be donated
    return {
        "play": Call(play, (state, ctx)),
        "learn": Call(learn, (state, steps, ctx)),
        WHOLE: Call(update, (own, ctx), is_carried=True),
    }


def _q_parts(method: str, env: Any, config: Any, ctx: Any, updates: int) -> dict[str, Call]:
    from jaxmarl_suite.algorithms.q_learning import QLearning, _core, qmix

    learner, vector = QLearning(*qmix.parts(config, env)), VectorEnv(env, config.num_envs)
    layout = learner.layout(env)
    update = partial(_core.update_state, learner, vector, layout)
    state = jax.jit(partial(_core.init_state, learner, vector, layout))(seed_key(0), ctx)
    state, ctx = _advanced(update, state, ctx, updates)

    def play(state: Any, ctx: Any) -> Any:
        params = state.learners.online.params
        return _core.play(learner, vector, params, state.env, state.memory, state.key, ctx)

    def learn(state: Any, ctx: Any) -> Any:
        return _core.learn_block(learner, layout, state.learners, state.replay, state.key, ctx)

    own = jax.tree.map(jnp.copy, state)  # to be donated
    return {
        "play": Call(play, (state, ctx)),
        "learn": Call(learn, (state, ctx)),
        WHOLE: Call(update, (own, ctx), is_carried=True),
    }


def grus(size: Size) -> dict[str, Call]:
    """Gradients of both GRUs in parameters, memory and inputs; they are the same numbers."""
    from jaxmarl_suite.networks._gru import gru

    cell = nn.GRUCell(size.units)
    key, carry_key, x_key, weight_key = jax.random.split(seed_key(0), 4)
    carry = jax.random.normal(carry_key, (size.rows, size.units))
    x = jax.random.normal(x_key, (size.steps, size.rows, size.inputs))
    weight = jax.random.normal(weight_key, (size.steps, size.rows, size.units))
    start = jnp.zeros((size.steps, size.rows), bool)
    params = cell.init(key, carry, x[0])

    def flax_gru(params: Any, carry: jax.Array, x: jax.Array, start: jax.Array) -> jax.Array:
        def advance(h: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            x, start = step
            h, _ = cell.apply(params, jnp.where(start[:, None], 0.0, h), x)
            return h, h

        return jax.lax.scan(advance, carry, (x, start))[1]

    def gradient(unroll: Callable[..., jax.Array]) -> Callable[..., Any]:
        return jax.grad(lambda params, carry, x: jnp.vdot(unroll(params, carry, x, start), weight), argnums=(0, 1, 2))

    return {name: Call(gradient(unroll), (params, carry, x)) for name, unroll in (("Flax", flax_gru), ("ours", gru))}


def times(calls_of: Mapping[str, Call], repetitions: int, calls: int) -> dict[str, list[_common.Spent]]:
    """Seconds of one call, for each repetition; all take turns, and the first turn is left out."""
    programs = {
        name: jax.jit(call.function, donate_argnums=(0,) if call.is_carried else ()).lower(*call.args).compile()
        for name, call in calls_of.items()
    }
    args = {name: call.args for name, call in calls_of.items()}
    found: dict[str, list[_common.Spent]] = {name: [] for name in programs}
    for _ in range(repetitions + 1):
        for name, program in programs.items():
            with _common.stopwatch() as spent:
                for _ in range(calls):
                    result = jax.block_until_ready(program(*args[name]))
                    if calls_of[name].is_carried:
                        args[name] = (result[0], *args[name][1:])
            found[name].append(_common.Spent(spent.wall / calls, spent.cpu / calls))
    return {name: warm for name, (_, *warm) in found.items()}


def measure(name: str, part: str, calls_of: Mapping[str, Call], base: str, repetitions: int, calls: int) -> list[Row]:
    """A row for each of `calls_of`: medians of seconds, and of the ratio to `base` in the same turn.

    Args:
      name: what the rows are of.
      part: the field with the names of `calls_of`.
      calls_of: what is timed.
      base: one of its names.
      repetitions: timed turns.
      calls: in one turn.
    """
    found = times(calls_of, repetitions, calls)
    return [
        {
            "of": name,
            part: one,
            "seconds": statistics.median(spent.wall for spent in runs),
            "cpu_seconds": statistics.median(spent.cpu for spent in runs),
            "ratio": statistics.median(a.cpu / max(b.cpu, 1e-9) for a, b in zip(runs, found[base], strict=True)),
        }
        for one, runs in found.items()
    ]


def measure_method(
    method: str, updates: int, repetitions: int, calls: int, settings: Mapping[str, str] | None = None, env: str = ENV
) -> list[Row]:
    """`measure` of the parts of a method, with the settings of its contest unless others are given."""
    from benchmarks.training import config_of
    from jaxmarl_suite.runner import Experiment

    contest = CONTESTS[method]
    config = config_of(contest.algorithm, contest.settings if settings is None else settings)
    (group,) = Experiment(contest.algorithm, env, config).groups()
    parts = parts_of(method, group.env, config, updates)
    return measure(method, "part", parts, WHOLE, repetitions, calls)


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    _processes.pin()
    configure(1)
    counts = task["repetitions"], task["calls"]

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if "method" in request:
            return {"rows": measure_method(request["method"], task["updates"], *counts)}
        size = GRU_SIZES[request["gru"]]
        rows = measure(f"{request['gru']}: {size}", "cell", grus(size), "ours", *counts)
        return {"rows": rows, "hardware": _common.hardware()}

    return answer


def parts_table(rows: list[Row]) -> Table:
    """Parts of updates."""
    columns = (
        Column("method", plain("of")),
        Column("part", plain("part")),
        Column("CPU ms", number("cpu_seconds", ",.1f", 1e3)),
        Column("of the update", number("ratio", ".0%")),
        Column("wall ms", number("seconds", ",.1f", 1e3)),
    )
    return Table("parts", rows, columns, ("of", "part"), "cpu_seconds", is_time=True)


def gru_table(rows: list[Row]) -> Table:
    """Both GRUs."""
    columns = (
        Column("forward and backward", plain("of")),
        Column("cell", plain("cell")),
        Column("CPU ms", number("cpu_seconds", ",.2f", 1e3)),
        Column("x ours", number("ratio", ".2f")),
        Column("wall ms", number("seconds", ",.2f", 1e3)),
    )
    return Table("parts-gru", rows, columns, ("of", "cell"), "cpu_seconds", is_time=True)


def main(args: Args) -> dict[str, Any]:
    import jaxmarl_envs

    jaxmarl_envs.make(ENV)  # a mistake is told at once
    old = _common.begin("parts", args)
    load = _common.machine()
    task = {name: getattr(args, name) for name in ("updates", "repetitions", "calls")}
    environment = _processes.child_environment(keep_flags=False, JAX_PLATFORMS="cpu", JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.parts", task, environment) as worker:
        parts = [row for method in args.methods for row in worker.ask({"method": method})["rows"]]
        answers = [worker.ask({"gru": name}) for name in GRU_SIZES]
    found = answers[-1]["hardware"] | load  # of the whole machine, not of the one core
    cells = [row for answer in answers for row in answer["rows"]]
    return _common.finish("parts", args, found, [parts_table(parts), gru_table(cells)], old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
