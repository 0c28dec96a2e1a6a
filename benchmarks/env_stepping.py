"""Environment stepping against its floor: the suite's batched, auto-resetting loop beside the bare dynamics.

Both loops are one jitted scan of random play. The bare loop is written by hand for the batch: one draw of all actions,
the rules, the restarts that the rules need, and the sums of rewards and episodes; it builds no observation, no mask and
no global state. The suite's loop carries everything a learner reads. Repetitions alternate, so that a busy machine
slows both.

    python -m benchmarks.env_stepping --json env_stepping.json
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import tyro
from jaxmarl_envs.hallway import Hallway
from jaxmarl_envs.matrix import MatrixGame

Carry = Any


@dataclasses.dataclass(frozen=True)
class Args:
    """Measures steps/s of random play, ours and bare."""

    ids: tuple[str, ...] = ()
    """Environment ids; all listed matrix and hallway ids if empty."""
    num_envs: int = 256
    """E, environments stepped together."""
    steps: int = 1000
    """Steps of each environment in one timed call."""
    repetitions: int = 15
    """Timed calls of either loop, alternating."""
    one_core: bool = False
    """Also measure in a second process pinned to one core (Linux)."""
    json: Path | None = None
    """Where to write the results."""


def random_actions(key: jax.Array, shape: tuple[int, ...], num_actions: int) -> jax.Array:
    """Uniform actions from one draw of bits; the same in both loops."""
    return jaxmarl_envs.uniform_index(key, num_actions, shape)


def our_loop(env: jaxmarl_envs.Environment, num_envs: int) -> tuple[Callable, Callable]:
    """`(start, step)` of the suite's loop."""
    vector, spec = jaxmarl_envs.VectorEnv(env, num_envs), env.spec

    def start(key: jax.Array) -> Carry:
        return vector.reset(key, env.default_params)

    def step(key: jax.Array, state: Carry) -> tuple[Carry, jax.Array, jax.Array]:
        action_key, step_key = jax.random.split(key)
        action = random_actions(action_key, (num_envs, spec.n_agents), spec.num_actions)
        state = vector.step(step_key, state, action, env.default_params)
        return state, state.timestep.reward[:, 0], state.timestep.done

    return start, step


