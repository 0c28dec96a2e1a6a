"""Targets of episodic memory: the best return from stored trajectories and a bootstrap (GEM, arXiv 2103.06469).

With `b_{t,k}` estimator k's value of the observation after step t, and `h >= 1` rewards taken from the trajectory,

    V^k_{t,h} = Σ_{i<h} γ^i r_{t+i} + γ^h b_{t+h-1,k}     (the last term is 0 where step t+h-1 terminated)

and a trajectory may be left at any `h` up to its end. One estimator: `R_t = max_h V_{t,h}`. Two estimators, `o` the
other:

    h*_k = argmax_h V^k_{t,h}                 the smallest such h
    D^k  = V^o_{t, h*_k}                      selected by k, evaluated by o: no overestimation (Theorem 1)
    R^k  = max(D^k, V^k_{t,1})                the lower bound: k's own one-step target

`v -> r + γ v` is increasing, so the best stop from t is either right after t or the best stop from t+1, and one
backward pass is exact. Deviations from the released code, which fills tables over all pairs (t, h): at a time limit it
is not possible to stop with value zero (`zero_tail` allows it), and there is no sentinel step.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax

Own = Literal["selector", "evaluator"]
Method = Literal["auto", "scan", "associative"]


def episodic_targets(
    reward: jax.Array,
    bootstrap: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    gamma: jax.Array | float,
    valid: jax.Array | None = None,
    floor: bool = True,
    own: Own = "selector",
    zero_tail: bool = False,
    method: Method = "auto",
) -> jax.Array:
    """[T, ..., K] float32 targets of T steps in time order, exact, in O(T) work.

    Args:
      reward: [T, ...] float32.
      bootstrap: [T, ..., K] float32, the K estimators' values of the observation after step t, before any reset; K is
        1 (the plain maximum, biased upwards by noise) or 2. Ignored where `terminated`.
      terminated: [T, ...] bool: nothing follows, the value is 0.
      truncated: [T, ...] bool: cut by a time limit; step t+1 belongs to another episode.
      gamma: discount of a step.
      valid: [T, ...] bool, which steps are stored; None for all. A step that is followed by an invalid one bootstraps,
        like the last step. Targets of invalid steps are 0.
      floor: take the larger of D^k and k's own one-step target. The lower bound alone can overestimate: with one critic
        per estimator the bias is that of the larger of two (1/sqrt(π) times the noise), whatever the number of stops.
        With one estimator it changes nothing, as stopping after one step is one of the choices.
      own: whose lower bound is used for D. `selector` as in the paper's continuous agents; `evaluator` as in its
        discrete ones, where R^k = max(V^k_{h*_o}, V^k_1).
      zero_tail: at truncation, also allow stopping with value 0, as the released code does. Harmless if values are
        positive, an overestimate if rewards are negative.
      method: `scan` runs backwards step by step; `associative` composes max-plus maps in O(log T) dependent steps, for
        accelerators and long rings; `auto` is `scan` on CPU, else `associative`. They differ only by rounding, but if
        two stops are equal up to rounding, this can decide which one is evaluated.

    Raises:
      ValueError: shapes that do not match, or an unknown name.
    """
    _check(reward, bootstrap, terminated, truncated, valid)
    _check_name("own", own, get_args(Own))
    _check_name("method", method, get_args(Method))
    reward, bootstrap, terminated, cut, zero = _cleaned(reward, bootstrap, terminated, truncated, valid, zero_tail)
    one_step = _one_step(reward, bootstrap, terminated, gamma)
    arguments = (reward, bootstrap, terminated, cut, zero, jnp.asarray(gamma, jnp.float32))
    if method == "auto":
        best, crossed = jax.lax.platform_dependent(*arguments, cpu=_by_scan, default=_by_associative_scan)
    else:
        best, crossed = (_by_scan if method == "scan" else _by_associative_scan)(*arguments)
    return _finish(best, crossed, one_step, valid, floor=floor, own=own)


def capped_episodic_targets(
    reward: jax.Array,
    bootstrap: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    gamma: jax.Array | float,
    max_steps: int,
    valid: jax.Array | None = None,
    floor: bool = True,
    own: Own = "selector",
    zero_tail: bool = False,
) -> jax.Array:
    """[T, ..., K] targets that take at most `max_steps` rewards from the trajectory, in O(T max_steps) work: for
    ablations.

    `max_steps=1` gives the one-step target (of the other estimator, if there are two and no floor). Arguments as for
    `episodic_targets`; with `zero_tail`, stopping with value 0 counts as one more step.

    Raises:
      ValueError: shapes that do not match, an unknown name, or a cap below 1.
    """
    _check(reward, bootstrap, terminated, truncated, valid)
    _check_name("own", own, get_args(Own))
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps must be a whole number of at least 1, got {max_steps!r}")
    reward, bootstrap, terminated, cut, zero = _cleaned(reward, bootstrap, terminated, truncated, valid, zero_tail)
    one_step = _one_step(reward, bootstrap, terminated, gamma)
    nothing = jnp.full((max_steps, *one_step.shape[1:]), -jnp.inf, one_step.dtype)
    zero_stop = nothing.at[0].set(0.0)

    def backward(following: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        reward_t, one_step_t, cut_t, zero_t = inputs
        following = jnp.where(cut_t[None, ..., None], nothing, following)
        following = jnp.where(zero_t[None, ..., None], zero_stop, following)
        # Where nothing follows, minus infinity must stay minus infinity even for a discount of 0.
        further = jnp.where(jnp.isneginf(following), following, reward_t[None, ..., None] + gamma * following)[:-1]
        row = jnp.concatenate([one_step_t[None], further])  # [H, ..., K], V_{t,h}
        choice = jnp.argmax(row, axis=0)[None]
        best = jnp.take_along_axis(row, choice, axis=0)[0]
        crossed = jnp.take_along_axis(row[..., ::-1], choice, axis=0)[0]
        return row, (best, crossed)

    _, (best, crossed) = jax.lax.scan(backward, nothing, (reward, one_step, cut, zero), reverse=True)
    return _finish(best, crossed, one_step, valid, floor=floor, own=own)


def mean_episodic_targets(
    reward: jax.Array,
    bootstrap: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    gamma: jax.Array | float,
    beta: jax.Array | float,
    valid: jax.Array | None = None,
    floor: bool = True,
    own: Own = "selector",
    zero_tail: bool = False,
) -> jax.Array:
    """[T, ..., K] targets with the mean of all V_{t,h}, weighted by β^(h-1), instead of the best: an ablation.

    The estimators remain crossed: without a floor, R^k is the mean of the other estimator's values. One pass is exact,
    since the sums of weights and the weighted means follow recursions. Arguments as for `episodic_targets`; `beta`
    must be positive.

    Raises:
      ValueError: shapes that do not match, or an unknown name.
    """
    _check(reward, bootstrap, terminated, truncated, valid)
    _check_name("own", own, get_args(Own))
    reward, bootstrap, terminated, cut, zero = _cleaned(reward, bootstrap, terminated, truncated, valid, zero_tail)
    one_step = _one_step(reward, bootstrap, terminated, gamma)

    def backward(carried: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, ...]) -> tuple:
        mean, weight = carried  # of V_{t+1,h}, and Σ β^(h-1); [..., K] and [...]
        reward_t, one_step_t, cut_t, zero_t = inputs
        weight = beta * jnp.where(zero_t, 1.0, jnp.where(cut_t, 0.0, weight))
        mean = jnp.where((zero_t | cut_t)[..., None], 0.0, mean)
        total = one_step_t + weight[..., None] * (reward_t[..., None] + gamma * mean)
        mean = total / (1.0 + weight)[..., None]
        return (mean, 1.0 + weight), mean

    start = (jnp.zeros_like(one_step[0]), jnp.zeros_like(reward[0]))
    mean: jax.Array = jax.lax.scan(backward, start, (reward, one_step, cut, zero), reverse=True)[1]
    return _finish(mean, mean[..., ::-1], one_step, valid, floor=floor, own=own)


def _cleaned(
    reward: jax.Array,
    bootstrap: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    valid: jax.Array | None,
    zero_tail: bool,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Reward, bootstrap, terminated, where nothing follows, and where value 0 follows; only for stored steps."""
    cut = (terminated | truncated).at[-1].set(True)
    zero = truncated & ~terminated if zero_tail else jnp.zeros_like(cut)
    if valid is None:
        return reward, bootstrap, terminated, cut, zero
    cut = (cut | ~valid).at[:-1].set((cut | ~valid)[:-1] | ~valid[1:])
    return jnp.where(valid, reward, 0.0), jnp.where(valid[..., None], bootstrap, 0.0), terminated, cut, zero & valid


