"""MAPPO whose actors attend to their last eight steps, with a critic of another size."""

import jaxmarl_suite
from jaxmarl_suite import analysis
from jaxmarl_suite.algorithms import AlgorithmSpec, Phase, register
from jaxmarl_suite.algorithms.core import central_view
from jaxmarl_suite.algorithms.ppo import PPOConfig, local_policy, make_ppo, make_ppo_learner
from jaxmarl_suite.networks import attention_over_time, make_network


def make(config, env):
    def actor(view, outputs, out_scale):
        return attention_over_time(view.size, outputs, window=8, width=32, heads=4, out_scale=out_scale)

    critic_view = central_view(env.spec)
    critic = make_network(critic_view.size, 1, hidden=(128, 128))
    policy = local_policy(config, env, actor)
    ppo = make_ppo_learner(config, env.spec, policy, critic_view, critic=critic)
    return (Phase("ppo", make_ppo(ppo, env)),)


# Where networks remember, `recurrent` keeps `chunk_length` steps together.
defaults = PPOConfig(recurrent=True, hidden=(32,), num_envs=32)
register(AlgorithmSpec("mappo-attention", PPOConfig, make, "MAPPO with attention over time", defaults=defaults))

if __name__ == "__main__":
    options = jaxmarl_suite.TrainOptions(total_steps=32 * 16 * 60, seeds=4)
    run = jaxmarl_suite.train("mappo-attention", "matrix/climbing", options=options)
    print(analysis.table(jaxmarl_suite.load_run(run)))
