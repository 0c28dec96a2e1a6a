"""Micromanagement: steps of `micro/` beside JaxMARL's SMAX on the same maps.

Both through `VectorEnv` with restarts, random legal play drawn in the same way, in one process pinned to one core, in
turns. The engines differ in their rules, and both in what a step computes: each has 8 parts in SMAX, 4 here.

    python -m benchmarks.micro --json micro.json
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain
from benchmarks.adapters import in_turns, medians, start_pinned

LOOPS = ("smax", "micro")
TARGETS = {"3s5z": 20.0, "27m_vs_30m": 25.0}
"""SMAX's time over ours."""


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures random stepping of micro/ and of smax/ on one core."""

    maps: tuple[str, ...] = ("3m", "3s5z", "27m_vs_30m")
    """Maps that both have."""
    num_envs: tuple[int, ...] = (64, 1024)
    """E, environments stepped together."""
    seconds: float = 0.1
    """Length of the faster timed call, roughly: the number of steps is chosen by the first calls, and the same for both."""
    repetitions: int = 7
    """Timed calls of each, in turns."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(self.repetitions, *self.num_envs) < 1 or self.seconds <= 0:
            raise ValueError("num_envs, seconds and repetitions must be positive")
        import jaxmarl_envs

        both = [
            {i.partition("/")[2] for i in jaxmarl_envs.available() if i.startswith(f"{family}/")} for family in LOOPS
        ]
        if unknown := [name for name in self.maps if name not in both[0] & both[1]]:
            raise ValueError(f"maps must be among {', '.join(sorted(both[0] & both[1]))}; got {unknown[0]!r}")


def compiled(env_id: str, num_envs: int) -> tuple[Callable, float]:
    """`(key, number of steps) -> what is left` as one program, and the CPU seconds that compiling it took."""
    import jax
    import jaxmarl_envs

    env = jaxmarl_envs.make(env_id)
    vector = jaxmarl_envs.VectorEnv(env, num_envs)

    def run(key: jax.Array, params: Any, num_steps: jax.Array) -> Any:
        def body(t: jax.Array, state: Any) -> Any:
            action_key, step_key = jax.random.split(jax.random.fold_in(key, t))
            action = jaxmarl_envs.random_action(env.spec, action_key, state.timestep.action_mask)
            return vector.step(step_key, state, action, params)

        return jax.lax.fori_loop(0, num_steps, body, vector.reset(key, params))

    with _common.stopwatch() as spent:
        program = jax.jit(run).lower(seed_key(0), env.default_params, 1).compile()
    return lambda key, num_steps: program(key, env.default_params, num_steps), spent.cpu


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Row]:
    """Pins this process to a core and compiles; each request is one timed call of every loop."""
    start_pinned()
    made = {family: compiled(f"{family}/{task['id']}", task["num_envs"]) for family in task["loops"]}
    answer = in_turns({family: loop for family, (loop, _) in made.items()}, task["seconds"])
    compile_s = {family: seconds for family, (_, seconds) in made.items()}
    return lambda request: answer(request) | {"compile_s": compile_s}


def measure(name: str, num_envs: int, seconds: float, repetitions: int, loops: tuple[str, ...] = LOOPS) -> Row:
    """Medians of microseconds a step on a map for each family, and of the ratios of neighboring calls."""
    task = {"id": name, "num_envs": num_envs, "seconds": seconds, "loops": loops}
    row = medians("benchmarks.micro", task, repetitions, {"ratio": ("smax", "micro")})
    row["steps_per_s"] = 1e6 / row["micro_us"]
    return row


def table_of(rows: list[Row]) -> Table:
    """Ours beside theirs."""
    columns = (
        Column("map", plain("id")),
        Column("environments", plain("num_envs")),
        Column("`smax`, µs", number("smax_us", ".2f")),
        Column("`micro`, µs", number("micro_us", ".2f")),
        Column("ratio", number("ratio", ".1f")),
        Column("`micro`, steps/s", number("steps_per_s")),
    )
    return Table("micro", rows, columns, ("id", "num_envs"), "steps_per_s")


def targets_of(rows: list[Row]) -> list[Row]:
    """How much sooner than SMAX."""
    return [
        _common.target(f"{row['num_envs']} of {row['id']}, smax over micro", row["ratio"], TARGETS[row["id"]])
        for row in rows
        if row["id"] in TARGETS
    ]


def main(args: Args) -> dict[str, Any]:
    from jaxmarl_envs.adapters._packages import load

    old = _common.begin("micro", args)
    load("jaxmarl", "bench micro")
    rows = []
    for name in args.maps:
        for num_envs in args.num_envs:
            print(f"{num_envs} of {name} ...", file=sys.stderr, flush=True)
            rows.append(measure(name, num_envs, args.seconds, args.repetitions))
    return _common.finish("micro", args, _common.hardware(), [table_of(rows)], targets_of(rows), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
