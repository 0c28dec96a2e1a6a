"""TAD-PPO against decentralised policy gradients on hallway."""
