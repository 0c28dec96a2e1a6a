"""Trained policies outside the suite: loaded, and as files for a process that has JAX only."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import make, seed_key
from runner_tools import toy

from jaxmarl_suite import export_policy, load_policy
from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import make_act, restore_policies, run
from jaxmarl_suite.runner._files import StorageError

pytestmark = pytest.mark.optimized  # as users run it

JAX_ONLY = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jaxmarl_suite", "jaxmarl_envs", "flax", "optax", "orbax", "brax", "safetensors"):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
import pathlib, jax, jax.export, numpy as np
folder, given, out = map(pathlib.Path, sys.argv[1:])
act = jax.export.deserialize(bytearray((folder / "act.jax").read_bytes())).call
played = np.load(given)
names = ("obs", "state", "action_mask", "start", "key")
carry = [played[name] for name in sorted(n for n in played if n.startswith("carry"))]
steps = played["obs"].shape[0]
actions = []
for t in range(steps):
    action, carry = act({name: played[name] if name == "key" else played[name][t] for name in names}, carry)
    actions.append(np.asarray(action))
np.savez(out, np.stack(actions), *map(np.asarray, carry))
"""


def observations(policy, steps: int, n: int) -> dict[str, np.ndarray]:
    """Random inputs of n environments for some steps; the second starts a new episode in the middle."""
    rng, spec = np.random.default_rng(0), policy.spec
    start = np.zeros((steps, n), bool)
    start[steps // 2, 1] = True
    return {
        "obs": rng.standard_normal((steps, n, spec.n_agents, *spec.obs_shape)).astype(np.float32),
        "state": rng.standard_normal((steps, n, spec.state_size)).astype(np.float32),
        "action_mask": np.ones((steps, n, spec.n_agents, spec.num_actions or spec.action_dim), bool),
        "start": start,
        "key": np.zeros(2, np.uint32),
    }


@pytest.mark.parametrize(("name", "has_memory"), [("ippo", True), pytest.param("td3", False, marks=pytest.mark.slow)])
def test_the_files_act_as_the_loaded_policy_does_bit_by_bit(
    name: str, has_memory: bool, trained: Callable[[str, str], Path], tmp_path: Path
) -> None:
    policy = load_policy(trained(name, "single"))
    card = export_policy(policy, tmp_path / "policy")
    assert json.loads((tmp_path / "policy" / "policy.json").read_text()) == card
    assert any(0 not in one["shape"] for one in card["carry"]) == has_memory
    assert (card["algorithm"], card["seed"]) == (name, 3)
    played, carry = observations(policy, 5, 3), policy.init_carry(3)
    leaves = jax.tree.leaves(carry)
    np.savez(tmp_path / "given.npz", **played, **{f"carry{i}": leaf for i, leaf in enumerate(leaves)})
    command = [sys.executable, "-c", JAX_ONLY, tmp_path / "policy", tmp_path / "given.npz", tmp_path / "out.npz"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=120)
    (actions, *after) = np.load(tmp_path / "out.npz").values()
    for t in range(5):
        action, carry = policy.act(
            played["obs"][t], carry, action_mask=played["action_mask"][t], start=played["start"][t]
        )
        np.testing.assert_array_equal(actions[t], action)
    for ours, theirs in zip(jax.tree.leaves(carry), after, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert has_memory or len(np.unique(actions)) > 5, "the policy reacts to what it is shown"

    from safetensors.numpy import load_file

    stored = load_file(tmp_path / "policy" / "parameters.safetensors")
    found = sorted(np.asarray(leaf).sum() for leaf in jax.tree.leaves(policy.parameters))
    np.testing.assert_array_equal(sorted(x.sum() for x in stored.values()), found)


def test_a_loaded_policy_plays_as_the_evaluation_does(trained: Callable[[str, str], Path]) -> None:
    """One environment, with its time steps or with bare arrays; and as the first of two."""
    run_dir = trained("ippo", "single")
    policy, env = load_policy(run_dir), make("matrix/climbing", horizon=3)
    (waves,) = restore_policies(run_dir)
    reference, key = make_act(waves, 0), seed_key(1)
    state, timestep = env.reset(key, env.default_params)
    carry, bare_carry, pair_carry = policy.init_carry(), policy.init_carry(), policy.init_carry(2)
    for _ in range(3):
        action, carry = policy.act(timestep, carry)
        np.testing.assert_array_equal(action, reference(key, timestep))
        bare, bare_carry = policy.act(np.asarray(timestep.obs), bare_carry)
        pair = jax.tree.map(lambda x: jnp.stack([x, jnp.zeros_like(x)]), timestep)
        both, pair_carry = policy.act(pair, pair_carry)
        np.testing.assert_array_equal(action, bare)
        np.testing.assert_array_equal(action, both[0])
        state, timestep = env.step(key, state, action, env.default_params)
    assert policy.inputs == ("action_mask", "obs", "start")


def test_a_first_step_forgets(trained: Callable[[str, str], Path]) -> None:
    policy = load_policy(trained("ippo", "single"))
    obs = np.ones((policy.spec.n_agents, *policy.spec.obs_shape), np.float32)
    _, fresh = policy.act(obs, policy.init_carry())
    _, later = policy.act(obs, fresh)
    _, again = policy.act(obs, later, start=True)
    assert not np.array_equal(jax.tree.leaves(later)[0], jax.tree.leaves(fresh)[0])
    np.testing.assert_array_equal(jax.tree.leaves(again)[0], jax.tree.leaves(fresh)[0])


@pytest.mark.usefixtures("toys")
def test_lanes_seeds_and_extra_policies(tmp_path: Path) -> None:
    run_dir = run(toy(grid={"action": [1, 2]}, seeds=2), run_dir=tmp_path / "run")
    assert load_policy(run_dir).about["setting"] == {"action": 2}, "the lane with the highest return"
    one = load_policy(run_dir, lane=1, name="lazy")
    assert (one.about["seed"], one.about["policy"]) == (1, "lazy")
    obs = np.zeros((one.spec.n_agents, *one.spec.obs_shape), np.float32)
    assert not np.any(one.act(obs, one.init_carry())[0])
    assert np.all(load_policy(run_dir, lane=1).act(obs, one.init_carry())[0] == 1)
    for options, text in (
        ({"lane": 9}, "no lane 9 with a checkpoint; there are 0..3"),
        ({"seed": 7}, "no seed 7; there are 0, 1"),
        ({"seed": 1}, "seed 1 was trained with several settings: choose one of the lanes 1, 3"),
        ({"name": "teacher"}, "has no policy 'teacher'; accepted: lazy"),
    ):
        with pytest.raises(ValueError, match=text):
            load_policy(run_dir, **options)


def test_wrong_inputs_and_folders(
    trained: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(trained("ippo", "single"))
    agents, *shape = policy.spec.n_agents, *policy.spec.obs_shape
    with pytest.raises(
        ValueError, match=rf"obs has shape \({agents}, 99\), expected \({agents}, {shape[0]}\) or \(n, "
    ):
        policy.act(np.zeros((agents, 99), np.float32), policy.init_carry())
    with pytest.raises(ValueError, match=r"action_mask has shape \(1,\), expected"):
        policy.act(np.zeros((agents, *shape), np.float32), policy.init_carry(), action_mask=np.ones(1, bool))
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="exists; name a folder that does not"):
        export_policy(policy, tmp_path / "there")
    assert export_policy(policy, tmp_path / "two", batch=np.int64(2))["action"]["shape"][0] == 2
    with pytest.raises(ValueError, match="batch must be positive, got 0"):
        export_policy(policy, tmp_path / "new", batch=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        export_policy(policy, tmp_path / "file" / "policy")
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        export_policy(policy, tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there", "two"]


def test_the_command(trained: Callable[[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export-policy", str(trained("ippo", "single")), str(tmp_path / "policy"), "--batch", "2", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["policy"]["inputs"]["obs"]["shape"][0] == 2
    assert sorted(p.name for p in (tmp_path / "policy").iterdir()) == [
        "act.jax",
        "parameters.safetensors",
        "policy.json",
    ]
