"""TAD-PPO against decentralized policy gradients on hallway."""