def bare_loop(env: jaxmarl_envs.Environment, num_envs: int) -> tuple[Callable, Callable]:
    """`(start, step)` of the same rules written for the batch, and nothing else."""
    game = getattr(env, "unwrapped", env)
    if isinstance(game, Hallway):
        return _bare_hallway(game, num_envs, env.spec.episode_limit)
    assert isinstance(game, MatrixGame)
    n, a = game.n_agents, game.num_actions
    payoff = jnp.asarray(game.default_params.payoff)
    successor = jnp.asarray(game.default_params.successor)
    strides = a ** np.arange(n)[::-1]

    def play(key: jax.Array) -> jax.Array:
        action = random_actions(key, (num_envs, n), a)
        return sum(action[:, i] * int(strides[i]) for i in range(n))

    if game.start is None:  # contexts: every step ends and draws the next game

        def start(key: jax.Array) -> Carry:
            return random_actions(key, (num_envs,), game.n_stages)

        def step(key: jax.Array, context: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            action_key, reset_key = jax.random.split(key)
            return start(reset_key), payoff[context, play(action_key)], jnp.ones(num_envs, bool)

    elif successor.shape[1] == 1:  # the same game, n_stages times
        length = game.n_stages

        def start(key: jax.Array) -> Carry:
            return jnp.zeros(num_envs if length > 1 else 0, jnp.int32)

        def step(key: jax.Array, t: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            reward = payoff[0, play(key)]
            if length == 1:
                return t, reward, jnp.ones(num_envs, bool)
            done = t + 1 >= length
            return jnp.where(done, 0, t + 1), reward, done

    else:  # stages, and perhaps a time limit
        limit, end = env.spec.episode_limit, game.n_stages

        def start(key: jax.Array) -> Carry:
            return jnp.full(num_envs, game.start, jnp.int32), jnp.zeros(num_envs, jnp.int32)

        def step(key: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            (stage, t), joint = carry, play(key)
            reward, stage, t = payoff[stage, joint], successor[stage, joint], t + 1
            done = (stage >= end) | (t >= limit)
            return (jnp.where(done, game.start, stage), jnp.where(done, 0, t)), reward, done

    return start, step


def _bare_hallway(game: Hallway, num_envs: int, limit: int) -> tuple[Callable, Callable]:
    lengths = jnp.array(game.lengths)

    def cells(key: jax.Array) -> jax.Array:
        return 1 + jaxmarl_envs.uniform_index(key, lengths, (num_envs, len(game.lengths)))

    def start(key: jax.Array) -> Carry:
        return cells(key), jnp.zeros(num_envs, jnp.int32)

    def step(key: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, jax.Array]:
        x, t = carry
        action_key, reset_key = jax.random.split(key)
        action = random_actions(action_key, x.shape, 3)
        x = jnp.clip(x + (action == 2) - (action == 1), 0, lengths)
        home, t = x == 0, t + 1
        done = home.any(axis=1) | (t >= limit)
        reward = jnp.where(home.all(axis=1), 10.0, 0.0)
        return (jnp.where(done[:, None], cells(reset_key), x), jnp.where(done, 0, t)), reward, done

    return start, step


def compiled(start: Callable, step: Callable, num_envs: int, steps: int) -> Callable:
    """`key -> (carry, sum of rewards [E], number of episodes [E])` after `steps` steps, as one program."""

    def run(key: jax.Array) -> tuple[Carry, jax.Array, jax.Array]:
        start_key, scan_key = jax.random.split(key)

        def body(carry: Carry, _: None) -> tuple[Carry, None]:
            key, inner, total, episodes = carry
            key, step_key = jax.random.split(key)
            inner, reward, done = step(step_key, inner)
            return (key, inner, total + reward, episodes + done), None

        zeros = jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32)
        (_, inner, total, episodes), _ = jax.lax.scan(body, (scan_key, start(start_key), *zeros), None, steps)
        return inner, total, episodes

    return jax.jit(run).lower(jax.random.key(0)).compile()


def measure(env_id: str, num_envs: int, steps: int, repetitions: int) -> dict[str, Any]:
    """Medians of both loops' steps/s for one environment, and what they earned: the same game, by the same rules."""
    env = jaxmarl_envs.make(env_id)
    loops = {
        "ours": compiled(*our_loop(env, num_envs), num_envs, steps),
        "bare": compiled(*bare_loop(env, num_envs), num_envs, steps),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    result: dict[str, Any] = {"id": env_id}
    for repetition in range(repetitions + 1):
        key = jax.random.key(repetition)
        for name, loop in loops.items():
            begin = time.perf_counter()
            _, total, episodes = jax.block_until_ready(loop(key))
            seconds[name].append(time.perf_counter() - begin)
            result[f"{name}_reward_per_step"] = float(total.mean()) / steps
            result[f"{name}_episode_length"] = num_envs * steps / max(int(episodes.sum()), 1)
    for name, times in seconds.items():
        result[f"{name}_steps_per_s"] = num_envs * steps / statistics.median(times[1:])
    # Neighbouring calls are compared with each other: other work on the machine comes and goes more slowly.
    result["ratio"] = statistics.median(o / b for o, b in zip(seconds["ours"][1:], seconds["bare"][1:]))
    return result


def main(args: Args) -> None:
    ids = args.ids or tuple(i for i in jaxmarl_envs.available() if i.split("/")[0] in ("matrix", "hallway"))
    rows = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"jax {jax.__version__} on {jax.default_backend()}, {cores} cores; {args.num_envs} environments")
    print(f"{'environment':24} {'ours':>12} {'bare':>12}  time ratio   reward/step ours, bare")
    for env_id in ids:
        row = measure(env_id, args.num_envs, args.steps, args.repetitions)
        rows.append(row)
        print(
            f"{env_id:24} {row['ours_steps_per_s']:12,.0f} {row['bare_steps_per_s']:12,.0f}  {row['ratio']:10.2f}   "
            f"{row['ours_reward_per_step']:.4f}, {row['bare_reward_per_step']:.4f}",
            flush=True,
        )
    if args.json:
        about = {"jax": jax.__version__, "backend": jax.default_backend(), "cores": cores, "num_envs": args.num_envs}
        args.json.write_text(json.dumps({**about, "steps": args.steps, "rows": rows}, indent=1) + "\n")
    if args.one_core:
        core = str(min(os.sched_getaffinity(0)))
        numbers = ["--num-envs", args.num_envs, "--steps", args.steps, "--repetitions", args.repetitions]
        command = ["taskset", "-c", core, sys.executable, __file__, "--ids", *ids, *map(str, numbers)]
        if args.json:
            command += ["--json", str(args.json.with_suffix(".one_core.json"))]
        print("pinned to one core:", flush=True)
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
