"""What the planning methods are configured by."""

import dataclasses
from typing import Literal

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.ops import ScalarBins


@hyperparameters
class PlanningConfig:
    """What every method that plans in a learned model is configured by. Floats may differ between the lanes of a sweep."""

    num_envs: int = 8
    """Environments stepped in parallel; the trees of their searches grow side by side."""
    rollout_length: int = 8
    """Steps of each environment between two blocks of gradient steps."""
    gradient_steps: int = 32
    """Gradient steps of a block."""
    capacity: int = 100_000
    """Steps in the replay, of all environments together."""
    batch_size: int = 32
    """Stretches of experience a gradient step learns from."""
    warmup_steps: int = dataclasses.field(default=512, metadata={"least": 0})
    """Environment steps played uniformly at random before the first gradient step."""
    unroll_steps: int = 5
    """Steps that the model is unrolled for when it learns."""
    n_step: int = 5
    """Rewards summed before the target network's value follows."""
    stale_share: float = 0.3
    """Share of the run's environment steps by which a stretch has to be older for each reward fewer before its value."""
    gamma: float = 0.99
    """Discount of one environment step."""
    learning_rate: float = 5e-4
    """Step size of Adam."""
    optimizer_eps: float = 1e-5
    """Adam's epsilon."""
    max_grad_norm: float = 5.0
    """Gradients are scaled down to this global norm."""
    target_period: int = 200
    """Gradient steps between two copies of the networks; targets are made by the copy before the last one."""
    priority_exponent: float = dataclasses.field(default=0.6, metadata={"static": True})
    """How much priorities matter when stretches are drawn; 0 is uniform."""
    importance_exponent: float = 0.4
    """How much of the bias of prioritized drawing is corrected at the start; all of it at the end, linear in between."""
    value_weight: float = 0.25
    """Of the value's loss, beside 1 of the reward's."""
    policy_weight: float = 1.0
    """Of the policies' loss."""
    consistency_weight: float = 2.0
    """Of the loss that pulls unrolled states to the states of what was seen then (SimSiam)."""
    num_simulations: int = 25
    """Model steps of a search."""
    reanalysis_parts: int = 1
    """Parts of a batch that are searched anew one after the other, to save memory; must divide `batch_size`."""
    bin_low: float = dataclasses.field(default=-12.0, metadata={"static": True})
    """The lowest bin of rewards and values, on the scale of `ops.compress_scalar`: -12 is about -165."""
    bin_high: float = dataclasses.field(default=12.0, metadata={"static": True})
    """The highest bin."""
    num_bins: int = dataclasses.field(default=49, metadata={"least": 2})
    """Bins, equally far apart from the lowest to the highest."""
    width: int = 128
    """Entries of an agent's state in the model."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the layers of representation and dynamics before their last one."""
    head_hidden: tuple[int, ...] = (32,)
    """Widths of the layers of reward, value and policies."""
    predictor_hidden: int = 64
    """Width of the layer in SimSiam's predictor."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        for name in ("hidden", "head_hidden"):
            if any(width < 1 for width in getattr(self, name)):
                raise ValueError(f"{name} must hold positive widths, got {getattr(self, name)}")
        check_integers(self)
        check_floats(
            self,
            fractions=("gamma", "priority_exponent", "importance_exponent"),
            amounts=(
                *("stale_share", "learning_rate", "optimizer_eps", "max_grad_norm"),
                *("value_weight", "policy_weight", "consistency_weight"),
            ),
            finite=("bin_low", "bin_high"),
        )
        if not self.bin_low < self.bin_high:
            raise ValueError(f"bin_low must be below bin_high, got {self.bin_low} and {self.bin_high}")
        if self.batch_size % self.reanalysis_parts:
            raise ValueError(f"reanalysis_parts must divide batch_size {self.batch_size}, got {self.reanalysis_parts}")
        self._check_capacity()

    def _check_capacity(self) -> None:
        if self.capacity % self.num_envs:
            raise ValueError(
                f"capacity must be a multiple of num_envs, whose replay it is divided into, got {self.capacity} and "
                f"{self.num_envs}"
            )
        for least, what in (
            (self.num_envs * self.rollout_length, "the steps of one update (num_envs x rollout_length)"),
            (self.num_envs * self.window, "a stretch of each environment (num_envs x (unroll_steps + n_step))"),
            (self.batch_size, "a batch (batch_size)"),
        ):
            if self.capacity < least:
                raise ValueError(f"capacity must hold {what}, {least} steps, got {self.capacity}")

    @property
    def window(self) -> int:
        """Steps of a stretch of experience: those that are unrolled, and the rewards of the last one's value."""
        return self.unroll_steps + self.n_step

    @property
    def bins(self) -> ScalarBins:
        """Of rewards and values."""
        return ScalarBins(self.bin_low, self.bin_high, self.num_bins)


