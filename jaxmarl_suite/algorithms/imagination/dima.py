"""DIMA: policies learned in a diffusion model that sees one agent's action per denoising step (arXiv 2505.20922).

`reveal` has two variants that are not DIMA: "joint", its ablation, and "cumulative", in which a step sees all agents of
earlier steps too, so that the last one conditions on the whole joint action.
"""

from jaxmarl_suite.algorithms.core import AlgorithmSpec
from jaxmarl_suite.algorithms.imagination._config import DimaConfig
from jaxmarl_suite.algorithms.imagination._core import make
from jaxmarl_suite.algorithms.imagination._diagnose import diagnose

FULL = DimaConfig(model_size="full", imagined_envs=600, model_updates=200)
"""The sizes of DIMA's code, for GPUs."""

SPEC = AlgorithmSpec(
    "dima",
    DimaConfig,
    make,
    "PPO in a diffusion model of the state",
    actions=("discrete", "continuous"),
    diagnose=diagnose,
)
