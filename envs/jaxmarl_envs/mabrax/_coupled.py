"""Two half cheetahs joined by an elastic tendon, built from brax's model. Imports brax; only imported when one is made."""

import copy
import importlib.resources
from typing import Any
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
from brax.envs.base import PipelineEnv, State
from brax.io import mjcf

from jaxmarl_envs.adapters._packages import load

_COPIES = (("0", -1.0), ("1", 1.0))
"""Suffixes of the names of each cheetah's parts, and where it runs (m along y)."""
_TENDON = {"name": "tendon", "limited": "true", "range": "1.5 3.5", "stiffness": "0.1"}
"""Length in m and stiffness in N/m. The rest length is the initial one, 2 m."""
_CONTROL_WEIGHT = 0.1
_NOISE = 0.1
_NUM_FRAMES = 5  # of 10 ms per step, as for one cheetah


def compose(xml: str) -> str:
    """The model `xml` with two copies of its robot side by side and a tendon from root to root, as MJCF.

    As in Multi-Agent MuJoCo the total mass stays the same, so each cheetah has half of it.
    """
    model = ElementTree.fromstring(xml)
    (world,), (actuators,), (robot,) = (model.findall(path) for path in ("worldbody", "actuator", "worldbody/body"))
    motors = list(actuators)
    world.remove(robot)
    tendon = ElementTree.SubElement(ElementTree.SubElement(model, "tendon"), "spatial", _TENDON)
    actuators.clear()
    for suffix, y in _COPIES:
        twin = copy.deepcopy(robot)
        for part in twin.iter():
            if "name" in part.attrib:
                part.attrib["name"] += suffix
        x, _, z = robot.attrib["pos"].split()
        twin.attrib["pos"] = f"{x} {y} {z}"
        site = f"tendon{suffix}"
        twin.insert(0, ElementTree.Element("site", {"name": site, "pos": "0 0 0"}))
        world.append(twin)
        ElementTree.SubElement(tendon, "site", {"site": site})
        for motor in motors:
            names = {name: motor.attrib[name] + suffix for name in ("joint", "name")}
            ElementTree.SubElement(actuators, motor.tag, motor.attrib | names)
    for number in model.iterfind("custom/numeric"):
        if " " in number.attrib["data"]:  # one for every body
            number.attrib["data"] = " ".join([number.attrib["data"]] * len(_COPIES))
    return ElementTree.tostring(model, encoding="unicode")


class CoupledHalfCheetahs(PipelineEnv):
    """Two half cheetahs that run side by side, one agent each, held together by a tendon from torso to torso.

    After the coupled half cheetah of Multi-Agent MuJoCo (Peng et al., "FACMAC", 2021): the reward is the mean over the
    cheetahs of forward velocity minus 0.1 times the squared actions. Observation [35]: positions of the one and of
    the other, without the first x, then velocities of both. The tendon pulls weakly beyond 2 m, and limits the
    distance of the torsos to 3.5 m.

    Deviations: both cheetahs are brax's, which differs from MuJoCo's in fewer solver iterations and in the parts that
    touch the floor, and so is the noise at the start; agents do not observe the tendon. MuJoCo computes the inertia
    that a tendon moves in the initial pose, in which this one lies across the tracks and moves nothing. Its stop would
    be infinitely hard, and in 32-bit numbers it would have no effect. Here the inertia is computed along the tracks.
    """

    def __init__(self, backend: str = "mjx") -> None:
        """Parses the model. Only the backend `mjx` supports tendons; brax's other physics would ignore it."""
        xml = (importlib.resources.files("brax") / "envs/assets/half_cheetah.xml").read_text(encoding="utf-8")
        model = load("mujoco", "mabrax/coupled-halfcheetah").MjModel.from_xml_string(compose(xml))
        self._forward = np.array([0, model.nq // len(_COPIES)])  # index of each cheetah's x among the positions
        model.tendon_invweight0[:] = model.dof_invweight0[self._forward].sum()
        super().__init__(mjcf.load_model(model), backend=backend, n_frames=_NUM_FRAMES)

    def reset(self, rng: jax.Array) -> State:
        """Both in the model's pose, with brax's noise for one cheetah. Consumes `rng`."""
        position_key, velocity_key = jax.random.split(rng)
        noise = jax.random.uniform(position_key, (self.sys.q_size(),), minval=-_NOISE, maxval=_NOISE)
        velocity = _NOISE * jax.random.normal(velocity_key, (self.sys.qd_size(),))
        pipeline = self.pipeline_init(self.sys.init_q + noise, velocity)
        zero = jnp.zeros(())
        return State(pipeline, _observation(pipeline), zero, zero, {"x_velocity": zero})

    def step(self, state: State, action: jax.Array) -> State:
        """50 ms. `action`: [12] in [-1, 1]."""
        pipeline = self.pipeline_step(state.pipeline_state, action)
        # Of the positions of joints, as MuJoCo leaves those of bodies where they were before the last frame.
        velocity = (pipeline.q - state.pipeline_state.q)[self._forward].mean() / self.dt
        reward = velocity - _CONTROL_WEIGHT * (action**2).sum() / len(_COPIES)
        metrics = state.metrics | {"x_velocity": velocity}
        return state.replace(pipeline_state=pipeline, obs=_observation(pipeline), reward=reward, metrics=metrics)


def _observation(pipeline: Any) -> jax.Array:
    """[35]: positions without the first x, velocities."""
    return jnp.concatenate([pipeline.q[1:], pipeline.qd])
