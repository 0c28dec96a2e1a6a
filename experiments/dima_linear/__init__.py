"""Study: one-step errors of world models of a linear team, by what a denoising step is shown and by the data."""
