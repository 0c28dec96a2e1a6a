"""Gradient descent on tabular value factorizations of matrix games: what QMIX and QPLEX find, not what they can hold.

One state, all joint actions in every step (uniform data), the exact payoffs as targets. Local values are tables
`Q_i(a_i)`; the mixers are

- `qmix`:  `h = ELU(Σ_i |W1_i| Q_i + b1)`, `Q_tot = |w2|ᵀ h + v` (QMIX's mixing network; with one state its
  hypernetworks are nothing but these parameters);
- `qplex`: `Q_tot = Σ_i Q_i(a_i) + Σ_i (λ_i(a) - 1) A_i(a_i)`, `A_i = Q_i - max Q_i`, one positive weight `λ_i(a)` for
  every agent and joint action (arXiv 2008.01062), here the exponential of a table. `stop_gradient` stops the gradient
  of A_i, as the authors' code does.

Seeds are the last axis of every array, so that each operation on these small tables is one vector loop.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from jaxmarl_suite.theory._factorization import check_target

MixerKind = Literal["qmix", "qplex"]
Parameters = dict[str, Any]  # arrays, or one array per agent; seeds last


@dataclasses.dataclass(frozen=True, eq=False)
class DescentResult:
    """Where gradient descent ended, for each seed."""

    total: NDArray[np.float32]  # [S, A_1, ..., A_n], Q_tot
    local: tuple[NDArray[np.float32], ...]  # agent i: [S, A_i], Q_i
    greedy: NDArray[np.intp]  # [S, n], local argmaxes; the first among equals
    payoff: NDArray[np.float64]  # [S], of the greedy joint action
    squared_error: NDArray[np.float64]  # [S], Σ_a (payoff - Q_tot)², a sum and no mean; may overflow to inf or nan


@dataclasses.dataclass(frozen=True)
class FactorizedDescent:
    """Adam on the mean squared error over all joint actions, float32, with a step size that falls to 0 along a cosine.

    Example:
      >>> descent = FactorizedDescent(mixer="qplex", init_sd=1.0, steps=100)
      >>> descent.run([[0.0, 1.0], [1.0, 0.0]], jax.random.split(jax.random.key(0), 8)).payoff.shape
      (8,)
    """

    mixer: MixerKind
    init_sd: float
    """Standard deviation of the initial local values."""
    mixer_sd: float = 0.1
    """`qmix`: standard deviation of the initial mixing parameters."""
    stop_gradient: bool = True
    """`qplex`: whether A_i is a constant to the gradient."""
    initial_weight: float = 4.0
    """`qplex`: every λ at the start, positive."""
    embed: int = 32
    """`qmix`: hidden units of the mixing network."""
    learning_rate: float = 0.01
    steps: int = 20_000

    def __post_init__(self) -> None:
        """Rejects unknown mixers and sizes out of range."""
        if self.mixer not in get_args(MixerKind):
            raise ValueError(f"unknown mixer {self.mixer!r}; accepted: {', '.join(get_args(MixerKind))}")
        for name in ("steps", "embed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        for name in ("init_sd", "mixer_sd"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        for name in ("learning_rate", "initial_weight"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")

    def run(self, payoff: Any, keys: jax.Array) -> DescentResult:
        """Descent from as many starts as there are keys.

        Args:
          payoff: [A_1, ..., A_n].
          keys: [S] typed keys, one per seed; consumed.
        """
        target = check_target(payoff)
        is_typed = isinstance(keys, jax.Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
        if not is_typed or keys.ndim != 1 or len(keys) < 1:
            found = f"{keys.dtype} {keys.shape}" if isinstance(keys, jax.Array) else type(keys).__name__
            raise ValueError(f"keys must be a vector of typed keys, one per seed, got {found}")
        parameters = jax.vmap(functools.partial(self._init, target.shape), out_axes=-1)(keys)
        total, local = _descend(
            jnp.asarray(target, jnp.float32),
            parameters,
            mixer=self.mixer,
            stop_gradient=self.stop_gradient,
            learning_rate=self.learning_rate,
            steps=self.steps,
        )
        tables = tuple(np.asarray(q).T for q in local)
        greedy = np.stack([q.argmax(axis=1) for q in tables], axis=1)
        fitted = np.moveaxis(np.asarray(total), -1, 0)
        with np.errstate(over="ignore", invalid="ignore"):  # unstable runs may end at inf
            error = ((fitted.astype(np.float64) - target) ** 2).reshape(len(keys), -1).sum(axis=1)
        return DescentResult(
            total=fitted, local=tables, greedy=greedy, payoff=target[tuple(greedy.T)], squared_error=error
        )

    def _init(self, shape: tuple[int, ...], key: jax.Array) -> Parameters:
        """The start of one seed; consumes the key."""
        local_key, *mixer_keys = jax.random.split(key, 5)
        local_keys = jax.random.split(local_key, len(shape))
        local = tuple(self.init_sd * jax.random.normal(k, (a,)) for k, a in zip(local_keys, shape))
        if self.mixer == "qplex":
            return {"local": local, "log_weight": jnp.full((len(shape), *shape), math.log(self.initial_weight))}
        shapes = {"w1": (len(shape), self.embed), "b1": (self.embed,), "w2": (self.embed,), "v": ()}
        mixing = {n: self.mixer_sd * jax.random.normal(k, s) for k, (n, s) in zip(mixer_keys, shapes.items())}
        return {"local": local, **mixing}


def _spread(table: jax.Array, agent: int, num_agents: int) -> jax.Array:
    """An agent's table [A_i, S] as [1.., A_i, 1.., S], to broadcast over the other agents' actions."""
    return jnp.expand_dims(table, tuple(j for j in range(num_agents) if j != agent))


def _elu(x: jax.Array) -> jax.Array:
    # jax.nn.elu's expm1 is exact near 0, which is not needed here, and takes most of the time on a CPU.
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0.0)) - 1.0)


def _qmix(p: Parameters) -> jax.Array:
    n = len(p["local"])
    hidden = p["b1"][(None,) * n]  # [1, ..., 1, H, S]
    for i, q in enumerate(p["local"]):
        hidden = hidden + _spread(q, i, n)[..., None, :] * jnp.abs(p["w1"][i])[(None,) * n]
    return jnp.sum(_elu(hidden) * jnp.abs(p["w2"])[(None,) * n], axis=-2) + p["v"][(None,) * n]


def _qplex(p: Parameters, stop_gradient: bool) -> jax.Array:
    n = len(p["local"])
    total = jnp.zeros((1,) * (n + 1), jnp.float32)
    for i, q in enumerate(p["local"]):
        advantage = q - functools.reduce(jnp.maximum, q)[None]  # exactly 0 at the local argmax
        if stop_gradient:
            advantage = jax.lax.stop_gradient(advantage)
        total = total + _spread(q, i, n) + (jnp.exp(p["log_weight"][i]) - 1.0) * _spread(advantage, i, n)
    return total


# Only what these arguments say is compiled in: games of one shape and starts of all kinds share a program.
@functools.partial(jax.jit, static_argnames=("mixer", "stop_gradient", "learning_rate", "steps"))
def _descend(
    target: jax.Array,
    parameters: Parameters,
    *,
    mixer: MixerKind,
    stop_gradient: bool,
    learning_rate: float,
    steps: int,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Q_tot [A_1, ..., A_n, S] and local tables [A_i, S] after the last step."""
    mix: Callable[[Parameters], jax.Array]
    mix = _qmix if mixer == "qmix" else functools.partial(_qplex, stop_gradient=stop_gradient)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(p: Parameters) -> jax.Array:
        # A sum over seeds of means over joint actions: each seed's parameters see the gradient of their own mean.
        return jnp.sum((mix(p) - target[..., None]) ** 2) / target.size

    def step(carry: tuple[Parameters, Any], _: None) -> tuple[tuple[Parameters, Any], None]:
        p, state = carry
        with jax.numpy_dtype_promotion("standard"):  # optax's bias correction mixes float and integer
            updates, state = optimizer.update(jax.grad(loss)(p), state)
        return (optax.apply_updates(p, updates), state), None

    (parameters, _), _ = jax.lax.scan(step, (parameters, optimizer.init(parameters)), None, length=steps)
    return mix(parameters), parameters["local"]
