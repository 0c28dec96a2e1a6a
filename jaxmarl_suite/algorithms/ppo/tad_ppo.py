"""TAD-PPO: PPO on the sequential transformation of the task, then distillation to decentralized students.

Transformation And Distillation, arXiv 2207.11143. The paper's networks and hyperparameters were not available. The
choices here: the teacher is shared over k and has the predecessors' actions in its input; the critic sees the same
prefix; discount and trace decay are 1 inside an environment step. The student is trained on the teacher's *greedy*
actions, with cross-entropy for discrete actions and the squared error of its mean for continuous ones, first on the
teacher's episodes, then half on its own (DAgger, Ross et al. 2011, with new data in each round instead of an
aggregate).
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, EnvSpec, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._learner import Learner, adam, fit_agents, new_learner, to_sequences
from jaxmarl_suite.algorithms.core._rollout import Transitions, rollout
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    Algorithm,
    AlgorithmSpec,
    Context,
    Metrics,
    Phase,
    Reported,
    episode_metrics,
    hyperparameters,
)
from jaxmarl_suite.algorithms.core._views import View, sequential_view
from jaxmarl_suite.algorithms.ppo._actors import KINDS, default_network, policy_head, policy_network
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._core import PPOState, make_ppo, make_ppo_learner
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy
from jaxmarl_suite.algorithms.ppo._losses import first
from jaxmarl_suite.algorithms.ppo._policies import JointPolicy, autoregressive_policy
from jaxmarl_suite.networks import Network, attention_over_agents, computed_in
from jaxmarl_suite.ops import ActionHead


@hyperparameters
class TADConfig(PPOConfig):
    """PPO's fields for the teacher, and the fields of the distillation. `share_parameters` is for the student."""

    entropy: float = 0.5
    """Weight of the entropy bonus at the start. It is larger than the default of the other methods: the first agents
    must stay undecided until the later ones have learned to respond to each of their actions
    (experiments/tad_matrix_games has the numbers)."""
    teacher_context: Literal["state", "local"] = "state"
    """The teacher's input in addition to its predecessors' actions: the global state, or only agent k's own
    observation. With "local" the student lacks only the predecessors' actions, which narrows the imitation gap under
    partial observability. (A transformer shows agent k its predecessors' observations too.)"""
    teacher_network: Literal["mlp", "transformer"] = "mlp"
    """Network of the teacher's policy and critic: layers on all predecessors' actions, or attention, with which each agent
    sees the inputs and actions of its predecessors."""
    teacher_width: int = 64
    """Width of the transformer."""
    teacher_heads: int = 4
    """Heads of its attention; must divide `teacher_width`."""
    distill_fraction: float = dataclasses.field(default=0.2, metadata={"static": True})
    """Share of the environment steps used for the distillation."""
    distill_learning_rate: float = 1e-3
    """Adam's step size for the student."""
    distill_epochs: int = 16
    """Passes over a batch in the distillation. It is supervised, so more than PPO's do no harm."""
    teacher_rounds: float = 0.25
    """Share of the distillation in which only the teacher acts; after it the student acts in half of the environments."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, fractions=("teacher_rounds",), amounts=("distill_learning_rate",))
        if self.teacher_context not in ("state", "local"):
            raise ValueError(f"teacher_context must be 'state' or 'local', got {self.teacher_context!r}")
        if self.teacher_network not in ("mlp", "transformer"):
            raise ValueError(f"teacher_network must be 'mlp' or 'transformer', got {self.teacher_network!r}")
        if self.teacher_width % self.teacher_heads:
            raise ValueError(
                f"teacher_heads must divide teacher_width, got {self.teacher_heads} and {self.teacher_width}"
            )
        if self.num_envs < 2:
            raise ValueError(f"num_envs must be at least 2: teacher and student act side by side, got {self.num_envs}")
        if not 0 < self.distill_fraction < 1:
            raise ValueError(f"distill_fraction must lie between 0 and 1, got {self.distill_fraction}")


@pytree_dataclass
class TADPolicy:
    """The parameters of both policies, for acting."""

    teacher: Any
    student: Any


@pytree_dataclass
class TADCarry:
    """Carries of both policies."""

    teacher: Any  # [E, rows, ...]
    student: Any  # [E, N, ...]


@pytree_dataclass
class TeachingState:
    """State of the first phase."""

    ppo: PPOState
    student: Learner  # untrained: a placeholder, so that both phases have the same policy structure


@pytree_dataclass
class DistillState:
    """State of the second phase."""

    teacher: Any  # parameters from the first phase, never changed
    student: Learner
    env: VectorState  # [E, ...]
    carry: TADCarry
    key: jax.Array  # []


@pytree_dataclass
class Advice:
    """Record of a step for the student, [T, E, ...]."""

    label: jax.Array  # [N, *action_shape] the teacher's greedy actions
    carry: Any  # [N, ...] the student's carry before the step


def teacher_network(config: TADConfig, head: ActionHead, view: View, outputs: int, out_scale: float = 1.0) -> Network:
    """What the teacher's policy and critic are made of, for a sequential view."""
    if config.teacher_network == "mlp":
        return default_network(config, view, outputs, out_scale)
    network = attention_over_agents(
        view.size,
        outputs,
        view.outputs,
        action_size=head.embed_size,
        width=config.teacher_width,
        heads=config.teacher_heads,
        memory_size=config.memory,
        encoder=(config.teacher_width,),
        out_scale=out_scale,
    )
    return computed_in(network, config.compute_dtype)


