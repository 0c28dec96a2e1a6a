"""Robots divided among agents: stepping beside brax alone and JaxMARL's MABrax, and what each physics takes to compile.

Stepping: compiled scans of random play in one process pinned to one core, in turns, all on the same backend of brax. The
first two never restart: brax's own `step` under `vmap`, and ours. The others do: brax with its wrappers for training, which
restart an environment in the one state it began with; our `VectorEnv`, which gives every episode a start of its own and
resets only what ended; the same computing a reset of every environment in every step; JaxMARL's MABrax, which does so as
well, around brax's restarts.

Compilation: a process for each robot and backend makes the environment and compiles a step of a batch, brax's and ours.

    python -m benchmarks.mabrax --json mabrax.json
"""

import dataclasses
import sys
import warnings
from collections.abc import Callable
from typing import Any

from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain
from benchmarks.adapters import compiled, in_turns, medians, start_pinned

LOOPS = ("brax", "ours", "brax restarting", "VectorEnv", "VectorEnv, all reset")
JAXMARL = "jaxmarl"
TARGET_BARE = 1.05
_RATIOS = {
    "bare_ratio": ("ours", "brax"),
    "restart_ratio": ("VectorEnv", "brax restarting"),
    "all_ratio": ("VectorEnv, all reset", "VectorEnv"),
    "jaxmarl_ratio": ("VectorEnv", JAXMARL),
}


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures random stepping of robots, and their compilation."""

    ids: tuple[str, ...] = ("mabrax/halfcheetah-6x1", "mabrax/ant-4x2")
    """Environment ids of the family mabrax whose agents have neighboring actuators, equally many each."""
    backend: str = "spring"
    """brax's physics, the same in all loops."""
    num_envs: tuple[int, ...] = (1, 256)
    """E, environments stepped together."""
    seconds: float = 1.0
    """Length of one timed call, roughly: the number of steps is chosen by the first calls."""
    repetitions: int = 9
    """Timed calls of each loop, in turns."""
    jaxmarl: bool = True
    """Measure JaxMARL's MABrax as well, where it can be imported."""
    robots: tuple[str, ...] = ()
    """Robots to compile; all if empty."""
    backends: tuple[str, ...] = ()
    """Backends to compile them on; all that a robot has if empty."""
    compile_envs: int = 256
    """E, environments in the compiled step; 0 measures no compilation."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        from jaxmarl_envs.mabrax._robots import ROBOTS

        super().__post_init__()
        if min(self.repetitions, *self.num_envs) < 1 or self.seconds <= 0 or self.compile_envs < 0:
            raise ValueError("num_envs, seconds and repetitions must be positive, compile_envs not negative")
        unknown = [i for i in self.ids if not i.startswith("mabrax/")]
        if unknown:
            raise ValueError(f"ids must be mabrax/..., got {unknown[0]!r}")
        unknown = [r for r in self.robots if r not in ROBOTS]
        if unknown:
            raise ValueError(f"robots must be among {', '.join(ROBOTS)}, got {unknown[0]!r}")


def make_loops(
    env_id: str, num_envs: int, backend: str, names: tuple[str, ...]
) -> dict[str, tuple[Callable, Callable]]:
    """`(start, step)` of the loops called `names`: `start(key) -> carry`, `step(key, carry, actions) -> carry`.

    A carry is `(state, shown)` with a mask [E, N, D] last in `shown`.
    """
    import jax
    import jax.numpy as jnp
    import jaxmarl_envs
    from brax.envs.wrappers import training
    from jaxmarl_envs.core._vector import environment_keys

    env = jaxmarl_envs.make(env_id, backend=backend)
    robot: Any = env.unwrapped.brax_env  # type: ignore[attr-defined]
    spec = env.spec
    mask = jnp.ones((num_envs, spec.n_agents, spec.action_dim), bool)

    class AllReset(jaxmarl_envs.Wrapper):
        @property
        def spec(self) -> jaxmarl_envs.EnvSpec:
            return self.env.spec.replace(reset_is_costly=False)

    def bare_start(key: jax.Array) -> Any:
        state = jax.vmap(robot.reset)(environment_keys(key, num_envs))
        return state, (state.obs, state.reward, state.done, mask)

    def bare_step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
        state = jax.vmap(robot.step)(carry[0], action.reshape(num_envs, -1))
        return state, (state.obs, state.reward, state.done, mask)

    def our_start(key: jax.Array) -> Any:
        state, timestep = jax.vmap(env.reset, (0, None))(environment_keys(key, num_envs), ())
        return state, (timestep.obs, timestep.state, timestep.reward, timestep.done, timestep.action_mask)

    def our_step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
        keys = environment_keys(key, num_envs)
        state, timestep = jax.vmap(env.step, (0, 0, 0, None))(keys, carry[0], action, ())
        return state, (timestep.obs, timestep.state, timestep.reward, timestep.done, timestep.action_mask)

    wrapped: Any = training.wrap(robot, spec.episode_limit)

    def wrapped_start(key: jax.Array) -> Any:
        # Its wrappers take the number of environments from the shape of raw keys.
        state = wrapped.reset(jax.random.key_data(environment_keys(key, num_envs)))
        return state, (state.obs, state.reward, state.done, mask)

    def wrapped_step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
        state = wrapped.step(carry[0], action.reshape(num_envs, -1))
        return state, (state.obs, state.reward, state.done, mask)

    def vector(inner: jaxmarl_envs.Environment) -> tuple[Callable, Callable]:
        batch = jaxmarl_envs.VectorEnv(inner, num_envs)

        def start(key: jax.Array) -> Any:
            state = batch.reset(key, ())
            return state, (state.timestep.action_mask,)

        def step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
            state = batch.step(key, carry[0], action, ())
            return state, (state.timestep.action_mask,)

        return start, step

    found = {
        "brax": (bare_start, bare_step),
        "ours": (our_start, our_step),
        "brax restarting": (wrapped_start, wrapped_step),
        "VectorEnv": vector(env),
        "VectorEnv, all reset": vector(AllReset(env)),
    }
    if JAXMARL in names:
        theirs = original(env_id, backend)

        def their_start(key: jax.Array) -> Any:
            obs, state = jax.vmap(theirs.reset)(environment_keys(key, num_envs))
            zeros = jnp.zeros(num_envs)
            return state, (obs, dict.fromkeys(theirs.agents, zeros), zeros > 0, mask)

        def their_step(key: jax.Array, carry: Any, action: jax.Array) -> Any:
            by_name = {agent: action[:, i] for i, agent in enumerate(theirs.agents)}
            keys = environment_keys(key, num_envs)
            obs, state, rewards, dones, _ = jax.vmap(theirs.step)(keys, carry[0], by_name)
            return state, (obs, {agent: rewards[agent] for agent in theirs.agents}, dones["__all__"], mask)

        found[JAXMARL] = their_start, their_step
    return {name: found[name] for name in names}


def original(env_id: str, backend: str) -> Any:
    """JaxMARL's robot of that name."""
    from jaxmarl_envs.adapters._packages import load

    module = load("jaxmarl.environments.mabrax", "the benchmark")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        return module.MABraxEnv(env_id.partition("/")[2].replace("-", "_"), backend=backend)


