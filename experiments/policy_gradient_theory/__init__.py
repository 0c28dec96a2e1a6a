"""Where exact policy gradients end on cooperative matrix games: decentralized against sequential policies."""
