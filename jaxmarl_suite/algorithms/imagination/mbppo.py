"""PPO in world models of other kinds, which differ from DIMA by the model of the state only.

`mbppo-mlp`: an ensemble of Gaussian networks, as in MBPO (Janner et al. 2019). `mbppo-transformer`: an autoregressive
transformer over tokens of states and agents, in the manner of MARIE (Zhang et al. 2024).
"""

from jaxmarl_suite.algorithms.core import AlgorithmSpec
from jaxmarl_suite.algorithms.imagination._config import EnsembleConfig, TokenConfig
from jaxmarl_suite.algorithms.imagination._core import make
from jaxmarl_suite.algorithms.imagination._diagnose import diagnose

_KINDS = ("discrete", "continuous")

MLP_SPEC = AlgorithmSpec(
    "mbppo-mlp", EnsembleConfig, make, "PPO in an ensemble of networks as model", actions=_KINDS, diagnose=diagnose
)
TRANSFORMER_SPEC = AlgorithmSpec(
    "mbppo-transformer", TokenConfig, make, "PPO in a token transformer as model", actions=_KINDS, diagnose=diagnose
)
