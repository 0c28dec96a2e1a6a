"""What the targets of episodic memory (GEM) are worth: bias, convergence, slip, and how fast a reward travels."""
