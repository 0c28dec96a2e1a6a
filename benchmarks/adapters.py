"""Environments of JaxMARL through our adapter, against themselves: bare stepping, and with restarts.

Four compiled scans of random legal play for each environment and batch, in one process pinned to one core, in turns:
JaxMARL's `step_env` and the adapter's `step`, which never restart; then JaxMARL's `step`, which computes a reset of every
environment in every step, and our `VectorEnv`. All draw actions in the same way and keep what a learner reads:
observations, world state, masks, rewards, ends.

    python -m benchmarks.adapters --json adapters.json
"""

import dataclasses
import statistics
import sys
from collections.abc import Callable
from typing import Any

from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

LOOPS = ("step_env", "adapter", "step", "VectorEnv")
TARGET_BARE, TARGET_RESTARTS = 1.05, 0.95
_THEIRS = {
    "smax": ("jaxmarl.environments.smax", "HeuristicEnemySMAX"),
    "mpe/simple-spread": ("jaxmarl.environments.mpe", "SimpleSpreadMPE"),
}


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures random stepping of JaxMARL's environments through the adapter and without it."""

    ids: tuple[str, ...] = ("smax/3m", "smax/3s5z", "mpe/simple-spread")
    """Environment ids: smax/..., mpe/simple-spread."""
    num_envs: tuple[int, ...] = (1, 64, 1024)
    """E, environments stepped together."""
    seconds: float = 0.3
    """Length of one timed call, roughly: the number of steps is chosen by the first calls."""
    repetitions: int = 9
    """Timed calls of each loop, in turns."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(self.repetitions, *self.num_envs) < 1 or self.seconds <= 0:
            raise ValueError("num_envs, seconds and repetitions must be positive")
        unknown = [i for i in self.ids if not i.startswith("smax/") and i not in _THEIRS]
        if unknown:
            raise ValueError(f"ids must be smax/... or mpe/simple-spread, got {unknown[0]!r}")


def make_loops(env_id: str, num_envs: int) -> dict[str, tuple[Callable, Callable]]:
    """`(start, step)` of each loop: `start(key) -> carry`, `step(key, carry, actions) -> carry`.

    A carry is `(state, shown)` with the mask [E, N, A] last in `shown`.
    """
    import jax
    import jax.numpy as jnp
    import jaxmarl_envs
    from jaxmarl_envs.core._vector import environment_keys

    env = jaxmarl_envs.make(env_id)
    theirs, vector = original(env_id), jaxmarl_envs.VectorEnv(env, num_envs)
    agents = theirs.agents

    def ours_shown(timestep: Any) -> Any:
        return timestep.obs, timestep.state, timestep.reward, timestep.done, timestep.action_mask

    def start(key: jax.Array) -> Any:
        state, timestep = jax.vmap(env.reset, (0, None))(environment_keys(key, num_envs), ())
        return state, ours_shown(timestep)

    def step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
        keys = environment_keys(key, num_envs)
        state, timestep = jax.vmap(env.step, (0, 0, 0, None))(keys, carry[0], action, ())
        return state, ours_shown(timestep)

    def vector_start(key: jax.Array) -> Any:
        state = vector.reset(key, ())
        return state, (state.timestep.action_mask,)

    def vector_step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
        state = vector.step(key, carry[0], action, ())
        return state, (state.timestep.action_mask,)

    def mask(state: Any) -> jax.Array:
        if env_id.startswith("mpe"):  # has none: every action is legal
            return jnp.ones((num_envs, len(agents), env.spec.num_actions), bool)
        legal = jax.vmap(theirs.get_avail_actions)(state)
        return jnp.stack([legal[agent] for agent in agents], 1).astype(bool)

    def their_start(key: jax.Array) -> Any:
        obs, state = jax.vmap(theirs.reset)(environment_keys(key, num_envs))
        zeros = dict.fromkeys(agents, jnp.zeros(num_envs))
        return state, (obs, zeros, jnp.zeros(num_envs, bool), mask(state))

    def their_step(advance: Callable) -> Callable:
        def step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
            by_name = {agent: action[:, i] for i, agent in enumerate(agents)}
            keys = environment_keys(key, num_envs)
            obs, state, rewards, dones, _ = jax.vmap(advance)(keys, carry[0], by_name)
            rewards = {agent: rewards[agent].astype(jnp.float32) for agent in agents}
            return state, (obs, rewards, dones["__all__"], mask(state))

        return step

    return {
        "step_env": (their_start, their_step(theirs.step_env)),
        "adapter": (start, step),
        "step": (their_start, their_step(theirs.step)),
        "VectorEnv": (vector_start, vector_step),
    }


def original(env_id: str) -> Any:
    """JaxMARL's own environment."""
    from jaxmarl_envs.adapters._packages import load

    family, _, variant = env_id.partition("/")
    module, name = _THEIRS[family if family == "smax" else env_id]
    maker = getattr(load(module, "the benchmark"), name)
    if family != "smax":
        return maker()
    return maker(scenario=load(module, "the benchmark").map_name_to_scenario(variant))


