"""Seven Q-learning methods beside PPO: small games, hallway, SMAX."""
