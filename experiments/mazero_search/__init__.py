"""Which joint actions searches choose, and what planning in the environment itself returns."""
