"""TAD-PPO against decentralised policy gradients on matrix games."""
