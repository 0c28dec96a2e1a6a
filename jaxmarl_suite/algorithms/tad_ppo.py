"""TAD-PPO: PPO on the sequential transformation of the task, then distillation to decentralised students.

Transformation And Distillation, arXiv 2207.11143. The paper's networks and hyper-parameters were not available; what is
chosen here: a teacher shared over k with the predecessors' actions in its input, a critic on the same prefix, discount and
trace decay 1 inside an environment step; a student trained on the teacher's *greedy* actions, by cross-entropy where they
are discrete and by the squared error of its mean where they are continuous, first on the teacher's episodes, then half on
its own (DAgger, Ross et al. 2011, on fresh data each round instead of an aggregate).
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms._actors import KINDS, policy_head, policy_network
from jaxmarl_suite.algorithms._base import (
    Algorithm,
    AlgorithmSpec,
    Context,
    Metrics,
    Phase,
    Reported,
    episode_metrics,
    hyperparameters,
)
from jaxmarl_suite.algorithms._checks import check_floats
from jaxmarl_suite.algorithms._decentralised import local_policy
from jaxmarl_suite.algorithms._learner import Learner, adam, fit_agents, new_learner, to_sequences
from jaxmarl_suite.algorithms._policies import JointPolicy, autoregressive_policy
from jaxmarl_suite.algorithms._ppo import PPOState, make_ppo
from jaxmarl_suite.algorithms._ppo_config import PPOConfig
from jaxmarl_suite.algorithms._views import sequential_view


@hyperparameters
class TADConfig(PPOConfig):
    """PPO's fields for the teacher, and those of the distillation. `share_parameters` is the student's."""

    entropy: float = 0.5
    """Weight of the entropy bonus at the start. Larger than the other methods' default: the first agents must stay undecided
    until the later ones have learnt to answer each of their actions (experiments/tad_matrix_games has the numbers)."""
    teacher_context: Literal["state", "local"] = "state"
    """What the teacher sees besides its predecessors' actions: the global state, or agent k's own observation only. With
    "local" the student lacks nothing but the predecessors' actions, which narrows the imitation gap under partial
    observability."""
    distill_fraction: float = dataclasses.field(default=0.2, metadata={"static": True})
    """Share of the environment steps that goes to the distillation."""
    distill_learning_rate: float = 1e-3
    """Adam's step size for the student."""
    distill_epochs: int = 16
    """Passes over a batch in the distillation; supervised, so more than PPO's do no harm."""
    teacher_rounds: float = 0.25
    """Share of the distillation in which the teacher alone acts; later the student acts in half of the environments."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        super().__post_init__()
        check_floats(self, fractions=("teacher_rounds",), amounts=("distill_learning_rate",))
        if self.teacher_context not in ("state", "local"):
            raise ValueError(f"teacher_context must be 'state' or 'local', got {self.teacher_context!r}")
        if self.num_envs < 2:
            raise ValueError(f"num_envs must be at least 2: teacher and student act side by side, got {self.num_envs}")
        if not 0 < self.distill_fraction < 1:
            raise ValueError(f"distill_fraction must lie between 0 and 1, got {self.distill_fraction}")


@pytree_dataclass
class TADPolicy:
    """What acting needs: both policies' parameters."""

    teacher: Any
    student: Any


@pytree_dataclass
class TADCarry:
    """Memories of both policies."""

    teacher: jax.Array  # [E, rows, H]
    student: jax.Array  # [E, N, H]


@pytree_dataclass
class TeachingState:
    """State of the first phase."""

    ppo: PPOState
    student: Learner  # untouched, so that both phases have the same policy


@pytree_dataclass
class DistillState:
    """State of the second phase."""

    teacher: Any
    student: Learner
    env: VectorState  # [E, ...]
    carry: TADCarry
    key: jax.Array  # []


