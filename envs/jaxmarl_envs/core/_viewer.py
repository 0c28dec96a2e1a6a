"""Drawing of recorded episodes, without a display.

An environment draws itself with a method `draw(ax, frame)` (a matplotlib axes and a `Frame`), which may return a
`Verdict`; heading and numbers are the same for all. It may have its own `seconds_per_frame` of animations. matplotlib and
pillow are imported on first use. If a picture is not enough, as for robots in space, a method `to_html(episode)` can
return an interactive page, instead or in addition.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxmarl_envs.core._environment import Environment, Params
from jaxmarl_envs.core._episode import Episode
from jaxmarl_envs.core._types import EnvSpec

if TYPE_CHECKING:
    pass

INK, MUTED, RULE, PAPER, WHITE = "#1f2933", "#7b8794", "#dde1e6", "#faf9f6", "#ffffff"
GOOD, BAD, GOLD = "#23845f", "#b8482f", "#e3a72f"
AGENTS = ("#2f6db5", "#d9793a", "#7a4fa3", "#1f968b", "#c0417a", "#8a6d3b")
"""Colors of the agents, repeated if there are more agents."""
MAX_SHEET = 12
"""Maximum number of frames on a contact sheet."""


SECONDS_PER_FRAME = 0.6
"""Duration of a frame in an animation, unless the environment has its own."""
SHORTEST_FRAME, LONGEST_FRAME = 0.02, 60.0
"""Durations that GIF viewers show as they are."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """The data for drawing after t steps: NumPy arrays of one instance."""

    step: int
    """t; 0 at the start."""
    state: Any
    """State of the innermost environment after t steps."""
    previous: Any
    """The previous state, in which `action` was taken; None at the start."""
    action: Any
    """[N] or [N, D]; None at the start."""
    reward: float
    """Reward of the step just taken, mean over agents."""
    episode_return: float
    """Sum of rewards so far."""
    terminated: bool
    truncated: bool
    params: Params


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of an episode or a step."""

    text: str
    good: bool


def render_frames(env: Environment, episode: Episode, *, params: Params = None) -> list[np.ndarray]:
    """The episode as T + 1 pictures [height, width, 3] uint8, from the start to the end.

    Raises:
      ValueError: the innermost environment has no method `draw(ax, frame)`.
    """
    innermost = getattr(env, "unwrapped", env)
    if not callable(getattr(innermost, "draw", None)):
        raise ValueError(f"cannot draw {env.spec.id!r}: {type(innermost).__name__} has no method draw(ax, frame)")
    optimum = env.spec.optimum if params is None else None
    params = env.default_params if params is None else params
    totals = np.concatenate([[0.0], np.cumsum(np.mean(episode.rewards, axis=1, dtype=np.float64))])
    states = [jax.tree.map(lambda x, t=t: x[t], episode.states) for t in range(len(episode) + 1)]
    frames = [Frame(0, states[0], None, None, 0.0, 0.0, False, False, params)]
    for t in range(1, len(episode) + 1):
        frames.append(
            Frame(
                step=t,
                state=states[t],
                previous=states[t - 1],
                action=episode.actions[t - 1],
                reward=float(np.mean(episode.rewards[t - 1])),
                episode_return=float(totals[t]),
                terminated=bool(episode.terminated[t - 1]),
                truncated=bool(episode.truncated[t - 1]),
                params=params,
            )
        )
    return [_picture(env.spec, innermost, frame, optimum) for frame in frames]


def render(
    env: Environment,
    episode: Episode,
    path: str | Path,
    *,
    params: Params = None,
    frame: int | None = None,
    seconds_per_frame: float | None = None,
) -> Path:
    """Draws an episode into the file `path` and returns its path.

    Args:
      env: the environment that the episode was recorded in, wrapped or not.
      episode: what to draw.
      path: `.gif` for an animation; `.png` for a sheet of up to 12 frames, or for one frame; `.html` for a page, if
        the environment has one.
      params: traced parameters; `env.default_params` if None.
      frame: the only frame to draw into a `.png`, counted as a Python index: 0 the start, -1 the end.
      seconds_per_frame: duration in the animation; the last frame is shown three times as long. None: the
        environment's own `seconds_per_frame`, or 0.6.

    Raises:
      ValueError: another suffix, an environment that cannot be drawn, or an impossible duration.
    """
    path = Path(path)
    check_drawable(env, path)
    if seconds_per_frame is None:
        seconds_per_frame = getattr(getattr(env, "unwrapped", env), "seconds_per_frame", SECONDS_PER_FRAME)
    if not SHORTEST_FRAME <= seconds_per_frame <= LONGEST_FRAME:
        raise ValueError(
            f"seconds_per_frame must be from {SHORTEST_FRAME} to {LONGEST_FRAME:g}, got {seconds_per_frame}"
        )
    if path.suffix == ".html":
        innermost: Any = getattr(env, "unwrapped", env)
        path.write_text(innermost.to_html(episode), encoding="utf-8")
        return path
    from PIL import Image

    frames = render_frames(env, episode, params=params)
    if path.suffix == ".gif":
        images = [Image.fromarray(picture).quantize(128, dither=Image.Dither.NONE) for picture in frames]
        milliseconds = [int(1000 * seconds_per_frame)] * len(images)
        milliseconds[-1] *= 3
        images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    else:
        Image.fromarray(_sheet(frames) if frame is None else frames[frame]).save(path)
    return path


