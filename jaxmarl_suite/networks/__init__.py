"""Networks as tuples of pure functions, one type for feed-forward and recurrent ones."""

from jaxmarl_suite.networks._network import Network, make_network, per_agent

__all__ = ["Network", "make_network", "per_agent"]
