"""TAD-PPO against decentralized policy gradients on matrix games."""
