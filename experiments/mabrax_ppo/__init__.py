"""PPO methods on brax's robots, divided among agents."""