def make(config: TADConfig, env: Environment) -> tuple[Phase, ...]:
    """TAD-PPO for `env`: a phase that trains the teacher, and one that distills it."""
    head = policy_head(config, env.spec)
    view = sequential_view(env.spec, head, local_context=config.teacher_context == "local")
    critic_view = sequential_view(env.spec, head)
    network = partial(teacher_network, config, head)
    teacher = autoregressive_policy(policy_network(config, env.spec, view, head, network), view, head)
    critic = network(critic_view, 1)
    ppo = make_ppo(make_ppo_learner(config, env.spec, teacher, critic_view, sequential=True, critic=critic), env)
    distiller = Distiller(config, env.spec, teacher, local_policy(config, env))
    distillation = make_distillation(distiller, env)

    def init(key: jax.Array, ctx: Context) -> TeachingState:
        ppo_key, student_key = jax.random.split(key)
        return TeachingState(ppo.init(ppo_key, ctx), distillation.init(student_key, ctx).student)

    def update(state: TeachingState, ctx: Context) -> tuple[TeachingState, Reported]:
        ppo_state, metrics = ppo.update(state.ppo, ctx)
        return TeachingState(ppo_state, state.student), metrics

    def begin(taught: Any, key: jax.Array, ctx: Context) -> DistillState:
        return dataclasses.replace(distillation.init(key, ctx), teacher=taught)

    teaching = distillation._replace(
        init=init, update=update, policy=lambda state: TADPolicy(state.ppo.learners.actor.params, state.student.params)
    )
    return (
        Phase(
            "teach",
            teaching,
            1 - config.distill_fraction,
            trains_policy=False,
            artifact=lambda state: state.ppo.learners.actor.params,
        ),
        Phase("distill", distillation, config.distill_fraction, begin),
    )


