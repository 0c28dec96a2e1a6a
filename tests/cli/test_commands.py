"""Every command once, for people and for programs."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import jaxmarl_suite
from jaxmarl_suite.cli._arguments import parse_experiment
from jaxmarl_suite.cli._parse import literal, parse_grid, take_env_options, with_prefix
from jaxmarl_suite.runner import restore_policies
from tests.cli.conftest import TINY_MAPPO, Cli


def test_train_in_a_pipe_prints_plain_lines(cli: Cli, in_tmp: Path) -> None:
    outcome = cli(f"train mappo --env matrix/xor --seeds 2 {TINY_MAPPO}")
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.out and "\r" not in outcome.out
    for part in ("runs/matrix-xor-mappo-001", "100%", "return", "final return", "optimum 1.00"):
        assert part in outcome.out
    assert (in_tmp / "runs/matrix-xor-mappo-001/summary.json").is_file()


def test_train_for_a_program(cli: Cli, in_tmp: Path) -> None:
    outcome = cli(f"train mappo --env matrix/xor --json --seeds 2 --run-dir mine {TINY_MAPPO}")
    assert outcome.out.count("\n") == 1
    assert outcome.json["command"] == "train" and outcome.json["status"] == "finished"
    assert outcome.json["run_dir"] == "mine" and len(outcome.json["lanes"]) == 2
    assert "final return" in outcome.err


def test_quiet_keeps_results_only(cli: Cli, in_tmp: Path) -> None:
    outcome = cli(f"--quiet train mappo --env matrix/xor --seeds 2 {TINY_MAPPO}")
    assert outcome.err == "" and "final return" in outcome.out and "100%" not in outcome.out


def test_paths_are_no_markup(cli: Cli, in_tmp: Path) -> None:
    outcome = cli(f"train mappo --env matrix/xor --run-dir 'm[/red]x' {TINY_MAPPO}")
    assert outcome.code == 0, outcome.err
    assert "jaxmarl-suite plot m[/red]x  draws the curves" in outcome.out
    # 256 steps are eight updates of 32; 250 are seven.
    outcome = cli(f"train mappo --env matrix/xor --run-dir shorter {TINY_MAPPO.replace('256', '250')}")
    assert "in 1 compiled program, 224 environment steps each" in outcome.out


def test_sweep_over_settings_and_instances(cli: Cli, in_tmp: Path) -> None:
    grid = "--grid learning-rate=1e-4,3e-4 --grid env.seed=0:2"
    outcome = cli(f"--json sweep mappo --env matrix/random-2x2 --seeds 2 --run-dir mine {grid} {TINY_MAPPO}")
    assert outcome.code == 0, outcome.err
    config = json.loads((in_tmp / "mine/config.json").read_text())
    assert config["grid"] == {"learning_rate": [1e-4, 3e-4], "env.seed": [0, 1]}
    assert len(outcome.json["lanes"]) == 8


def test_policies_are_evaluated_elsewhere(cli: Cli, in_tmp: Path, finished_run: Path) -> None:
    """Episodes of one step in training, of two and of three in evaluations."""
    command = f"mappo --env matrix/xor --eval-env.horizon 2 {TINY_MAPPO}"
    assert cli(f"plan {command} --json").json["eval_env_options"] == {"horizon": 2}
    outcome = cli(f"train {command} --run-dir mine")
    assert outcome.code == 0 and "policies are evaluated with --eval-env.horizon 2" in outcome.out, outcome.err
    rows = [json.loads(line) for line in (in_tmp / "mine/metrics.jsonl").read_text().splitlines()]
    assert {(row["kind"], row["metrics"]["length"]) for row in rows} == {("train", 1), ("eval", 2), ("absolute", 2)}
    assert cli("resume mine").code == 0
    for run, flags, length in (("mine", "", 2), ("mine", "--eval-env.horizon=3", 3), (finished_run, "", 1)):
        found = cli(f"eval {run} --episodes 4 {flags} --json").json["evaluations"]
        assert {one["metrics"]["length"] for one in found} == {length}
    assert cli("eval mine --eval-env.horizon").error.startswith("--eval-env.horizon needs a value")
    error = cli(f"train {command} --eval-env.horizons 3").error
    assert "unknown option 'horizons'; accepted: horizon" in error and "--eval-env.horizons 3" in error
    outcome = cli("train mappo --env rag/cache-L0 --help")
    assert "\nIn evaluations:\n  --eval-env.split validation\n" in outcome.out
    assert "\nTraced options (a grid over them is one program):\n" in outcome.out


def test_sweep_over_the_number_of_environments(cli: Cli, in_tmp: Path) -> None:
    """Its points take different numbers of steps in an update; what reads the run does not mind."""
    sizes = TINY_MAPPO.replace("mappo", "ippo").replace("--ippo.num-envs 8 ", "")
    outcome = cli(f"sweep ippo --env matrix/climbing --grid num_envs=8,16 --seeds 2 --run-dir mine {sizes}")
    assert outcome.code == 0 and "num_envs=16" in outcome.out, outcome.err
    found = cli("table mine --json").json["rows"]
    assert [row["label"] for row in found] == ["ippo num_envs=8", "ippo num_envs=16"]
    assert cli("plot mine --kind train --out train.png").code == 0, "the default metric is one of training, too"
    assert cli("plot mine --kind train --metric learner/entropy --out entropy.png").code == 0
    assert cli("plot mine --out eval.svg").code == 0
    assert cli("export mine --out scores.npz").code == 0
    (in_tmp / "mine/summary.json").unlink()  # killed just before it was written
    outcome = cli("resume mine")
    assert outcome.code == 0 and "num_envs=16" in outcome.out, outcome.err


def test_resume_of_a_finished_run_says_so(cli: Cli, finished_run: Path) -> None:
    before = (finished_run / "summary.json").read_bytes()
    outcome = cli(f"resume {finished_run} --json")
    assert outcome.json["status"] == "finished"
    assert "finished already" in outcome.err
    again = f"train mappo --env matrix/xor --seeds 2 --run-dir {finished_run} --resume --memory-gib 1 {TINY_MAPPO}"
    assert cli(again).code == 0
    assert (finished_run / "summary.json").read_bytes() == before


def test_eval_prints_every_lane_and_draws(cli: Cli, finished_run: Path, in_tmp: Path) -> None:
    outcome = cli(f"eval {finished_run} --episodes 8 --render new/episode.png --json")
    assert outcome.code == 0, outcome.err
    found = outcome.json["evaluations"]
    assert [(one["lane"], one["policy"]) for one in found] == [(0, "final"), (1, "final"), (0, "best"), (1, "best")]
    assert all(one["episodes"] == 8 and 0 <= one["metrics"]["return"] <= 1 for one in found)
    assert (in_tmp / "new/episode.png").read_bytes().startswith(b"\x89PNG")
    outcome = cli(f"eval {finished_run} --episodes 8 --lane 0 --render episode.gif --fps 20")
    assert outcome.code == 0, outcome.err
    with Image.open(in_tmp / "episode.gif") as animation:
        assert animation.info["duration"] == 50


def test_drawing_is_refused_before_the_evaluation(
    cli: Cli, finished_run: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxmarl_suite.runner.evaluate_trained", lambda *_, **__: pytest.fail("evaluated"))
    outcome = cli(f"eval {finished_run} --render episode.html")
    assert outcome.code == 2 and "the suffix must be .gif or .png" in outcome.error
    (in_tmp / "file").write_text("")
    outcome = cli(f"eval {finished_run} --render file/episode.png")
    assert outcome.code == 2 and "cannot be written" in outcome.error


def test_evaluating_agrees_with_the_run(finished_run: Path) -> None:
    """Greedy policies of a deterministic one-shot game score the same on any episodes."""
    summary = json.loads((finished_run / "summary.json").read_text())
    found = {(one.lane, one.policy): one.metrics["return"] for one in jaxmarl_suite.evaluate(finished_run, episodes=4)}
    for lane in summary["lanes"]:
        assert found[lane["lane"], "final"] == pytest.approx(lane["eval"]["metrics"]["return"])
        assert found[lane["lane"], "best"] == pytest.approx(lane["absolute"]["metrics"]["return"])


def test_evaluating_an_older_checkpoint(cli: Cli, in_tmp: Path) -> None:
    lasting = "--evaluations 4 --lasting-checkpoints 2 --keep-checkpoints 1"
    assert cli(f"train mappo --env matrix/xor --run-dir run {TINY_MAPPO} {lasting}").code == 0
    (old,), (new,), (newest,) = (restore_policies(in_tmp / "run", step=step) for step in (128, 256, None))
    assert (old.env_steps, new.env_steps, newest.env_steps) == (128, 256, 256)
    leaves = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(one.final)]) for one in (old, new, newest)]
    assert (leaves[0] != leaves[1]).any() and (leaves[1] == leaves[2]).all()
    outcome = cli("eval run --step 128 --json")
    assert [one["env_steps"] for one in outcome.json["evaluations"]] == [128, 128]
    error = cli("eval run --step 7").error  # also: evaluating has removed nothing
    assert "no checkpoint of step 7" in error and error.rstrip().endswith("there are 128, 256")


def test_results_of_runs(cli: Cli, finished_run: Path, in_tmp: Path) -> None:
    assert cli(f"plot {finished_run}").code == 0 and (in_tmp / "curves.png").is_file()
    assert cli(f"table {finished_run}").out.startswith("| environment |")
    assert cli(f"table {finished_run} --json").json["rows"][0]["num_lanes"] == 2
    assert cli(f"export {finished_run} --out a.json").code == 0 and json.loads((in_tmp / "a.json").read_text())
    assert cli(f"export {finished_run} --out a.npz").code == 0 and (in_tmp / "a.npz").is_file()
    assert cli(f"export {finished_run} --out a.csv").code == 0
    assert (in_tmp / "a.csv").read_text().startswith("run,environment,algorithm,lane,seed,kind,")
    assert cli(f"table {finished_run} --metric length").out.startswith("| environment | algorithm | final length |")


def test_plan_compiles_and_writes_nothing(cli: Cli, in_tmp: Path) -> None:
    outcome = cli(f"plan mappo --env matrix/xor --seeds 2 --json {TINY_MAPPO}")
    assert outcome.code == 0, outcome.err
    (program,) = outcome.json["programs"]
    assert program["lanes"] == program["lanes_at_once"] == 2 and program["memory_bytes"] > 0
    assert program["phases"][0]["updates"] == 8 and "learner/policy_loss" in program["phases"][0]["train_metrics"]
    assert not list(in_tmp.iterdir())


def test_catalogues(cli: Cli) -> None:
    assert "matrix/climbing" in cli("envs").out
    environments = cli("envs --family hallway --json").json["environments"]
    assert {one["id"] for one in environments} >= {"hallway/4-4"}
    assert "tad-ppo" in cli("algos").out
    settings = {one["field"]: one for one in cli("algos mappo --json").json["settings"]}
    assert settings["clip"]["default"] == 0.2 and settings["clip"]["in a sweep"] == "same program"
    assert settings["num_envs"]["meaning"] == "Environments stepped in parallel."
    assert cli("envs --check matrix/xor --json").json["ok"] is True
    assert "env-stepping" in cli("bench --json").json["benchmarks"]


def test_bench_without_a_checkout(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxmarl_suite.cli._bench._scripts", lambda: {})
    assert "a source checkout" in cli("bench env-stepping").error


@pytest.mark.parametrize(
    "command", ["train", "sweep", "plan", "resume", "eval", "plot", "table", "export", "envs", "algos", "runs"]
)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    outcome = cli(f"{command} --help")
    assert outcome.code == 0 and f"usage: jaxmarl-suite {command}" in outcome.out


def test_help_of_an_algorithm_lists_its_settings(cli: Cli) -> None:
    out = cli("train mappo --help").out
    assert "--mappo.learning-rate" in out and "Adam's step size for the actor." in out and "--total-steps" in out


def test_help_and_the_package_import_no_jax() -> None:
    for line in ("import jaxmarl_suite", "from jaxmarl_suite.cli import main; main(['--help']); main(['trian'])"):
        code = f"import sys; {line}; assert 'jax' not in sys.modules and 'tyro' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("line", "parts", "absent"),
    [
        ("train mappo --env smax/3m", ["Options of smax/3m", "--env.walls-cause-death True"], "Traced"),
        ("train masac --env=mabrax/halfcheetah-6x1", ["--env.time-limit 1000", "--env.backend spring"], "Traced"),
        (
            "sweep mappo --grid clip=1,2 --env toy/chain",
            ["--env.length 50", "Traced options", "--env.slip 0"],
            "payoff",
        ),
        ("plan mappo --env hallway/4-4", ["--env.clock False", "--env.observe-state False"], "Traced"),
        ("train --env matrix/climbing", ["--env.horizon 1"], "payoff"),
        ("train mappo", ["Set options of the environment with --env.NAME VALUE"], "Options of mappo"),
    ],
)
def test_help_lists_the_options_of_the_environment(cli: Cli, line: str, parts: list[str], absent: str) -> None:
    outcome = cli(f"{line} --help")
    assert outcome.code == 0 and absent not in outcome.out
    for part in parts:
        assert part in outcome.out
    assert "did you mean 'smax/3m'?" in cli("train mappo --env smax/3mm --help").error


@pytest.mark.parametrize("command", ["train", "sweep", "plan"])
@pytest.mark.parametrize("algorithm", ["mappo", "tad-ppo"])
def test_settings_of_the_algorithm_may_lack_its_name(command: str, algorithm: str) -> None:
    def config(line: str) -> Any:
        grid = "" if command == "train" else "--grid gamma=0.9,1 "
        return parse_experiment(
            shlex.split(f"{algorithm} --env matrix/xor {grid}{line}"), command, ""
        ).experiment.config

    short = config("--learning-rate 1e-4 --num_envs=8 --no-clip-value --hidden 8 16 --recurrent")
    name = f"--{algorithm}."
    assert short == config(
        f"{name}learning-rate 1e-4 {name}num_envs=8 {name}no-clip-value {name}hidden 8 16 {name}recurrent"
    )
    assert (short.learning_rate, short.num_envs, short.clip_value, short.hidden) == (1e-4, 8, False, (8, 16))
    assert short.recurrent


def test_an_option_of_the_command_goes_before_a_setting_of_the_same_name() -> None:
    @dataclasses.dataclass(frozen=True)
    class Inner:
        seeds: int = 1
        rate: float = 1.0

    outer = dataclasses.make_dataclass(
        "Outer", [("seeds", int, 1), ("inner", Inner, dataclasses.field(default=Inner()))]
    )
    assert with_prefix(outer, ["--seeds", "3", "--rate=2", "--", "rate"], "inner") == [
        *("--seeds", "3", "--inner.rate=2", "--", "rate"),
    ]


def test_numbers_and_grids() -> None:
    from jaxmarl_suite.algorithms import get

    config = get("mappo").default_config
    grid = parse_grid(["learning-rate=1e-4,1", "hidden=(8,8),(16,)", "recurrent=true,false", "env.seed=0:2,7"], config)
    assert grid == {
        "learning_rate": [1e-4, 1.0],
        "hidden": [[8, 8], [16]],
        "recurrent": [True, False],
        "env.seed": [0, 1, 7],
    }
    assert take_env_options(["a", "--env.x-y", "-3", "--env.z=true", "--env", "b"]) == (
        {"x_y": -3, "z": True},
        ["a", "--env", "b"],
    )
    assert [literal(text) for text in ("1", "1e3", "none", "a-b", "(1, 2)")] == [1, 1e3, None, "a-b", (1, 2)]


def test_an_interrupt_saves_says_how_to_resume_and_resumes(cli: Cli, in_tmp: Path) -> None:
    sizes = TINY_MAPPO.replace("--total-steps 256", "--total-steps 64000000")
    command = f"{sys.executable} -m jaxmarl_suite.cli train mappo --env matrix/xor --run-dir mine --seeds 2 {sizes}"
    process = subprocess.Popen(
        command.split(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (in_tmp / "mine/checkpoints").is_dir() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert 'interrupted: stopped and saved; continue with "jaxmarl-suite resume mine"' in err
    assert "Traceback" not in err
    assert json.loads((in_tmp / "mine/summary.json").read_text())["status"] == "interrupted"
    found = cli("eval mine --episodes 4 --json").json["evaluations"]
    assert {one["policy"] for one in found} == {"final"}  # nothing was evaluated before the interrupt
    (checkpoint,) = (path for path in (in_tmp / "mine/checkpoints/000-00000").iterdir() if path.name.isdigit())
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    for _ in range(2):  # looking changes nothing
        outcome = cli("eval mine --episodes 4")
        assert "cannot be read" in outcome.err and "before" not in outcome.err
        assert 'no checkpoint that can be read; "jaxmarl-suite resume mine" starts it over' in outcome.error
    assert checkpoint.is_dir()


def test_divergence_is_a_failure_not_a_mistake(cli: Cli, in_tmp: Path) -> None:
    outcome = cli(f"train mappo --env matrix/xor --run-dir mine --mappo.learning-rate 1e38 {TINY_MAPPO}")
    assert outcome.code == 1
    assert "not finite" in outcome.err and "Traceback" not in outcome.err
