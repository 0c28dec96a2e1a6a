"""Dense layers with PyTorch's initialization."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmarl_suite.networks._linear import dense_product


def torch_bound(fan_in: int) -> float:
    """1/sqrt(fan_in), the bound of the uniform initialization of `torch.nn.Linear` and `GRUCell`.

    A layer without inputs gets 1, the bound for a single input, while PyTorch would leave its bias at zero: functions
    of an empty state would otherwise start at points where gradients vanish (|0|, ReLU of 0).
    """
    return max(fan_in, 1) ** -0.5


def uniform_between(bound: float) -> nn.initializers.Initializer:
    """Initializer: uniform on [-bound, bound)."""

    def init(key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32, **_: object) -> jax.Array:
        return jax.random.uniform(key, tuple(shape), dtype, -bound, bound)

    return init


def torch_dense(x: jax.Array, width: int, *, use_bias: bool = True, name: str | None = None) -> jax.Array:
    """A new dense layer applied to `x`: [..., D] -> [..., width]. For the body of a compact flax module.

    Kernel and bias are initialized uniformly within +-1/sqrt(D), as in PyTorch. The published settings of the
    Q-learning methods were tuned with this; flax's default is different (zero bias, a kernel with three times the
    variance).
    """
    init = uniform_between(torch_bound(x.shape[-1]))
    return nn.Dense(width, use_bias=use_bias, kernel_init=init, bias_init=init, dot_general=dense_product, name=name)(x)


def layer_norm(x: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """A new layer normalization applied to `x`, of its dtype. For the body of a compact flax module."""
    with jax.numpy_dtype_promotion("standard"):  # flax takes the moments of lower precisions in float32
        return nn.LayerNorm(epsilon=epsilon)(x)


class TorchMLP(nn.Module):
    """ReLU layers, then a linear one: [..., D] -> [..., widths[-1]], all initialized as in `torch_dense`."""

    widths: Sequence[int]
    last_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths[:-1]:
            x = nn.relu(torch_dense(x, width))
        return torch_dense(x, self.widths[-1], use_bias=self.last_bias)


def check_sizes(owner: str, at_least: int = 1, **sizes: int) -> None:
    """Rejects sizes that are not integers of at least `at_least`.

    Raises:
      ValueError: names owner and size, with the value received and what is accepted.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < at_least:
            raise ValueError(f"{owner}: {name} must be a whole number of at least {at_least}, got {size!r}")


def check_team(owner: str, n_agents: int) -> None:
    """Rejects a team of one agent, which has nothing to mix.

    Raises:
      ValueError: fewer than 2 agents.
    """
    check_sizes(owner, n_agents=n_agents)
    if n_agents < 2:
        raise ValueError(
            f"{owner} mixes at least 2 agents, got n_agents {n_agents}; for one agent use independent_mixer"
        )


def check_shape(owner: str, name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Rejects a shape while tracing: a missing axis would be broadcast silently.

    Raises:
      ValueError: `got` is not `expected`.
    """
    if tuple(got) != tuple(expected):
        raise ValueError(f"{owner}: {name} must have shape {tuple(expected)}, got {tuple(got)}")
