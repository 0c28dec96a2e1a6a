"""The one runner: seeds, sweeps, evaluation, logging, checkpoints, devices. Algorithms know nothing of it."""

from jaxmarl_suite.runner._devices import configure
from jaxmarl_suite.runner._experiment import ENV_PREFIX, Experiment, Group, Lane, TrainOptions, coerce
from jaxmarl_suite.runner._folder import RunFolder, default_run_dir
from jaxmarl_suite.runner._train import Diverged, Interrupted, Listener, resume, run, total_env_steps, train

__all__ = [
    "ENV_PREFIX",
    "Diverged",
    "Experiment",
    "Group",
    "Interrupted",
    "Lane",
    "Listener",
    "RunFolder",
    "TrainOptions",
    "coerce",
    "configure",
    "default_run_dir",
    "resume",
    "run",
    "total_env_steps",
    "train",
]
