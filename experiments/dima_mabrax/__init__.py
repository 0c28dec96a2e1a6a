"""Study: DIMA on brax's robots at equal environment steps, beside MAPPO."""
