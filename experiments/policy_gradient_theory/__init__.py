"""Where exact policy gradients end on cooperative matrix games: decentralised against sequential policies."""
