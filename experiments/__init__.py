"""Studies: each one command that regenerates its README's tables and figures."""
