"""GEM beside DQN on tasks with discrete actions."""
