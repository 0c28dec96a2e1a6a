"""Study: policies learned in world models of a puck task, beside MAPPO at equal environment steps."""