def _one_step(reward: jax.Array, bootstrap: jax.Array, terminated: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """V_{t,1}: [T, ..., K]."""
    return reward[..., None] + gamma * jnp.where(terminated[..., None], 0.0, bootstrap)


def _by_scan(
    reward: jax.Array, bootstrap: jax.Array, terminated: jax.Array, cut: jax.Array, zero: jax.Array, gamma: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`(max_h V^k, D^k)`, each [T, ..., K]; the scan carries both for the best stop so far."""
    one_step = _one_step(reward, bootstrap, terminated, gamma)

    def backward(carried: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, ...]) -> tuple:
        reward_t, one_step_t, cut_t, zero_t = inputs
        follows_zero, is_last = zero_t[..., None], (cut_t & ~zero_t)[..., None]
        best, crossed = (reward_t[..., None] + gamma * jnp.where(follows_zero, 0.0, x) for x in carried)
        stop = is_last | (one_step_t >= best)
        best = jnp.where(stop, one_step_t, best)
        crossed = jnp.where(stop, one_step_t[..., ::-1], crossed)
        return (best, crossed), (best, crossed)

    nothing = jnp.zeros_like(one_step[0])
    return jax.lax.scan(backward, (nothing, nothing), (reward, one_step, cut, zero), reverse=True)[1]


def _by_associative_scan(
    reward: jax.Array, bootstrap: jax.Array, terminated: jax.Array, cut: jax.Array, zero: jax.Array, gamma: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The same as a composition of maps (M, E) -> (max(p, q + g M), e if p >= q + g M else f + g E), a closed family.

    The map of a block takes the best stop after the block to the best stop of its first step: p and e are the best
    stop inside the block and its other value, q and f the rewards inside, g their discount.
    """
    one_step = _one_step(reward, bootstrap, terminated, gamma)
    goes_on = jnp.broadcast_to(~cut[..., None], one_step.shape)
    through = jnp.broadcast_to(reward[..., None], one_step.shape)
    leaf = (
        one_step,
        jnp.where(goes_on | zero[..., None], through, -jnp.inf),
        jnp.where(goes_on, gamma, 0.0),
        one_step[..., ::-1],
        through,
    )

    def compose(later: tuple[jax.Array, ...], earlier: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        (p1, q1, g1, e1, f1), (p2, q2, g2, e2, f2) = later, earlier
        cut = g2 == 0  # not a product with zero, which would let values that are not finite leak into other episodes

        def after(a: jax.Array, x: jax.Array) -> jax.Array:
            return jnp.where(cut, a, a + g2 * x)

        best = after(q2, p1)
        keep = p2 >= best
        return jnp.where(keep, p2, best), after(q2, q1), g1 * g2, jnp.where(keep, e2, after(f2, e1)), after(f2, f1)

    best, through, _, crossed, rest = jax.lax.associative_scan(compose, leaf, reverse=True)
    # A zero tail is a stop after the block's end, whose value is that of the rewards alone.
    stop = best >= through
    return jnp.where(stop, best, through), jnp.where(stop, crossed, rest)


def _finish(
    best: jax.Array, crossed: jax.Array, one_step: jax.Array, valid: jax.Array | None, *, floor: bool, own: Own
) -> jax.Array:
    if best.shape[-1] == 1:
        target = best
    else:
        target = crossed if own == "selector" else crossed[..., ::-1]
    if floor:
        target = jnp.maximum(target, one_step)
    return target if valid is None else jnp.where(valid[..., None], target, 0.0)


def _check(
    reward: jax.Array, bootstrap: jax.Array, terminated: jax.Array, truncated: jax.Array, valid: jax.Array | None
) -> None:
    shape = reward.shape
    if not shape or shape[0] < 1:
        raise ValueError(f"reward must be [T, ...] with at least one step, got {shape}")
    if bootstrap.shape[:-1] != shape or bootstrap.ndim != len(shape) + 1 or bootstrap.shape[-1] not in (1, 2):
        raise ValueError(f"bootstrap must be {(*shape, 'K')} with 1 or 2 estimators K last, got {bootstrap.shape}")
    for name, flag in (("terminated", terminated), ("truncated", truncated), ("valid", valid)):
        if flag is not None and (flag.shape != shape or flag.dtype != jnp.bool_):
            raise ValueError(f"{name} must be bool of shape {shape}, got {flag.dtype} of shape {flag.shape}")


def _check_name(what: str, name: str, accepted: tuple[str, ...]) -> None:
    if name not in accepted:
        raise ValueError(f"unknown {what} {name!r}; accepted: {', '.join(accepted)}")


def group_minimum(values: jax.Array, num_groups: int = 2) -> jax.Array:
    """[..., K] the minimum within each of K groups of critics: the K bootstraps of `episodic_targets`.

    Args:
      values: [J, ...] of J critics; consecutive ones form a group ({0, 1} and {2, 3} of four), so that clipped double
        estimates are taken within groups and double estimates across them.
      num_groups: K.

    Raises:
      ValueError: the critics cannot be divided equally.
    """
    _check_groups(values.shape[0], num_groups)
    return jnp.moveaxis(values.reshape(num_groups, -1, *values.shape[1:]).min(axis=1), 0, -1)


def critic_targets(targets: jax.Array, num_critics: int) -> jax.Array:
    """[J, ...] the target of each critic, which is that of its group in `group_minimum`, from [..., K].

    Raises:
      ValueError: the critics cannot be divided equally.
    """
    num_groups = targets.shape[-1]
    _check_groups(num_critics, num_groups)
    return jnp.repeat(jnp.moveaxis(targets, -1, 0), num_critics // num_groups, axis=0)


def _check_groups(num_critics: int, num_groups: int) -> None:
    if num_groups < 1 or num_critics < 1 or num_critics % num_groups:
        raise ValueError(f"critics must divide into equal groups, got {num_critics} critics for {num_groups} groups")


def asymmetric_loss(
    prediction: jax.Array,
    target: jax.Array,
    *,
    kappa: jax.Array | float = 0.25,
    kind: Literal["mse", "huber"] = "mse",
    huber_delta: jax.Array | float = 1.0,
) -> jax.Array:
    """Elementwise regression loss, δ₊² + κ δ₋² with δ = prediction - target: overshooting costs 1/κ times as much.

    The released continuous agents square a leaky ReLU of slope 0.5, hence κ = 0.5² = 0.25; their additional division by
    the slope scales the whole loss and is left out, since it makes no difference to Adam. `huber` is the loss of the
    discrete agents (½ δ² near zero), where κ = 1 is their default.

    Args:
      prediction: [...] float32.
      target: [...] float32 of the same shape, a constant.
      kappa: weight of underestimates; 1 is the symmetric loss.
      kind: "mse" (δ²) or "huber".
      huber_delta: error at which the Huber loss becomes linear.

    Raises:
      ValueError: unequal shapes or an unknown kind.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"asymmetric loss needs equal shapes, got {prediction.shape} and {target.shape}")
    _check_name("kind", kind, ("mse", "huber"))
    error = prediction - jax.lax.stop_gradient(target)
    loss = jnp.square(error) if kind == "mse" else optax.huber_loss(error, delta=huber_delta)
    return jnp.where(error > 0, 1.0, kappa) * loss


def target_jump(rate: jax.Array | float, num_updates: int) -> jax.Array:
    """[] float32, 1 - (1 - rate)^n: the effect of n moving-average updates at once, towards constant parameters.

    GEM's target networks are constant within a block of updates and then catch up: 0.633 for 200 updates at 0.005.
    Also accurate for small rates, where 1 - rate would be rounded.
    """
    return -jnp.expm1(num_updates * jnp.log1p(-jnp.asarray(rate, jnp.float32)))
