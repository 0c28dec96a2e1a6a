"""Cooperative multi-agent reinforcement learning as one compiled JAX program."""
