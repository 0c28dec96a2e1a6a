"""The colors of drawings, as hexadecimal strings: for an environment's own `draw(ax, frame)`."""

from jaxmarl_envs.core._viewer import AGENTS, BAD, GOLD, GOOD, INK, MUTED, PAPER, RULE, WHITE

__all__ = ["AGENTS", "BAD", "GOLD", "GOOD", "INK", "MUTED", "PAPER", "RULE", "WHITE"]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
