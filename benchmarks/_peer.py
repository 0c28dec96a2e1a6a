"""JaxMARL's training scripts, run from a checkout of it: nothing of them is kept here.

A script is imported as it lies there, with the settings of its own YAML file. It logs to wandb, which is replaced
by an empty module whose log calls do nothing. `make_train(config)` is compiled the way the script does it.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Script(NamedTuple):
    """One of its scripts, how it is compiled, and what is changed of its settings."""

    file: str
    """Below the checkout."""
    config: str
    """Its YAML file of settings, below the checkout."""
    settings: Mapping[str, Any]
    """Changed so that the timed part is training alone, and the same as ours."""
    batched: Callable[[Any], Any]
    """`train(key) -> train(keys)`, as in the script's `main`: where it has `vmap` over seeds, also for one."""


def _seeds(train: Any) -> Any:
    import jax

    return jax.vmap(train)


def _one_seed(train: Any) -> Any:
    return lambda keys: train(keys[0])


SCRIPTS: dict[str, Script] = {
    "ippo": Script("baselines/IPPO/ippo_ff_mpe.py", "baselines/IPPO/config/ippo_ff_mpe.yaml", {}, _seeds),
    "mappo": Script(
        "baselines/MAPPO/mappo_rnn_mpe.py", "baselines/MAPPO/config/mappo_homogenous_rnn_mpe.yaml", {}, _one_seed
    ),
    "qmix": Script(
        "baselines/QLearning/qmix_rnn.py",
        "baselines/QLearning/config/alg/ql_rnn_mpe.yaml",
        # Learning starts with the first full batch. Without its tests: the other scripts have none.
        {"LEARNING_STARTS": 0, "TEST_DURING_TRAINING": False, "WANDB_MODE": "disabled"},
        _seeds,
    ),
}


def check_checkout(folder: Path) -> None:
    """Rejects a folder that does not contain the scripts.

    Raises:
      ValueError: names what is missing.
    """
    for script in SCRIPTS.values():
        for file in (script.file, script.config):
            if not (folder / file).is_file():
                raise ValueError(f"checkout must be a checkout of JaxMARL with {file}, got {str(folder)!r}")


class Peer:
    """One of its scripts with one seed."""

    def __init__(self, checkout: Path, name: str, sizes: Mapping[str, Any]) -> None:
        """Imports the script.

        Args:
          checkout: of JaxMARL; its own environments are used.
          name: of the script.
          sizes: settings that are measured.

        Raises:
          ImportError: where a package that it needs is not installed.
        """
        script = SCRIPTS[name]
        wandb: Any = types.ModuleType("wandb")
        wandb.log = wandb.init = lambda *_, **__: None
        sys.modules["wandb"] = wandb
        sys.path.insert(0, str(checkout))
        yaml = importlib.import_module("yaml")
        self._settings = (
            yaml.safe_load((checkout / script.config).read_text(encoding="utf-8")) | dict(script.settings) | dict(sizes)
        )
        # Numbers like 1e7, which YAML 1.1 reads as text.
        self._settings = {k: _number(v) if isinstance(v, str) else v for k, v in self._settings.items()}
        spec = importlib.util.spec_from_file_location(f"peer_{name}", checkout / script.file)
        assert spec and spec.loader
        self._module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._module)
        self._script = script

    @property
    def version(self) -> str:
        """Of the JaxMARL that is measured."""
        return str(importlib.import_module("jaxmarl").__version__)

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update."""
        return int(self._settings["NUM_ENVS"] * self._settings["NUM_STEPS"])

    def train(self, updates: int) -> Callable[[Any], Any]:
        """A whole training of so many updates, `keys [1, 2] -> result`, to be compiled."""
        config = {**self._settings, "TOTAL_TIMESTEPS": updates * self.steps_per_update}
        if hasattr(self._module, "env_from_config"):
            env, _ = self._module.env_from_config(config)
            made = self._module.make_train(config, env)
        else:
            made = self._module.make_train(config)
        batched: Callable[[Any], Any] = self._script.batched(made)
        return batched


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
