"""The runs of the study: plain defaults, as a first try on the command line has them."""

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

STEPS = 200_000
SEEDS = 5
PAIRS = (
    ("ippo", "mpe/simple-spread"),
    ("mappo", "mpe/simple-spread"),
    ("ippo", "smax/3m"),
    ("mappo", "smax/3m"),
    ("qmix", "smax/3m"),
    ("vdn", "smax/3m"),
    ("qmix", "hallway/4-4"),
    ("vdn", "hallway/4-4"),
)


def runs() -> list[Preset]:
    """All pairs, with no setting but the length, the seeds and the evaluations."""
    options = TrainOptions(total_steps=STEPS, seeds=SEEDS, evaluations=10, eval_episodes=64, absolute_episodes=0)
    return [Preset(f"{name}-{env.replace('/', '-')}", name, env, options=options) for name, env in PAIRS]
