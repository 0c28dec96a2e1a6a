"""What episodic-memory targets (GEM, arXiv 2103.06469) are worth where everything is known.

The bias of choosing where to stop by noisy estimates: by quadrature, and sampled through `ops.episodic_targets` itself.
Tabular GEM on finite MDPs, to be compared with Q* and with the best return that the support of the dynamics allows. How
many refreshes a reward needs to travel down a chain.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core import documented
from numpy.typing import NDArray

from jaxmarl_suite.ops import capped_episodic_targets, episodic_targets, group_minimum
from jaxmarl_suite.theory._mdp import FiniteMDP, Floats


@documented
class StoppingValues(NamedTuple):
    """What is promised, in the mean, where a trajectory may be left at H places, by kind of target."""

    single: Any
    """[] one estimator chooses and evaluates: max_h V_h."""
    double: Any
    """[] one chooses, another evaluates: D, to which Theorem 1 applies."""
    floor: Any
    """[] the larger of D and the chooser's own value of the first place: what is regressed."""
    evaluator_floor: Any
    """[] the same with the evaluator's own value of the first place (`own="evaluator"`)."""


def expected_stopping(values: Any, *, group_size: int = 1, num_points: int = 20_001) -> StoppingValues:
    """Exact expectations for H places worth `values`, seen with independent N(0, 1) noise; float64 quadrature.

    The best place is worth max(values): what exceeds it is overestimation. Accurate to 1e-6.

    Args:
      values: [H], true values of the places, in the order of time.
      group_size: an estimate is the least of so many.
      num_points: of the grid.

    Raises:
      ValueError: for no places or an empty group.
    """
    from scipy.special import ndtr

    means = _places(values, group_size)
    x = np.linspace(means.min() - 9.0, means.max() + 9.0, num_points)
    z = x - means[:, None]
    survival = ndtr(-z)
    cdf = 1.0 - survival**group_size  # [H, X] of each estimate
    density = group_size * survival ** (group_size - 1) * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    log_cdf = np.log(np.maximum(cdf, 1e-300))
    rest = log_cdf.sum(axis=0) - log_cdf  # all others are below x
    mean = _integral(density * x, x)  # [H] of each estimate, the groups' minimum included
    probability = _integral(density * np.exp(rest), x)
    single = x[-1] - _integral(np.exp(log_cdf.sum(axis=0)), x)
    # m[h](v) = E max(estimate of h, v): what an evaluation of h gives beside a floor of v.
    above = _tail_integral(1.0 - cdf, x)
    larger = x + above
    # D is the evaluator's, the floor the chooser's own first estimate, v: its choice depends on v.
    first = density[0] * np.exp(rest[0])  # the first place is v and the best one
    floor = _integral(first * larger[0], x)
    for h in range(1, len(means)):
        chosen = _tail_integral(density[h] * np.exp(rest[h] - log_cdf[0]), x)  # h is the best and above v
        floor += _integral(density[0] * chosen * larger[h], x)
    # With the evaluator's own floor, choice and both values are independent, unless the first place is chosen.
    evaluator_floor = probability[0] * mean[0]
    for h in range(1, len(means)):
        evaluator_floor += probability[h] * _integral(density[0] * larger[h], x)
    return StoppingValues(float(single), float(probability @ mean), float(floor), float(evaluator_floor))


