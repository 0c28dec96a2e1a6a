"""Study: how much of each agent's effect DIMA's sampler reproduces."""
