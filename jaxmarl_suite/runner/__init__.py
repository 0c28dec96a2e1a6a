"""The one runner: seeds, sweeps, evaluation, logging, checkpoints, devices. Algorithms know nothing of it."""

from jaxmarl_suite.runner._devices import configure
from jaxmarl_suite.runner._experiment import Experiment, Group, Lane, TrainOptions
from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._train import Diverged, Interrupted, Listener, resume, run, train

__all__ = [
    "Diverged",
    "Experiment",
    "Group",
    "Interrupted",
    "Lane",
    "Listener",
    "RunFolder",
    "TrainOptions",
    "configure",
    "resume",
    "run",
    "train",
]
