"""Action head and policy network of the PPO methods, for each kind of actions."""

from collections.abc import Callable
from functools import partial

from jaxmarl_envs import EnvSpec

from jaxmarl_suite.algorithms.core._views import View
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.networks import Network, append_parameters, computed_in, make_network
from jaxmarl_suite.ops import ActionHead, categorical, diagonal_gaussian, tanh_normal

KINDS = ("discrete", "continuous")
"""Actions that every method of the family supports."""

NEAR_UNIFORM = 0.01
"""Initial gain of the policy's last layer: near-uniform, or near the middle of the bounds."""


def policy_head(config: PPOConfig, spec: EnvSpec) -> ActionHead:
    """The distributions from which agents sample actions.

    Raises:
      ValueError: `config` asks for a continuous distribution but actions are discrete, or for a bounded one without
        bounds.
    """
    if spec.is_discrete:
        if config.distribution != "gaussian":
            raise ValueError(
                f"distribution {config.distribution!r} is for continuous actions, but {spec.id!r} has discrete ones: "
                "leave it at 'gaussian', which discrete actions do not read"
            )
        return categorical(spec.num_actions)
    low, high = spec.action_bounds
    padded = bool(spec.agent_action_sizes)
    if config.distribution == "gaussian":
        return diagonal_gaussian(spec.action_dim, low, high, initial_std=config.initial_std, padded=padded)
    if low == -float("inf") or high == float("inf"):
        raise ValueError(
            f"distribution 'tanh-normal' needs finite bounds, but {spec.id!r} has action_bounds {spec.action_bounds}; "
            "accepted there: 'gaussian'"
        )
    return tanh_normal(spec.action_dim, low, high, initial_std=config.initial_std, padded=padded)


NetworkMaker = Callable[[View, int, float], Network]
"""`(view, entries of an output, gain of the last layer) -> network` for what the view shows."""


def default_network(config: PPOConfig, view: View, outputs: int, out_scale: float = 1.0) -> Network:
    """The layers that the config describes, after its GRU if there is one, for what `view` shows."""
    network = make_network(
        view.size,
        outputs,
        extra_size=view.extra_size,
        hidden=config.hidden,
        memory_size=config.memory,
        out_scale=out_scale,
    )
    return computed_in(network, config.compute_dtype)


def policy_network(
    config: PPOConfig, spec: EnvSpec, view: View, head: ActionHead, make: NetworkMaker | None = None
) -> Network:
    """A network from the inputs of `view` to the outputs of `head`; `make` for another one than `default_network`."""
    apart = 0 if spec.is_discrete or config.std_from_network else spec.action_dim
    network = (make or partial(default_network, config))(view, head.num_outputs - apart, NEAR_UNIFORM)
    return append_parameters(network, apart) if apart else network