def compiled(env_id: str, start: Callable, step: Callable, num_envs: int) -> Callable:
    """`(key, number of steps) -> last carry` as one program."""
    import jax
    import jaxmarl_envs

    spec = jaxmarl_envs.make(env_id).spec

    def run(key: jax.Array, num_steps: jax.Array) -> Any:
        def body(t: jax.Array, carry: Any) -> Any:
            action_key, step_key = jax.random.split(jax.random.fold_in(key, t))
            action = jaxmarl_envs.random_action(spec, action_key, carry[1][-1])
            return step(step_key, carry, action)

        return jax.lax.fori_loop(0, num_steps, body, start(key))

    return jax.jit(run).lower(seed_key(0), 1).compile()


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Row]:
    """Pins this process to a core and compiles; each request is one timed call of every loop."""
    start_pinned()
    num_envs = task["num_envs"]
    loops = {
        name: compiled(task["id"], *make_loops(task["id"], num_envs)[name], num_envs)
        for name in task.get("loops", LOOPS)
    }
    return in_turns(loops, task["seconds"])


def start_pinned() -> None:
    """Keeps this process on one core and configures JAX as the runner does."""
    _processes.pin()
    from jaxmarl_suite.runner import configure

    configure(1)


def in_turns(loops: dict[str, Callable], seconds: float) -> Callable[[dict[str, Any]], Row]:
    """What answers `{"repetition": i}` with the seconds of a call of each of the `compiled` loops, `seconds` long or so."""
    import jax

    cpu = jax.default_backend() == "cpu"

    def timed(loop: Callable, seed: int, steps: int) -> float:
        with _common.stopwatch() as spent:
            jax.block_until_ready(loop(seed_key(seed), steps))
        # One core, one thread: CPU seconds are the same without what else the machine does.
        return spent.cpu if cpu else spent.wall

    steps = 8
    while (spent := min(timed(loop, 0, steps) for loop in loops.values())) < seconds / 4:
        steps *= 2
    steps = max(8, int(steps * seconds / spent))

    def answer(request: dict[str, Any]) -> Row:
        names = list(loops)
        turn = request["repetition"] % len(names)  # whoever comes first does not do so always
        found = {n: timed(loops[n], request["repetition"], steps) for n in names[turn:] + names[:turn]}
        return {"seconds": found, "steps": steps, "platform": jax.default_backend()}

    return answer


def measure(env_id: str, num_envs: int, seconds: float, repetitions: int, loops: tuple[str, ...] = LOOPS) -> Row:
    """Medians of microseconds a step for every loop, and of the ratios of neighboring calls."""
    task = {"id": env_id, "num_envs": num_envs, "seconds": seconds, "loops": loops}
    ratios = {"bare_ratio": ("adapter", "step_env"), "restart_ratio": ("VectorEnv", "step")}
    row = medians("benchmarks.adapters", task, repetitions, ratios)
    row["steps_per_s"] = 1e6 / row["VectorEnv_us"] if "VectorEnv" in loops else None
    return row


def medians(module: str, task: dict[str, Any], repetitions: int, ratios: dict[str, tuple[str, str]]) -> Row:
    """Medians over the answers of `in_turns` in a worker of `module`: microseconds a step of every loop, and ratios.

    Args:
      module: with the worker.
      task: `id`, `num_envs`, `loops`, and what else the worker wants.
      repetitions: timed calls of each loop; one more goes before them.
      ratios: name to the loops above and below the line; those that were not measured are left out.
    """
    environment = _processes.child_environment(XLA_FLAGS="")
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    with _processes.Worker(module, task, environment) as worker:
        found = [worker.ask({"repetition": repetition}) for repetition in range(repetitions + 1)][1:]
    scale = 1e6 / (found[0]["steps"] * task["num_envs"])
    row: Row = {"id": task["id"], "num_envs": task["num_envs"]}
    row |= {"steps": found[0]["steps"], "platform": found[0]["platform"]}
    for name in task["loops"]:
        spent = [answer["seconds"][name] for answer in found]
        row |= {f"{name}_us": scale * statistics.median(spent), f"{name}_best_us": scale * min(spent)}
    for name, (ours, theirs) in ratios.items():
        if {ours, theirs} <= set(task["loops"]):
            row[name] = statistics.median(a["seconds"][ours] / a["seconds"][theirs] for a in found)
    return row


def table_of(rows: list[Row]) -> Table:
    """Ours beside theirs."""
    columns = (
        Column("environment", plain("id")),
        Column("environments", plain("num_envs")),
        Column("`step_env`, µs", number("step_env_us", ".2f")),
        Column("adapter, µs", number("adapter_us", ".2f")),
        Column("ratio", number("bare_ratio", ".3f")),
        Column("`step`, µs", number("step_us", ".2f")),
        Column("`VectorEnv`, µs", number("VectorEnv_us", ".2f")),
        Column("ratio", number("restart_ratio", ".3f")),
        Column("`VectorEnv`, steps/s", number("steps_per_s")),
    )
    return Table("adapters", rows, columns, ("id", "num_envs"), "steps_per_s")


def targets_of(rows: list[Row]) -> list[Row]:
    """The adapter costs next to nothing, and restarts less than the original's."""
    bounds = (
        ("adapter over step_env", "bare_ratio", TARGET_BARE),
        ("VectorEnv over step", "restart_ratio", TARGET_RESTARTS),
    )
    return [
        _common.target(f"{row['num_envs']} of {row['id']}, {name}", row[field], bound, at_most=True)
        for row in rows
        for name, field, bound in bounds
    ]


def main(args: Args) -> dict[str, Any]:
    from jaxmarl_envs.adapters._packages import load

    old = _common.begin("adapters", args)
    load("jaxmarl", "bench adapters")
    rows = []
    for env_id in args.ids:
        for num_envs in args.num_envs:
            print(f"{num_envs} of {env_id} ...", file=sys.stderr, flush=True)
            rows.append(measure(env_id, num_envs, args.seconds, args.repetitions))
    return _common.finish("adapters", args, _common.hardware(), [table_of(rows)], targets_of(rows), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
