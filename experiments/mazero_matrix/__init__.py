"""MAZero on repeated matrix games beside its ablations and methods without a model."""
