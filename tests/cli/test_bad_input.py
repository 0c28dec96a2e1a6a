"""Mistakes: exit code 2, one line that names the thing, what was received, what is accepted; nothing is written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TINY_MAPPO, Cli

XOR = "train mappo --env matrix/xor"
SWEEP = "sweep mappo --env matrix/random-2x3"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("trian mappo", ["unknown command 'trian'", "did you mean 'train'?", "sweep", "algos"]),
        ("--frob", ["unknown option '--frob'"]),
        ("train", ["missing the algorithm", "mappo", "tad-ppo"]),
        ("train mapo --env matrix/xor", ["unknown algorithm 'mapo'", "did you mean 'mappo'?", "happo"]),
        ("train mappo", ["missing --env"]),
        ("train mappo --env matrix/xr", ["unknown environment 'matrix/xr'", "did you mean 'matrix/xor'?"]),
        ("train mappo --env climbing", ["unknown environment 'climbing'", "did you mean 'matrix/climbing'?"]),
        ("train mappo --env smax/3mm", ["unknown environment 'smax/3mm'", "did you mean 'smax/3m'?"]),
        ("train mappo --env mpe/spread", ["unknown environment 'mpe/spread'", "did you mean 'mpe/simple-spread'?"]),
        ("train mappo --env jumanji/lbf-8x8", ["unknown environment", "did you mean 'jumanji/lbf-", "lbf-SxS-Np-Mf"]),
        (f"{XOR} --seed 3", ["unknown option --seed;", "did you mean --seeds?"]),
        (f"{XOR} --learning_rte 3", ["unknown option --learning_rte;", "did you mean --mappo.learning-rate?"]),
        (f"{XOR} --lr 3", ["unknown option --lr;", "did you mean --mappo.learning-rate?"]),
        (f"{XOR} --learning-rate abc", ["--mappo.learning-rate", "'abc'"]),
        (f"{XOR} --happo.clip 0.1", ["--happo.clip", "did you mean --mappo.clip?"]),
        (f"{XOR} --grid clip=1", ["--grid", "sweep"]),
        (f"{XOR} extra", ["unexpected argument: extra"]),
        (f"{XOR} --seeds 0", ["seeds must be at least 1, got 0"]),
        (f"{XOR} --seeds -1", ["seeds must be at least 1, got -1"]),
        (f"{XOR} --seeds 1e12", ["seeds must stay below 2**31", "999999999999"]),
        (f"{XOR} --seeds 1000000000", ["1,000,000,000 lanes", "at most 100,000"]),
        (f"{XOR} --seeds 1.5", ["--seeds", "expected an integer, got '1.5'"]),
        (f"{XOR} --total-steps 1e30", ["total_steps must be at most 2,147,483,647"]),
        (f"{XOR} --total-steps 10", ["total_steps must cover at least one update", "got 10"]),
        (f"{XOR} --lane-mode foo", ["'foo'", "--lane-mode", "'auto', 'map', 'vmap', 'envs'"]),
        (f"{XOR} --sinks tensorbord", ["'tensorbord'", "--sinks", "'tensorboard', 'wandb'"]),
        (f"{XOR} --mappo.num-envs -3", ["num_envs must be at least 1, got -3"]),
        (f"{XOR} --mappo.learning-rate nan", ["learning_rate must be finite and not negative, got nan"]),
        (f"{XOR} --mappo.critic-learning-rate inf", ["critic_learning_rate must be finite and not negative, got inf"]),
        (f"{XOR} --mappo.adam-eps -1", ["adam_eps must be finite and not negative, got -1"]),
        (f"{XOR} --mappo.huber-delta -1", ["huber_delta must be finite and positive, got -1"]),
        (f"{XOR} --mappo.clip nan", ["clip must be finite and not negative, got nan"]),
        (f"{XOR} --checkpoint-seconds nan", ["checkpoint_seconds must be finite and not negative, got nan"]),
        (f"{XOR} --checkpoint-seconds -1", ["checkpoint_seconds must be finite and not negative, got -1"]),
        (f"{XOR} --memory-gib inf", ["memory_gib must be finite and positive, got inf"]),
        (f"{XOR} --memory-gib nan", ["memory_gib must be finite and positive, got nan"]),
        (f"{XOR} --mappo.learning-rate abc", ["--mappo.learning-rate", "'abc'"]),
        (f"{XOR} --mappo.value-loss hubr", ["'hubr'", "'mse', 'huber'"]),
        (
            f"{XOR} --mappo.clip-value abc",
            ["--mappo.clip-value takes no value, got 'abc'; write --mappo.clip-value for"],
        ),
        (
            f"{XOR} --mappo.clip-value=abc",
            ["--mappo.clip-value takes no value, got 'abc'", "--mappo.no-clip-value for F"],
        ),
        (f"{XOR} --mappo.normalize-values True", ["--mappo.normalize-values takes no value, got 'True'"]),
        (
            f"{XOR} --no-normalize-values 1",
            ["--mappo.no-normalize-values takes no", "write --mappo.normalize-values for"],
        ),
        (f"{XOR} --resume yes", ["--resume takes no value, got 'yes'; write --resume alone;"]),
        (f"{XOR} --hidden 8 b", ["--mappo.hidden: expected any number of values, each an integer, got '8 b'"]),
        (f"{XOR} --devices x", ["--devices: expected an integer, or None, got 'x'"]),
        (f"{XOR} --seeds 3 4", ["unexpected argument: 4 after --seeds 3, which takes one value"]),
        (f"{XOR} --seeds", ["--seeds needs a value"]),
        (f"{XOR} --lane-mode", ["--lane-mode needs a value"]),
        (f"{XOR} -x", ["unexpected argument: -x;"]),
        ("plot x --kind foo", ["--kind: expected one of 'eval', 'train', got 'foo'"]),
        ("trace cache d --capacities a", ["--capacities: expected any number of values, each an integer, got 'a'"]),
        (f"{XOR} --mappo.minibatches 7", ["minibatches must divide", "got 7"]),
        (f"{XOR} --env.horizon 0", ["matrix/xor: horizon must be an integer of at least 1, got 0"]),
        (
            f"{XOR} --env.horizon 9223372036854775808",
            ["matrix/xor: horizon must fit into 32 bits, got 92233720368547758"],
        ),
        ("eval --env rag/cache-L0 --seed 99999999999", ["seed must be in 0..2,147,483,647, got 99999999999"]),
        (f"{XOR} --env.horizn 3", ["matrix/xor: unknown option 'horizn'", "accepted: horizon"]),
        (f"{XOR} --env.horizon", ["--env.horizon needs a value"]),
        (f"{XOR} --env.horizon=1 --env.horizon 2", ["--env.horizon is given twice"]),
        ("train td3 --env matrix/xor", ["td3 supports continuous actions, but 'matrix/xor' has discrete ones"]),
        ("train sac --env matrix/xor --sac.capacity 3", ["capacity must hold the 50 steps of one update", "got 3"]),
        ("train td3 --env toy/chain --td3.gamma nan", ["gamma must lie between 0 and 1, got nan"]),
        ("train gem-q --env toy/chain --gem-q.policy-delay 2", ["unknown option --gem-q.policy-delay"]),
        ("sweep gem-q --env toy/chain --grid n-step=1,3", ["no field 'n_step' in the config of gem-q", "max_steps"]),
        ("train masca --env matrix/xor", ["unknown algorithm 'masca'", "did you mean 'masac'?"]),
        (f"{XOR} --env.variant xor", ["matrix/xor: unknown option 'variant'"]),
        (f"{XOR} --env.env-id x", ["matrix/xor: unknown option 'env_id'"]),
        (f"{XOR} --run-dir {'x' * 300}", ["xxx' cannot be written: File name too long"]),
        ("train mappo --env matrix", ["names a family only", "matrix/climbing"]),
        (f"table {'x' * 300}", ["xxx': File name too long"]),
        (f"eval {'x' * 300}", ["xxx/config.json': File name too long"]),
        (f"dataset make a {'x' * 300}", ["xxx': File name too long"]),
        (f"resume {'x' * 300}", ["xxx/config.json': File name too long"]),
        (f"{XOR} --resume", ["--resume needs --run-dir"]),
        (SWEEP, ["missing --grid"]),
        (f"{SWEEP} --grid learning-rte=1,2", ["no field 'learning_rte'", "did you mean 'learning_rate'?", "env.NAME"]),
        (f"{SWEEP} --grid lr=1,2", ["no field 'lr'", "did you mean 'learning_rate'?"]),
        (f"{SWEEP} --grid clip", ["--grid needs FIELD=VALUE", "'clip'"]),
        (f"{SWEEP} --grid clip=", ["--grid needs FIELD=VALUE", "'clip='"]),
        (f"{SWEEP} --grid clip=1,,2", ["'clip=1,,2'", "empty value"]),
        (f"{SWEEP} --grid clip=a,b", ["clip must be float, got 'a'"]),
        (f"{SWEEP} --grid learning-rate=1e-3,nan", ["learning_rate must be finite and not negative, got nan"]),
        (f"{SWEEP} --grid clip=1,inf", ["clip must be finite and not negative, got inf"]),
        (f"{SWEEP} --grid clip=1,1.0", ["'clip=1,1.0'", "twice"]),
        (f"{SWEEP} --grid clip=0.1 --grid clip=0.2", ["'clip' is given twice"]),
        (f"{SWEEP} --grid num-envs=inf", ["num_envs must be int, got 'inf'"]),
        (f"{SWEEP} --grid num-envs=1e400", ["num_envs must be int, got '1e400'"]),
        (f"{SWEEP} --grid num-envs=-1,4", ["num_envs must be at least 1, got -1"]),
        (f"{SWEEP} --grid env.sed=0:5", ["matrix/random-2x3: unknown option 'sed'", "seed"]),
        (f"{SWEEP} --grid env.seed=5:5", ["range 5:5 is empty"]),
        (f"{SWEEP} --grid env.seed=0:1000000000", ["1,000,000,000 values", "at most 100,000"]),
        (f"{SWEEP} --grid env.seed=0:5000 --seeds 50", ["5,000 points x 50 seeds are 250,000 lanes"]),
        ("resume nowhere", ["'nowhere' is not a run folder"]),
        ("eval nowhere", ["'nowhere' is not a run folder"]),
        ("eval nowhere --episodes 0", ["episodes must be in 1..10,000,000, got 0"]),
        ("eval nowhere --episodes 1e9", ["episodes must be in 1..10,000,000, got 1,000,000,000"]),
        ("eval nowhere --render x.jpg", ["x.jpg", ".gif or .png"]),
        ("eval nowhere --render x.png --fps 5", ["--fps 5", "needs --render FILE.gif"]),
        ("eval nowhere --fps 5", ["needs --render FILE.gif"]),
        ("eval nowhere --render x.gif --fps 0", ["--fps must be from 0.0167 to 50, got 0"]),
        ("eval nowhere --render x.gif --fps 1000", ["--fps must be from 0.0167 to 50, got 1000"]),
        ("table nowhere", ["nowhere", "no such run folder"]),
        ("plot", ["missing RUN"]),
        ("export nowhere", ["missing --out"]),
        ("envs --family matri", ["unknown family 'matri'", "did you mean 'matrix'?", "hallway"]),
        ("envs --check nomodule:A", ["cannot import 'nomodule'"]),
        ("envs --check json:Decoder", ["no 'Decoder' in 'json'"]),
        ("envs --check nothing", ["MODULE:CLASS", "'nothing'"]),
        ("algos mapo", ["unknown algorithm 'mapo'", "did you mean 'mappo'?"]),
        ("bench env-steppin", ["unknown benchmark 'env-steppin'", "did you mean 'env-stepping'?"]),
        ("plan mappo --env matrix/xor --seeds 0", ["seeds must be at least 1, got 0"]),
    ],
)
def test_one_line_and_exit_code_2(cli: Cli, in_tmp: Path, line: str, parts: list[str]) -> None:
    error = cli(line).error
    for part in parts:
        assert part in error
    assert not list(in_tmp.iterdir())


def test_a_missing_extra_is_named_with_its_remedy(cli: Cli, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxmarl_envs.adapters._packages.is_installed", lambda package: False)
    monkeypatch.setattr("jaxmarl_envs.adapters.is_installed", lambda package: False)
    for env_id in ("smax/3m", "mpe/simple-spread", "hanabi/full-2p", "overcooked/cramped_room"):
        error = cli(f"train mappo --env {env_id}").error
        for part in (env_id, "'jaxmarl'", "not installed", 'pip install "jaxmarl-suite[jaxmarl]"'):
            assert part in error
    assert not list(in_tmp.iterdir())
    listed = cli("envs")
    assert "smax/3m" in listed.out and 'pip install "jaxmarl-suite[jaxmarl]"' in listed.out and listed.code == 0


def test_json_mode_reports_the_error_as_its_last_line(cli: Cli) -> None:
    outcome = cli(f"--json {XOR} --seeds 0")
    assert outcome.json == {"command": "train", "exit_code": 2, "error": "seeds must be at least 1, got 0"}
    assert "seeds must be at least 1" in outcome.error


def test_debug_adds_the_traceback(cli: Cli) -> None:
    outcome = cli(f"{XOR} --seeds 0 --debug")
    assert outcome.code == 2 and "Traceback" in outcome.err


@pytest.mark.parametrize("command", ["resume run", "eval run", "dataset make run new"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "run/config.json must hold a JSON object, found list"),
        ("{}", "'run' has schema None; this version reads 1"),
        ('{"schema": 2}', "'run' has schema 2; this version reads 1"),
        ('{"schema": 1}', "run/config.json: 'algorithm' must be a str, got None"),
    ],
)
def test_a_config_that_is_none(cli: Cli, in_tmp: Path, command: str, content: str, words: str) -> None:
    (in_tmp / "run").mkdir()
    (in_tmp / "run" / "config.json").write_text(content)
    assert words in cli(command).error


def test_an_interrupt_says_what_is_kept(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxmarl_suite.cli._main._run", interrupted)
    outcome = cli(XOR)
    assert outcome.code == 130
    assert outcome.err == "interrupted: stopped at once; nothing was saved since the last checkpoint\n"


@pytest.mark.parametrize(("number", "code"), [(errno.EACCES, 2), (errno.ENOSPC, 1)])
def test_paths_are_the_users_a_full_disk_is_not(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number), "priv/x")

    monkeypatch.setattr("jaxmarl_suite.cli._main._run", fails)
    outcome = cli(XOR)
    assert outcome.code == code and "'priv/x'" in outcome.err and os.strerror(number) in outcome.err


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_is_never_overwritten(cli: Cli, finished_run: Path) -> None:
    before = _contents(finished_run)
    error = cli(f"{XOR} --run-dir {finished_run}").error
    assert "already holds a run" in error and f"resume {finished_run}" in error
    assert _contents(finished_run) == before


def test_other_files_are_not_overwritten_either(cli: Cli, in_tmp: Path) -> None:
    (in_tmp / "folder").mkdir()
    (in_tmp / "folder" / "thesis.tex").write_text("all of it")
    assert "not an empty folder" in cli(f"{XOR} --run-dir folder").error
    assert "not an empty folder" in cli(f"{XOR} --run-dir folder/thesis.tex").error
    assert (in_tmp / "folder" / "thesis.tex").read_text() == "all of it"


def test_a_folder_that_cannot_be_written(cli: Cli) -> None:
    error = cli(f"{XOR} --run-dir /proc/no/run").error
    assert "'/proc/no/run' cannot be written" in error


def test_another_configuration_is_refused_field_by_field(cli: Cli, finished_run: Path) -> None:
    before = _contents(finished_run)
    error = cli(f"{XOR} --run-dir {finished_run} --resume --seeds 2 {TINY_MAPPO} --mappo.clip 0.3").error
    assert "config.clip is 0.2 in the run, got 0.3" in error
    assert "seeds" not in error
    error = cli(f"{XOR} --run-dir {finished_run} --resume --seeds 2 {TINY_MAPPO} --sinks tensorboard").error
    assert "sinks is [] in the run, got ['tensorboard']" in error
    assert _contents(finished_run) == before


def test_questions_that_a_run_cannot_answer(cli: Cli, finished_run: Path, in_tmp: Path) -> None:
    assert "no lane 9" in cli(f"eval {finished_run} --lane 9").error
    assert "no eval metric 'retrn'; it has length, return" in cli(f"plot {finished_run} --metric retrn").error
    assert "'.bmp'; accepted: .png, .svg, .pdf" in cli(f"plot {finished_run} --out x.bmp").error
    assert "'.xlsx'" in cli(f"export {finished_run} --out x.xlsx").error
    assert "cannot be written" in cli(f"export {finished_run} --out /proc/no/x.json").error
    assert not list(in_tmp.iterdir())


BROKEN = """
import dataclasses, jax.numpy as jnp
from jaxmarl_envs import EnvSpec, restart, transition