@hyperparameters
class MAZeroConfig(PlanningConfig):
    """What all planning methods have, and MAZero's search, policy loss and communication."""

    num_samples: int = 5
    """Joint actions drawn at each node; about a fifth of `num_simulations` lets visits mean something."""
    backup: Literal["optimistic", "mean"] = "optimistic"
    """Values of nodes: OS(λ), or the mean of all returns below, as in MuZero (an ablation)."""
    drop_lowest: float = 0.75
    """ρ of OS(λ): the share of a depth's returns that is dropped."""
    depth_decay: float = 0.8
    """λ of OS(λ): the weight of a depth relative to the one above."""
    noise_share: float = 0.25
    """Of Dirichlet noise in the root's policies, in play and where targets are searched; evaluations have none."""
    noise_concentration: float = 0.3
    """Of that noise."""
    visit_temperature: float = 1.0
    """Play draws joint actions in proportion to visits ** (1 / temperature)."""
    cool_down: bool = False
    """The temperature of play is halved after half of the run, and again after three quarters."""
    policy_loss: Literal["awpo", "awpo-prior", "cloning"] = "awpo"
    """Searched joint actions are learned by their visits and the exponential of their advantage ("awpo"), by their prior in
    place of the visits, or by their visits alone ("cloning", as in Sampled MuZero: ablations)."""
    advantage_temperature: float = 2.0
    """α: what standardized advantages are divided by before their exponential."""
    max_advantage_weight: float = 3.0
    """The exponential is cut off here."""
    agent_id: bool = True
    """Agents are shown which one they are, where there are several."""
    communication_layers: int = dataclasses.field(default=3, metadata={"least": 0})
    """Layers of attention between agents in the model; 0 for none (an ablation)."""
    num_heads: int = 8
    """Heads of that attention; must divide `width`."""
    dropout: float = dataclasses.field(default=0.1, metadata={"static": True})
    """Share of units that the communication drops in training."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        super().__post_init__()
        check_floats(
            self,
            fractions=("drop_lowest", "depth_decay", "noise_share"),
            amounts=("dropout",),
            positive=("noise_concentration", "visit_temperature", "advantage_temperature", "max_advantage_weight"),
        )
        for name, accepted in (
            ("backup", ("optimistic", "mean")),
            ("policy_loss", ("awpo", "awpo-prior", "cloning")),
        ):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be {' or '.join(map(repr, accepted))}, got {getattr(self, name)!r}")
        if self.dropout >= 1:
            raise ValueError(f"dropout must be below 1, got {self.dropout}")
        if self.num_simulations < self.num_samples:
            raise ValueError(
                f"num_simulations must be at least num_samples, as every joint action of the root is tried once, got "
                f"{self.num_simulations} and {self.num_samples}"
            )
        if self.communication_layers and self.width % self.num_heads:
            raise ValueError(f"num_heads must divide width {self.width}, got {self.num_heads}")


@hyperparameters
class JointConfig(PlanningConfig):
    """What all planning methods have, and Gumbel MuZero's search over all joint actions."""

    max_considered: int = 16
    """Joint actions that a search tries at its root, without replacement."""
    gumbel_scale: float = 1.0
    """Of the noise by which they are drawn, in play and where targets are searched; evaluations have none."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        super().__post_init__()
        check_floats(self, amounts=("gumbel_scale",))
