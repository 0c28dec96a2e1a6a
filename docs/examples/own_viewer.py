"""The line task of own_environment.py with a picture of its own: two agents on a row of cells."""

import dataclasses

import jaxmarl_envs
from jaxmarl_envs import Verdict, palette
from matplotlib.patches import Rectangle
from own_environment import Meet


@dataclasses.dataclass(frozen=True)
class DrawnMeet(Meet):
    def draw(self, ax, frame):  # a matplotlib axes, and what there is to draw after a step, in NumPy
        for cell in range(self.size):
            ax.add_patch(Rectangle((cell - 0.5, -0.5), 1, 1, facecolor=palette.WHITE, edgecolor=palette.RULE))
        for agent, cell in enumerate(frame.state):
            ax.plot(cell, 0.2 - 0.4 * agent, marker="o", markersize=14, color=palette.AGENTS[agent])
        ax.set_xlim(-0.6, self.size - 0.4)
        ax.set_ylim(-0.6, 0.6)
        ax.set_aspect("equal")
        return Verdict("met", good=True) if frame.terminated else None  # a heading's last word, or nothing


if __name__ == "__main__":
    env = jaxmarl_envs.TimeLimit(DrawnMeet(), 10)
    episode = jaxmarl_envs.record_episode(env, jaxmarl_envs.seed_key(3))
    print("drawn:", jaxmarl_envs.render(env, episode, "meet.gif"))