def sample_stopping(
    key: jax.Array, values: Any, *, group_size: int = 1, num_draws: int = 200_000, num_batches: int = 20
) -> StoppingValues:
    """`expected_stopping` by sampling, [] float32 each, with the targets that learners use. Consumes `key`.

    A trajectory without rewards or discount, cut after H steps, whose bootstraps are the noisy estimates; two estimators,
    for `single` the first of them. Both estimators' targets count, so a mean is over about twice `num_draws`.

    Args:
      key: for the noise.
      values: [H], true values of the places, in the order of time.
      group_size: an estimate is the least of so many.
      num_draws: trajectories; a multiple of `num_batches`.
      num_batches: parts that are drawn one after another, which bounds the memory.

    Raises:
      ValueError: for no places, an empty group, or draws that do not divide into batches.
    """
    means = jnp.asarray(_places(values, group_size), jnp.float32)
    if num_batches < 1 or num_draws < 1 or num_draws % num_batches:
        raise ValueError(f"num_draws must be a multiple of num_batches, got {num_draws} and {num_batches}")
    return _sample_stopping(key, means, group_size, num_draws // num_batches, num_batches)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _sample_stopping(key: jax.Array, means: jax.Array, group_size: int, batch: int, num_batches: int) -> StoppingValues:
    def one(key: jax.Array) -> StoppingValues:
        noise = jax.random.normal(key, (2 * group_size, len(means), batch))
        estimate = group_minimum(noise) + means[:, None, None]  # [H, B, 2]
        reward, no = jnp.zeros(estimate.shape[:2]), jnp.zeros(estimate.shape[:2], bool)

        def mean(estimate: jax.Array, **switches: Any) -> jax.Array:
            return episodic_targets(reward, estimate, no, no, gamma=1.0, **switches)[0].mean()

        return StoppingValues(
            single=mean(estimate[..., :1]),
            double=mean(estimate, floor=False),
            floor=mean(estimate),
            evaluator_floor=mean(estimate, own="evaluator"),
        )

    return jax.tree.map(lambda x: x.mean(), jax.lax.map(one, jax.random.split(key, num_batches)))


def _places(values: Any, group_size: int) -> Floats:
    means = np.asarray(values, np.float64)
    if means.ndim != 1 or len(means) < 1 or not np.isfinite(means).all():
        raise ValueError(f"values must be a list of at least one finite number, got shape {means.shape}")
    if isinstance(group_size, bool) or not isinstance(group_size, int) or group_size < 1:
        raise ValueError(f"group_size must be a whole number of at least 1, got {group_size!r}")
    return means


def _integral(y: Floats, x: Floats) -> Any:
    return np.trapezoid(y, x, axis=-1)


def _tail_integral(y: Floats, x: Floats) -> Floats:
    """∫ from each point of `x` to the last, by trapezoids."""
    parts = 0.5 * (y[..., 1:] + y[..., :-1]) * np.diff(x)
    tail = np.cumsum(parts[..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([tail, np.zeros_like(y[..., :1])], axis=-1)


def random_deterministic_mdp(
    seed: int, *, num_states: int = 12, num_actions: int = 3, gamma: float = 0.9, slip: float = 0.0
) -> FiniteMDP:
    """An MDP with rewards r(s, a) uniform in 0..1, in which every action is a random permutation of the states.

    Each state is then the successor of equally many pairs, and random play visits all alike. With probability `slip`
    the successor is that of an action drawn uniformly instead; the reward stays that of the action chosen. Nothing
    ends.

    Raises:
      ValueError: for a slip or a discount that is no probability.
    """
    if not 0.0 <= slip <= 1.0:
        raise ValueError(f"slip must lie in 0..1, got {slip}")
    rng = np.random.default_rng(seed)
    successor = np.eye(num_states)[np.stack([rng.permutation(num_states) for _ in range(num_actions)], axis=1)]
    return FiniteMDP(
        transition=(1.0 - slip) * successor + slip * successor.mean(axis=1, keepdims=True),
        reward=rng.random((num_states, num_actions)),
        discount=np.full(num_states, gamma),
        terminal=np.zeros(num_states, bool),
        action_mask=np.ones((num_states, num_actions), bool),
    )


def best_case_values(mdp: FiniteMDP, *, tolerance: float = 1e-13, max_sweeps: int = 100_000) -> Floats:
    """Q_max [X, A]: the best discounted return over trajectories that the dynamics can produce at all.

    Value iteration with the best supported successor in place of the mean. A trajectory's target can come this high and no
    higher. -inf at illegal actions.

    Raises:
      ValueError: if it does not settle within `max_sweeps`.
    """
    is_possible = mdp.transition > 0
    reward = np.where(mdp.terminal[:, None], 0.0, mdp.reward)
    value = np.zeros(len(mdp.discount))
    for _ in range(max_sweeps):
        following = np.where(is_possible, np.where(mdp.terminal, 0.0, value), -np.inf).max(axis=-1)
        q = reward + np.where(mdp.terminal, 0.0, mdp.discount)[:, None] * following
        q = np.where(mdp.action_mask, q, -np.inf)
        new = q.max(axis=1)
        change = np.abs(new - value).max()
        value = new
        if change <= tolerance * max(1.0, np.abs(value).max()):
            return q
    raise ValueError(f"value iteration did not settle within max_sweeps={max_sweeps}; last change {change:.2e}")


@documented
class TabularResult(NamedTuple):
    """Tables of tabular GEM, after each episode."""

    action_value: NDArray[np.float32]  # [seeds, episodes, K, X, A]
    num_updates: NDArray[np.int32]  # [seeds, K, X, A], at the end


@dataclasses.dataclass(frozen=True)
class TabularMemory:
    """Tabular GEM under uniformly random play: Q_k(s, a) += n^-ω (R^k - Q_k(s, a)), the paper's Theorem 2.

    Each episode starts in a random state and is cut after `horizon` steps; then its targets are computed from the current
    tables, with B^k(s) = max_a Q_k(s, a), and every step updates the table of one estimator, drawn by lot: tables that
    shared all updates would be equal. Tables start at 0, which has to lie below Q* for the results to stay below it.
    """

    num_episodes: int
    horizon: int = 50
    estimators: int = 2
    """2, or 1 for the plain maximum."""
    exponent: float = 0.51
    """ω; the steps fulfil the conditions of Robbins and Monro for 1/2 < ω <= 1. Errors of bootstraps fade with the sum of
    the steps, so that a small exponent is fast."""
    floor: bool = True

    def __post_init__(self) -> None:
        """Rejects sizes that cannot be."""
        if min(self.num_episodes, self.horizon) < 1 or self.estimators not in (1, 2):
            raise ValueError(
                "num_episodes and horizon must be at least 1 and estimators 1 or 2, got "
                f"{self.num_episodes}, {self.horizon} and {self.estimators}"
            )
        if not 0.5 < self.exponent <= 1.0:
            raise ValueError(f"exponent must lie above 0.5 and not above 1, got {self.exponent}")

    def run(self, mdps: list[FiniteMDP], keys: jax.Array) -> TabularResult:
        """What is learned on each MDP, [seeds] of equal shape, with one key each. Consumes `keys`.

        Raises:
          ValueError: for MDPs that end, have illegal actions or unequal discounts, which this laboratory does not need.
        """
        for mdp in mdps:
            if mdp.terminal.any() or not mdp.action_mask.all() or np.ptp(mdp.discount):
                raise ValueError("TabularMemory needs MDPs without ends and illegal actions, with one discount")
        tables = [np.stack([t(mdp) for mdp in mdps]).astype(np.float32) for t in (_cumulative, _reward, _discount)]
        return TabularResult(*map(np.asarray, _run_tabular(self, *tables, keys)))

    def _episodes(
        self, cumulative: jax.Array, reward: jax.Array, gamma: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """[episodes, K, X, A] tables and [K, X, A] counts of one MDP."""
        num_states, num_actions = reward.shape

        def episode(carried: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple, jax.Array]:
            q, count = carried
            start_key, action_key, step_key, lot_key = jax.random.split(key, 4)
            actions = jax.random.randint(action_key, (self.horizon,), 0, num_actions)
            chance = jax.random.uniform(step_key, (self.horizon,))
            lots = jax.random.randint(lot_key, (self.horizon,), 0, self.estimators)

            def step(state: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                action, u = inputs
                return jnp.sum(u >= cumulative[state, action]), state

            last, states = jax.lax.scan(step, jax.random.randint(start_key, (), 0, num_states), (actions, chance))
            following = jnp.append(states[1:], last)
            bootstrap = q.max(axis=-1)[:, following].T  # [T, K]
            no = jnp.zeros(self.horizon, bool)
            targets = episodic_targets(
                reward[states, actions], bootstrap, no, no, gamma=gamma, floor=self.floor, method="scan"
            )

            def learn(carried: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, ...]) -> tuple[tuple, None]:
                q, count = carried
                lot, state, action, target = inputs
                at = (lot, state, action)
                count = count.at[at].add(1)
                rate = count[at].astype(jnp.float32) ** -self.exponent
                return (q.at[at].add(rate * (target[lot] - q[at])), count), None

            carried, _ = jax.lax.scan(learn, (q, count), (lots, states, actions, targets))
            return carried, carried[0]

        shape = (self.estimators, num_states, num_actions)
        start = (jnp.zeros(shape), jnp.zeros(shape, jnp.int32))
        (_, count), tables = jax.lax.scan(episode, start, jax.random.split(key, self.num_episodes))
        return tables, count


def _cumulative(mdp: FiniteMDP) -> Floats:
    """Cumulated transition probabilities, exactly 1 from the last possible successor on."""
    total = np.cumsum(mdp.transition, axis=-1)
    is_last = np.cumsum(mdp.transition[..., ::-1] > 0, axis=-1)[..., ::-1] <= (mdp.transition > 0)
    return np.where(is_last, 1.0, total)


def _reward(mdp: FiniteMDP) -> Floats:
    return mdp.reward


def _discount(mdp: FiniteMDP) -> Any:
    return mdp.discount[0]


@functools.partial(jax.jit, static_argnums=0)
def _run_tabular(
    memory: TabularMemory, cumulative: jax.Array, reward: jax.Array, gamma: jax.Array, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(memory._episodes)(cumulative, reward, gamma, keys)


def propagate(
    length: int, *, gamma: float = 0.99, num_refreshes: int = 60, max_steps: int | None = None
) -> NDArray[np.float32]:
    """[num_refreshes, length] a chain's targets after each refresh of its only stored trajectory.

    `length` steps, of which the last one pays 1 and ends the episode; the critics know nothing at first and fit the last
    refresh's targets perfectly. Step t is worth γ^(length - 1 - t).

    Args:
      length: steps of the chain.
      gamma: discount.
      num_refreshes: how many.
      max_steps: most rewards that are taken from the trajectory; 1 for one-step targets, None for all.
    """
    reward = jnp.zeros(length).at[-1].set(1.0)
    terminated = jnp.zeros(length, bool).at[-1].set(True)
    no = jnp.zeros(length, bool)

    def refresh(value: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        bootstrap = jnp.append(value[1:], jnp.zeros((1, 2)), axis=0)
        if max_steps is None:
            value = episodic_targets(reward, bootstrap, terminated, no, gamma=gamma, method="scan")
        else:
            value = capped_episodic_targets(reward, bootstrap, terminated, no, gamma=gamma, max_steps=max_steps)
        return value, value.min(axis=-1)

    _, targets = jax.lax.scan(refresh, jnp.zeros((length, 2)), None, length=num_refreshes)
    return np.asarray(targets)