@dataclasses.dataclass(frozen=True)
class Distiller:
    """Behavior cloning of the greedy teacher with DAgger rounds. Uses no rewards.

    Minimizes Σ_i KL(δ(greedy a_i given greedy a_<i) ‖ π_i(·|τ_i)), the cross-entropy of the teacher's greedy action.
    The greedy teacher is essential: the best product policy for a stochastic joint one is the product of its marginals.

    For continuous actions δ is a point mass: its divergence from a density is infinite, and its likelihood is highest
    at a standard deviation of zero. So the student is a Gaussian with a fixed standard deviation, for which KL is the
    squared error of the mean (`imitation_loss` of the head), and only the mean is trained. Since the deviation has no
    meaning, the student plays its mean where a discrete student samples.
    """

    config: TADConfig
    spec: EnvSpec
    teacher: JointPolicy
    student: JointPolicy

    def optimizer(self, ctx: Context) -> Any:
        """Optimizer of the student."""
        return adam(ctx.hp.distill_learning_rate, ctx.hp.adam_eps, ctx.hp.max_grad_norm)

    def init_carry(self, n: int) -> TADCarry:
        """Carries at the start of n episodes."""
        return TADCarry(self.teacher.initial_carry(n), self.student.initial_carry(n))

    def init(self, key: jax.Array, ctx: Context) -> Learner:
        """A new student. Consumes `key`."""
        return new_learner(self.student.init, key, self.optimizer(ctx), shared=self.student.shared)

    def act(
        self, policy: TADPolicy, by_teacher: jax.Array, carry: TADCarry, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, TADCarry, Advice]:
        """One step of demonstrations, for `rollout`: the teacher acts where `by_teacher` [E] is true, elsewhere the
        student.
        """
        teacher_key, student_key = jax.random.split(key)
        label_key = jax.random.fold_in(teacher_key, 1)  # the teacher samples with the other key
        label, teacher_carry = self.teacher.greedy(policy.teacher, carry.teacher, timestep, label_key)
        sampled, _, _ = self.teacher.select(policy.teacher, carry.teacher, timestep, teacher_key)
        own, _, student_carry = self.student.select(
            policy.student, carry.student, timestep, student_key, greedy=not self.spec.is_discrete
        )
        action = jnp.where(jnp.expand_dims(by_teacher, tuple(range(1, own.ndim))), sampled, own)
        advice = Advice(label, carry.student)
        return self.student.head.to_env(action), TADCarry(teacher_carry, student_carry), advice

    def learn(
        self, student: Learner, steps: Transitions, key: jax.Array, ctx: Context
    ) -> tuple[Learner, dict[str, jax.Array]]:
        """`(student, metrics)` after passes over steps [T, E, ...] with `Advice` as record. Consumes `key`."""
        shown, advice = steps.timestep, steps.record
        x, extra = self.student.view.encode(shown.obs, shown.state, advice.label)
        batch = {"x": x, "extra": extra, "mask": shown.action_mask, "label": advice.label, "start": shown.done}
        length = self.config.sequence_length
        batch = jax.tree.map(lambda a: to_sequences(a, length), batch)
        batch["carry"] = jax.tree.map(lambda a: to_sequences(a, length)[:1], advice.carry)
        return fit_agents(
            student,
            batch,
            self.loss,
            self.optimizer(ctx),
            key,
            shared=self.student.shared,
            epochs=self.config.distill_epochs,
            minibatches=self.config.minibatches,
        )

    def loss(self, params: Any, batch: dict) -> tuple[jax.Array, dict[str, jax.Array]]:
        """`(loss [], metrics)` of the student on a batch of sequences [L, M, ...]."""
        head = self.student.head
        output, _ = self.student.network.unroll(
            params, first(batch["carry"]), batch["x"], batch["extra"], batch["start"]
        )
        loss = head.imitation_loss(output, batch["mask"], batch["label"]).mean()
        own = head.mode(output, batch["mask"])
        if self.spec.is_discrete:
            return loss, {"distill_loss": loss, "agreement": (own == batch["label"]).astype(jnp.float32).mean()}
        apart = jnp.abs(head.embed(own) - head.embed(batch["label"]))  # in units of half the range
        distance = apart.mean(where=batch["mask"] if self.spec.agent_action_sizes else None)
        return loss, {"distill_loss": loss, "distance": distance}


def make_distillation(distiller: Distiller, env: Environment) -> Algorithm:
    """The second phase: teacher and student act in `env`, the student learns."""
    config, teacher, student = distiller.config, distiller.teacher, distiller.student
    vector = VectorEnv(env, config.num_envs)

    def init(key: jax.Array, ctx: Context) -> DistillState:
        teacher_key, student_key, env_key, key = jax.random.split(key, 4)
        return DistillState(
            teacher=teacher.init(teacher_key),
            student=distiller.init(student_key, ctx),
            env=vector.reset(env_key, ctx.env_params),
            carry=distiller.init_carry(config.num_envs),
            key=key,
        )

    def update(state: DistillState, ctx: Context) -> tuple[DistillState, Metrics]:
        rollout_key, fit_key, key = jax.random.split(state.key, 3)
        taught = jnp.arange(config.num_envs) % 2 == 0  # every other environment, once both act
        by_teacher = taught | (ctx.progress < ctx.hp.teacher_rounds)
        act = partial(distiller.act, TADPolicy(state.teacher, state.student.params), by_teacher)
        env_state, carry, steps = rollout(
            vector, act, state.env, state.carry, rollout_key, ctx.env_params, config.rollout_length
        )
        learner, metrics = distiller.learn(state.student, steps, fit_key, ctx)
        state = DistillState(state.teacher, learner, env_state, carry, key)
        return state, Metrics(episode_metrics(steps.next_timestep), metrics)

    def act(
        policy: TADPolicy, carry: TADCarry, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, TADCarry]:
        action, memory = student.greedy(policy.student, carry.student, timestep, key)
        return student.head.to_env(action), dataclasses.replace(carry, student=memory)

    def act_teacher(
        policy: TADPolicy, carry: TADCarry, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, TADCarry]:
        action, memory = teacher.greedy(policy.teacher, carry.teacher, timestep, key)
        return teacher.head.to_env(action), dataclasses.replace(carry, teacher=memory)

    return Algorithm(
        init=init,
        update=update,
        policy=lambda state: TADPolicy(state.teacher, state.student.params),
        init_carry=distiller.init_carry,
        act=act,
        env_steps_per_update=config.num_envs * config.rollout_length,
        extra_acts={"teacher": act_teacher},
    )


SPEC = AlgorithmSpec(
    "tad-ppo", TADConfig, make, "PPO on the sequential transformation, distilled to local students", actions=KINDS
)