@dataclasses.dataclass(frozen=True)
class Broken:
    default_params = None
    @property
    def spec(self):
        return EnvSpec("mine/broken", n_agents=2, obs_shape=(3,), num_actions=2)
    def reset(self, key, params):
        return jnp.zeros(()), restart(self.spec, obs=jnp.zeros((2, 4)))
    def step(self, key, state, action, params):
        return state, transition(self.spec, obs=jnp.zeros((2, 4)), reward=0.0, terminated=True)

def needs(argument):
    return argument

class Faulty(Broken):
    def __init__(self):
        None + 1
"""


def test_an_environment_that_breaks_the_protocol(cli: Cli, in_tmp: Path) -> None:
    (in_tmp / "my_broken_env.py").write_text(BROKEN)
    error = cli("envs --check my_broken_env:Broken")
    assert "'mine/broken' breaks the protocol" in error.error
    assert "obs" in error.err and "[2, 4]" in error.err
    assert "did you mean 'Broken'?" in cli("envs --check my_broken_env:Brokn").error
    assert "cannot be made without arguments" in cli("envs --check my_broken_env:needs").error
    faulty = cli("envs --check my_broken_env:Faulty")
    assert faulty.code == 1 and faulty.err.startswith("error: TypeError: unsupported operand")


def test_a_fresh_process_reports_mistakes_the_same_way(in_tmp: Path) -> None:
    command = [sys.executable, "-m", "jaxmarl_suite.cli", *f"{XOR} --seeds 0".split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: seeds must be at least 1, got 0\n")
