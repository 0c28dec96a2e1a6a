"""What studies train can be built, and what they measure is what they say."""

import numpy as np
import pytest

from experiments.gem_toy import measures
from experiments.gem_toy import presets as gem_toy
from experiments.mabrax_ppo import presets as mabrax_ppo
from experiments.q_methods import presets as q_methods
from experiments.tad_hallway import presets as tad_hallway
from experiments.tad_matrix_games import presets as tad_matrix_games
from experiments.value_factorization import presets as value_factorization

PRESETS = [
    *gem_toy.plain_runs(),
    *gem_toy.delayed_runs(),
    *gem_toy.ablation_runs(),
    *q_methods.game_runs(),
    *q_methods.hallway_runs(),
    *tad_hallway.partial_runs(),
    *tad_hallway.observed_runs(),
    *tad_matrix_games.named_runs("common"),
    *tad_matrix_games.named_runs("named"),
    *tad_matrix_games.random_runs(),
    *value_factorization.mmdp_runs(),
    *value_factorization.game_runs(),
]


def test_names_are_unique_in_a_study():
    for runs in (
        gem_toy.plain_runs() + gem_toy.delayed_runs() + gem_toy.ablation_runs(),
        value_factorization.mmdp_runs(),
    ):
        names = [preset.name for preset in runs]
        assert len(set(names)) == len(names)
    assert len({preset.name for preset in mabrax_ppo.runs("small") + mabrax_ppo.runs("full")}) == 18


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_runs_can_be_built(preset):
    experiment = preset.experiment()
    (group,) = experiment.groups()
    assert len(group.lanes) == experiment.options.seeds * len(experiment.points())


def test_ratios_of_areas():
    ours, theirs = np.full(8, 3.0), np.full(8, 2.0)
    assert measures.ratio(ours, theirs) == "1.50 [1.50, 1.50]"
    assert measures.ratio(ours, np.array([-1.0, 1.0, 0.5, 0.5])) == "–"
    spread = measures.ratio(np.arange(1.0, 9.0), theirs)
    value, low, high = (float(part.strip("[],")) for part in spread.split())
    assert value == 2.25 and low < value < high and low > 1.5 and high < 3.0