def check_drawable(env: Environment, path: str | Path) -> None:
    """Rejects a file that `render` could not write for `env`, before there is an episode.

    Raises:
      ValueError: the innermost environment has no method for the suffix of `path`; the message lists the suffixes that
        it has.
    """
    innermost = getattr(env, "unwrapped", env)
    kinds = {"draw": (".gif", ".png"), "to_html": (".html",)}
    accepted = [suffix for name, found in kinds.items() if callable(getattr(innermost, name, None)) for suffix in found]
    if not accepted:
        raise ValueError(
            f"cannot draw {env.spec.id!r}: {type(innermost).__name__} has no method draw(ax, frame) or to_html(episode)"
        )
    if Path(path).suffix not in accepted:
        raise ValueError(f"cannot draw {env.spec.id!r} into {str(path)!r}: the suffix must be {' or '.join(accepted)}")


def number(value: float) -> str:
    """A number as the viewers write it: at most two decimals, a true minus sign."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return ("0" if text == "-0" else text).replace("-", "\N{MINUS SIGN}")


def _outcome(frame: Frame, optimum: float | None) -> Verdict | None:
    """The outcome of the episode, from the numbers alone."""
    if not (frame.terminated or frame.truncated):
        return None
    if optimum is None:
        return Verdict("time limit" if frame.truncated else "over", good=True)
    good = frame.episode_return >= optimum - 1e-4 * (1 + abs(optimum))
    return Verdict("optimal" if good else f"optimum is {number(optimum)}", good)


def _picture(spec: EnvSpec, innermost: Any, frame: Frame, optimum: float | None) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), dpi=100, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    figure.text(0.05, 0.925, spec.id, fontsize=14, fontweight="bold", color=INK, va="center")
    steps = f"step {frame.step}" + (f" / {spec.episode_limit}" if spec.episode_limit else "")
    figure.text(0.95, 0.925, steps, fontsize=11, color=MUTED, va="center", ha="right")
    figure.add_artist(_line(figure, 0.875))
    axes = figure.add_axes((0.05, 0.16, 0.90, 0.68))
    axes.set_axis_off()
    verdict = innermost.draw(axes, frame)
    figure.add_artist(_line(figure, 0.125))
    figure.text(0.05, 0.065, "reward", fontsize=10, color=MUTED, va="center")
    figure.text(0.15, 0.065, number(frame.reward) if frame.step else "\N{EN DASH}", fontsize=12, color=INK, va="center")
    figure.text(0.27, 0.065, "return", fontsize=10, color=MUTED, va="center")
    figure.text(0.36, 0.065, number(frame.episode_return), fontsize=12, color=INK, va="center", fontweight="bold")
    verdict = verdict or _outcome(frame, optimum)
    if verdict is not None:
        color = GOOD if verdict.good else BAD
        figure.text(
            0.936,
            0.065,
            verdict.text,
            fontsize=11,
            fontweight="bold",
            color=WHITE,
            va="center",
            ha="right",
            bbox={"boxstyle": "round,pad=0.45,rounding_size=0.6", "facecolor": color, "edgecolor": "none"},
        )
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _line(figure: Any, y: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D((0.05, 0.95), (y, y), transform=figure.transFigure, color=RULE, linewidth=1)


def _sheet(frames: list[np.ndarray]) -> np.ndarray:
    """Up to `MAX_SHEET` frames, evenly chosen with the first and the last, row by row."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MAX_SHEET)).round().astype(int))
    columns = int(np.ceil(np.sqrt(len(chosen))))
    rows = -(-len(chosen) // columns)
    height, width, _ = frames[0].shape
    gap = 8
    paper = [int(RULE[i : i + 2], 16) for i in (1, 3, 5)]
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), paper, np.uint8)
    for place, index in enumerate(chosen):
        top, left = (gap + n * (size + gap) for n, size in zip(divmod(place, columns), (height, width)))
        sheet[top : top + height, left : left + width] = frames[index]
    return sheet
