"""What studies share: presets that are trained once, and README sections that are made from their run folders."""

import dataclasses
import functools
import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
from jaxmarl_envs import VectorEnv, seed_key

from jaxmarl_suite import analysis, runner
from jaxmarl_suite.algorithms import get
from jaxmarl_suite.runner import Experiment, TrainOptions


@dataclasses.dataclass(frozen=True)
class Preset:
    """One run of a study."""

    name: str
    """Unique in the study; the run folder's name."""
    algorithm: str
    env: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the algorithm's config that differ from its defaults."""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    options: TrainOptions = dataclasses.field(default_factory=TrainOptions)

    def experiment(self) -> Experiment:
        """What the runner is given."""
        config = dataclasses.replace(get(self.algorithm).default_config, **self.settings)
        return Experiment(self.algorithm, self.env, config, self.env_options, self.grid, self.options)


class _Lines:
    """Prints what the runner announces, and a line an evaluation of all lanes."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, 0.0

    def announce(self, text: str) -> None:
        print(f"[{self._name}] {text}", flush=True)

    def rows(self, rows: list[dict[str, Any]], env_steps: int) -> None:
        returns = [row["metrics"]["return"] for row in rows if row["kind"] == "eval"]
        if returns and time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(f"[{self._name}] {rows[-1]['env_steps']:>9,} steps: mean return {sum(returns) / len(returns):.2f}")


def train_all(presets: Sequence[Preset], folder: Path, *, fresh: bool = False) -> dict[str, analysis.Run]:
    """The presets' runs by name: those finished with the same settings are read, the others are trained or resumed.

    Runs that are not used, of other settings or for `fresh`, are renamed to `NAME.old`, `NAME.old2`, ...

    Args:
      presets: what is needed.
      folder: where run folders lie.
      fresh: train everything anew.
    """
    runner.configure()
    for preset in presets:
        path, experiment = folder / preset.name, preset.experiment()
        if path.exists() and (fresh or not _is_same(path, experiment)):
            with runner.RunFolder(path).locked():  # nobody trains in it
                pass
            print(f"[{preset.name}] another run lies there: now {runner.move_aside(path, 'old')}", flush=True)
        if not path.exists():
            runner.run(experiment, run_dir=path, listener=_Lines(preset.name))
        elif runner.RunFolder(path).summary().get("status") != "finished":
            runner.resume(path, listener=_Lines(preset.name))
    return {preset.name: analysis.load_run(folder / preset.name) for preset in presets}


def _is_same(path: Path, experiment: Experiment) -> bool:
    """Whether the run was one of `experiment`; what its config does not name had its default."""
    try:
        stored = Experiment.read(runner.RunFolder(path))
    except (OSError, ValueError):
        return False
    return json.dumps(stored.to_json(), sort_keys=True) == json.dumps(experiment.to_json(), sort_keys=True)


def provenance(runs: Sequence[analysis.Run]) -> str:
    """The line below a table: command, hardware, versions and compute."""
    versions = runs[0].versions
    seconds = sum((run.summary or {}).get("seconds", 0.0) for run in runs)
    return (
        f"{versions['devices']} {versions['platform']} device(s), {versions['cpu_count']} cores, "
        f"{versions['machine']}; JAX {versions['jax']}, Flax {versions['flax']}, Optax {versions['optax']}, "
        f"Python {versions['python']}; {seconds / 60:.1f} minutes of wall time in all, compilation included."
    )


def processor() -> str:
    """The name of this machine's processor, for provenance lines."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a markdown table; the first column left-aligned, the others right."""
    lines = ["| " + " | ".join(header) + " |", "|" + " :-- |" + " --: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def fraction(count: int, total: int) -> str:
    """`k/n [low, high]` with an exact (Clopper-Pearson) 95 % interval."""
    estimate = analysis.fraction_estimate(count, total)
    return f"{count}/{total} [{estimate.low:.2f}, {estimate.high:.2f}]"


@functools.cache
def random_returns(env_id: str, episodes: int = 1_000, **options: Any) -> jax.Array:
    """[episodes] returns of uniform (legal) actions, of one episode per environment; `options` go to the environment."""
    env = jaxmarl_envs.make(env_id, **options)
    vector, limit = VectorEnv(env, episodes), env.spec.episode_limit or 1_000

    @jax.jit
    def play(key: jax.Array) -> jax.Array:
        start, run = jax.random.split(key)
        keys = jax.random.split(run, limit)

        def step(carried: Any) -> Any:
            t, state, total, is_over = carried
            act, move = jax.random.split(keys[t])
            state = vector.step(move, state, uniform(act, state.timestep.action_mask), env.default_params)
            total = total + jnp.where(is_over, 0.0, state.timestep.reward.mean(-1))
            return t + 1, state, total, is_over | state.timestep.done

        def goes_on(carried: Any) -> jax.Array:
            return (carried[0] < limit) & ~carried[3].all()

        begun = (jnp.int32(0), vector.reset(start, env.default_params), jnp.zeros(episodes), jnp.zeros(episodes, bool))
        return jax.lax.while_loop(goes_on, step, begun)[2]

    def uniform(key: jax.Array, mask: jax.Array) -> jax.Array:
        if env.spec.is_discrete:
            return jax.random.categorical(key, jnp.where(mask, 0.0, -1e9)).astype(jnp.int32)
        low, high = env.spec.action_bounds
        return jax.random.uniform(key, mask.shape, minval=low, maxval=high)

    return play(seed_key(0))


def random_return(env_id: str, episodes: int = 1_000, **options: Any) -> float:
    """Mean of `random_returns`."""
    return float(random_returns(env_id, episodes, **options).mean())