def compile_seconds(robot: str, backend: str, num_envs: int) -> Row:
    """Seconds to make a robot's environment, and to trace and compile a batched step: brax's, then ours."""
    import jax
    import jax.numpy as jnp
    import jaxmarl_envs
    from jaxmarl_envs.core._vector import environment_keys

    jax.block_until_ready(jnp.zeros(()))  # starting the device is none of it
    with _common.stopwatch() as making:
        env = jaxmarl_envs.make(f"mabrax/{robot}", backend=backend)
    physics: Any = env.unwrapped.brax_env  # type: ignore[attr-defined]
    keys, spec = environment_keys(seed_key(0), num_envs), env.spec
    found: Row = {"robot": robot, "backend": backend, "num_envs": num_envs, "making_seconds": making.wall}
    action = jnp.zeros((num_envs, 1, spec.action_dim))
    batch = jaxmarl_envs.VectorEnv(env, num_envs)
    programs: dict[str, tuple[Callable, Callable]] = {
        "brax": (lambda: jax.vmap(physics.reset)(keys), lambda s: jax.vmap(physics.step)(s, action[:, 0])),
        "ours": (lambda: batch.reset(keys[0], ()), lambda s: batch.step(keys[0], s, action, ())),
    }
    for name, (start, step) in programs.items():
        state = jax.eval_shape(start)
        with _common.stopwatch() as spent:
            jax.jit(step).lower(state).compile()
        found |= {f"{name}_seconds": spent.wall, f"{name}_cpu_seconds": spent.cpu}
    return found


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Row]:
    """Pins this process to a core; requests are answered with times of stepping, or of compiling."""
    start_pinned()
    warnings.simplefilter("ignore")
    if "robot" in task:
        return lambda request: compile_seconds(task["robot"], task["backend"], task["num_envs"])
    pairs = make_loops(task["id"], task["num_envs"], task["backend"], tuple(task["loops"]))
    loops = {name: compiled(task["id"], *pair, task["num_envs"]) for name, pair in pairs.items()}
    return in_turns(loops, task["seconds"])