@pytree_dataclass
class Demonstration:
    """T steps of E environments with the teacher's advice."""

    seen: TimeStep  # [T, E, ...]
    label: jax.Array  # [T, E, N, *action_shape] the teacher's greedy actions
    carry: jax.Array  # [T, E, N, H] the student's memory before the step
    led_to: TimeStep  # [T, E, ...]


def make(config: TADConfig, env: Environment) -> tuple[Phase, ...]:
    """TAD-PPO for `env`: a phase that trains the teacher, and one that distils it."""
    head = policy_head(config, env.spec)
    view = sequential_view(env.spec, head, local_context=config.teacher_context == "local")
    critic_view = sequential_view(env.spec, head)
    teacher = autoregressive_policy(policy_network(config, env.spec, view, head), view, head)
    student = local_policy(config, env)
    ppo = make_ppo(config, env, teacher, critic_view, sequential=True)
    distillation = make_distillation(config, env, teacher, student)

    def init(key: jax.Array, ctx: Context) -> TeachingState:
        ppo_key, student_key = jax.random.split(key)
        return TeachingState(ppo.init(ppo_key, ctx), distillation.init(student_key, ctx).student)

    def update(state: TeachingState, ctx: Context) -> tuple[TeachingState, Reported]:
        ppo_state, metrics = ppo.update(state.ppo, ctx)
        return TeachingState(ppo_state, state.student), metrics

    def begin(previous: TeachingState, key: jax.Array, ctx: Context) -> DistillState:
        fresh = distillation.init(key, ctx)
        return dataclasses.replace(fresh, teacher=previous.ppo.actor.params, student=previous.student)

    teaching = distillation._replace(
        init=init, update=update, policy=lambda state: TADPolicy(state.ppo.actor.params, state.student.params)
    )
    return (
        Phase("teach", teaching, 1 - config.distill_fraction, trains_policy=False),
        Phase("distill", distillation, config.distill_fraction, begin),
    )


