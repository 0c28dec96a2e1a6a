"""The runner shared by all algorithms: seeds, sweeps, evaluation, logging, checkpoints, devices. Algorithms do not
import it.
"""

from jaxmarl_suite.algorithms import coerce
from jaxmarl_suite.runner._authors import TracingError
from jaxmarl_suite.runner._compile import choose_wave
from jaxmarl_suite.runner._datasets import TIERS, export_dataset, import_dataset, make_dataset
from jaxmarl_suite.runner._deploy import Policy, export_policy, load_policy
from jaxmarl_suite.runner._devices import configure
from jaxmarl_suite.runner._diagnose import Diagnosis, diagnose
from jaxmarl_suite.runner._environments import env_parameters
from jaxmarl_suite.runner._eval_env import eval_flags
from jaxmarl_suite.runner._evaluate import (  # fmt: skip
    Evaluation,
    Trained,
    check_episodes,
    evaluate,
    evaluate_trained,
    make_act,
    restore_policies,
    take_policy,
)
from jaxmarl_suite.runner._experiment import ENV_PREFIX, Experiment, Group, Lane
from jaxmarl_suite.runner._files import StorageError, move_aside, read_object
from jaxmarl_suite.runner._folder import SCHEMA, RunFolder, default_run_dir
from jaxmarl_suite.runner._machine import usable_cores
from jaxmarl_suite.runner._options import TrainOptions, WandbOptions
from jaxmarl_suite.runner._play import play
from jaxmarl_suite.runner._reproduce import recipe_experiment
from jaxmarl_suite.runner._rules import evaluate_rules, rules_of
from jaxmarl_suite.runner._schedule import check_milestones, plan_phases
from jaxmarl_suite.runner._train import (  # fmt: skip
    Diverged,
    Interrupted,
    Listener,
    check_data,
    resume,
    run,
    total_env_steps,
    total_steps,
    train,
)

__all__ = [
    "ENV_PREFIX",
    "SCHEMA",
    "TIERS",
    "Diagnosis",
    "Diverged",
    "Evaluation",
    "Experiment",
    "Group",
    "Interrupted",
    "Lane",
    "Listener",
    "Policy",
    "RunFolder",
    "StorageError",
    "TracingError",
    "TrainOptions",
    "Trained",
    "WandbOptions",
    "check_data",
    "check_episodes",
    "check_milestones",
    "choose_wave",
    "coerce",
    "configure",
    "default_run_dir",
    "diagnose",
    "env_parameters",
    "eval_flags",
    "evaluate",
    "evaluate_rules",
    "evaluate_trained",
    "export_dataset",
    "export_policy",
    "import_dataset",
    "load_policy",
    "make_act",
    "make_dataset",
    "move_aside",
    "plan_phases",
    "play",
    "read_object",
    "recipe_experiment",
    "restore_policies",
    "resume",
    "rules_of",
    "run",
    "take_policy",
    "total_env_steps",
    "total_steps",
    "train",
    "usable_cores",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