def measure(
    env_id: str, num_envs: int, backend: str, seconds: float, repetitions: int, loops: tuple[str, ...] = LOOPS
) -> Row:
    """Medians of microseconds a step for every loop, and of the ratios of neighboring calls."""
    task = {"id": env_id, "num_envs": num_envs, "backend": backend, "seconds": seconds, "loops": loops}
    row = medians("benchmarks.mabrax", task, repetitions, _RATIOS)
    row["steps_per_s"] = 1e6 / row["VectorEnv_us"] if "VectorEnv" in loops else None
    return row | {"backend": backend}


def measure_compilation(robot: str, backend: str, num_envs: int) -> Row:
    """`compile_seconds` in a process of its own, without the cache on disk; what failed where one cannot be compiled."""
    environment = _processes.child_environment(XLA_FLAGS="", JAXMARL_SUITE_CACHE="off")
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    task = {"robot": robot, "backend": backend, "num_envs": num_envs}
    with _processes.Worker("benchmarks.mabrax", task, environment) as worker:
        return worker.ask({})


def can_import_jaxmarl() -> bool:
    """Whether JaxMARL's MABrax can be made; says why it cannot."""
    try:
        original("mabrax/halfcheetah-6x1", "spring")
    except Exception as error:  # whatever another project raises, the rest can be measured
        print(f"without JaxMARL's MABrax: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


def stepping_table(rows: list[Row]) -> Table:
    """Ours beside brax's and JaxMARL's."""
    columns = (
        Column("environment", plain("id")),
        Column("backend", plain("backend")),
        Column("environments", plain("num_envs")),
        Column("brax, µs", number("brax_us", ".2f")),
        Column("ours, µs", number("ours_us", ".2f")),
        Column("ratio", number("bare_ratio", ".3f")),
        Column("brax restarting, µs", number("brax restarting_us", ".2f")),
        Column("`VectorEnv`, µs", number("VectorEnv_us", ".2f")),
        Column("ratio", number("restart_ratio", ".3f")),
        Column("all reset over it", number("all_ratio", ".3f")),
        Column("JaxMARL, µs", number("jaxmarl_us", ".2f")),
        Column("ratio", number("jaxmarl_ratio", ".3f")),
        Column("`VectorEnv`, steps/s", number("steps_per_s")),
    )
    return Table("mabrax", rows, columns, ("id", "backend", "num_envs"), "steps_per_s")


def compilation_table(rows: list[Row]) -> Table:
    """Seconds for each robot and backend."""
    columns = (
        Column("robot", plain("robot")),
        Column("backend", plain("backend")),
        Column("environments", plain("num_envs")),
        Column("make, s", number("making_seconds", ".1f")),
        Column("brax's step, s", number("brax_seconds", ".1f")),
        Column("ours with restarts, s", number("ours_seconds", ".1f")),
        Column("CPU s", number("ours_cpu_seconds", ".1f")),
    )
    return Table("mabrax-compile", rows, columns, ("robot", "backend", "num_envs"), "ours_seconds", is_time=True)


def targets_of(rows: list[Row]) -> list[Row]:
    """Dividing a robot among agents costs next to nothing."""
    return [
        _common.target(f"{r['num_envs']} of {r['id']}, ours over brax", r["bare_ratio"], TARGET_BARE, at_most=True)
        for r in rows
    ]


def main(args: Args) -> dict[str, Any]:
    from jaxmarl_envs.mabrax._robots import ROBOTS

    old = _common.begin("mabrax", args)
    loops = (*LOOPS, JAXMARL) if args.jaxmarl and can_import_jaxmarl() else LOOPS
    stepping, compilation = [], []
    for env_id in args.ids:
        for num_envs in args.num_envs:
            print(f"{num_envs} of {env_id} ...", file=sys.stderr, flush=True)
            stepping.append(measure(env_id, num_envs, args.backend, args.seconds, args.repetitions, loops))
    for robot in args.robots or ROBOTS:
        for backend in ROBOTS[robot].backends:
            if args.compile_envs and (not args.backends or backend in args.backends):
                print(f"{robot} on {backend} ...", file=sys.stderr, flush=True)
                compilation.append(measure_compilation(robot, backend, args.compile_envs))
    tables = [stepping_table(stepping), compilation_table(compilation)]
    return _common.finish("mabrax", args, _common.hardware(), tables, targets_of(stepping), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