def make_distillation(config: TADConfig, env: Environment, teacher: JointPolicy, student: JointPolicy) -> Algorithm:
    """The second phase: behaviour cloning of the greedy teacher with DAgger rounds. Uses no reward.

    Minimises Σ_i KL(δ(greedy a_i given greedy a_<i) ‖ π_i(·|τ_i)), the cross-entropy of the teacher's greedy action. The
    greedy teacher is essential: the best product policy for a stochastic joint one is the product of its marginals.

    For continuous actions δ is a point, whose divergence from a density is infinite and whose likelihood is highest at a
    deviation of zero. The student is a Gaussian of a fixed deviation instead, for which KL is the squared error of its mean
    (`imitation_loss` of the head), and only the mean is trained. As its deviation means nothing, it plays its mean where a
    discrete student draws.
    """
    vector = VectorEnv(env, config.num_envs)
    head, length = student.head, config.sequence_length

    def optimizer(ctx: Context) -> Any:
        return adam(ctx.hp.distill_learning_rate, ctx.hp.adam_eps, ctx.hp.max_grad_norm)

    def init_carry(n: int) -> TADCarry:
        return TADCarry(teacher.initial_carry(n), student.initial_carry(n))

    def init(key: jax.Array, ctx: Context) -> DistillState:
        teacher_key, student_key, env_key, key = jax.random.split(key, 4)
        return DistillState(
            teacher=teacher.init(teacher_key),
            student=new_learner(student.init, student_key, optimizer(ctx), shared=student.shared),
            env=vector.reset(env_key, ctx.env_params),
            carry=init_carry(config.num_envs),
            key=key,
        )

    def demonstrate(state: DistillState, key: jax.Array, ctx: Context) -> tuple[VectorState, TADCarry, Demonstration]:
        teacher_alone = ctx.progress < ctx.hp.teacher_rounds
        taught = jnp.arange(config.num_envs) % 2 == 0  # every other environment once both act

        def step(
            env_carry: tuple[VectorState, TADCarry], key: jax.Array
        ) -> tuple[tuple[VectorState, TADCarry], Demonstration]:
            env_state, carry = env_carry
            teacher_key, student_key, step_key = jax.random.split(key, 3)
            label_key = jax.random.fold_in(teacher_key, 1)  # the teacher draws with the other
            seen = env_state.timestep
            label, teacher_carry = teacher.greedy(state.teacher, carry.teacher, seen, label_key)
            sampled, _, _ = teacher.select(state.teacher, carry.teacher, seen, teacher_key)
            own, _, student_carry = student.select(
                state.student.params, carry.student, seen, student_key, greedy=not env.spec.is_discrete
            )
            by_teacher = jnp.expand_dims(teacher_alone | taught, tuple(range(1, own.ndim)))
            action = jnp.where(by_teacher, sampled, own)
            env_state = vector.step(step_key, env_state, head.to_env(action), ctx.env_params)
            demonstration = Demonstration(seen, label, carry.student, env_state.timestep)
            return (env_state, TADCarry(teacher_carry, student_carry)), demonstration

        keys = jax.random.split(key, config.rollout_length)
        (env_state, carry), demonstration = jax.lax.scan(step, (state.env, state.carry), keys)
        return env_state, carry, demonstration

    def loss_fn(params: Any, batch: dict) -> tuple[jax.Array, dict[str, jax.Array]]:
        output, _ = student.network.unroll(params, batch["carry"][0], batch["x"], batch["extra"], batch["start"])
        loss = head.imitation_loss(output, batch["mask"], batch["label"]).mean()
        own = head.mode(output, batch["mask"])
        if env.spec.is_discrete:
            return loss, {"distill_loss": loss, "agreement": (own == batch["label"]).astype(jnp.float32).mean()}
        apart = jnp.abs(head.embed(own) - head.embed(batch["label"]))  # in units of half the range
        distance = apart.mean(where=batch["mask"] if env.spec.agent_action_sizes else None)
        return loss, {"distill_loss": loss, "distance": distance}

    def update(state: DistillState, ctx: Context) -> tuple[DistillState, Metrics]:
        rollout_key, fit_key, key = jax.random.split(state.key, 3)
        env_state, carry, data = demonstrate(state, rollout_key, ctx)
        x, extra = student.view.look(data.seen.obs, data.seen.state, data.label)
        batch = {"x": x, "extra": extra, "mask": data.seen.action_mask, "label": data.label, "start": data.seen.done}
        batch = jax.tree.map(lambda a: to_sequences(a, length), batch)
        batch["carry"] = to_sequences(data.carry, length)[:1]
        learner, metrics = fit_agents(
            state.student,
            batch,
            loss_fn,
            optimizer(ctx),
            fit_key,
            shared=student.shared,
            epochs=config.distill_epochs,
            minibatches=config.minibatches,
        )
        state = DistillState(state.teacher, learner, env_state, carry, key)
        return state, Metrics(episode_metrics(data.led_to), metrics)

    def act(
        policy: TADPolicy, carry: TADCarry, timestep: TimeStep, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, TADCarry]:
        action, memory = student.greedy(policy.student, carry.student, timestep, key)
        return head.to_env(action), dataclasses.replace(carry, student=memory)

    def act_teacher(
        policy: TADPolicy, carry: TADCarry, timestep: TimeStep, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, TADCarry]:
        action, memory = teacher.greedy(policy.teacher, carry.teacher, timestep, key)
        return head.to_env(action), dataclasses.replace(carry, teacher=memory)

    return Algorithm(
        init=init,
        update=update,
        policy=lambda state: TADPolicy(state.teacher, state.student.params),
        init_carry=init_carry,
        act=act,
        env_steps_per_update=config.num_envs * config.rollout_length,
        extra_acts={"teacher": act_teacher},
    )


SPEC = AlgorithmSpec(
    "tad-ppo", TADConfig, make, "PPO on the sequential transformation, distilled to local students", actions=KINDS
)
