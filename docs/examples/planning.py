"""Plans in the true game, without training: every step is the best of a search over sampled joint actions."""

import jax
import jaxmarl_envs

from jaxmarl_suite import search

env = jaxmarl_envs.make("matrix/M1", horizon=4)  # both agents have to take action 0; it pays 8, a mistake costs 12
model = search.environment_model(env)

for simulations in (1, 12, 60):
    samples = max(1, simulations // 3)  # joint actions that are drawn at each node
    planner = search.sampled_search(model, num_simulations=simulations, num_samples=samples)
    played = search.evaluate(planner, env, jax.random.key(0), num_episodes=128)
    print(f"{simulations} simulations: return {played.returns.mean():.1f} of {env.spec.optimum:.0f}")
