"""`trace`: every command once, what it refuses, and a replay against a small server that streams."""

import asyncio
import json
import threading
import time

import numpy as np
import pytest
from jaxmarl_envs.rag.trace import generate_trace
from jaxmarl_envs.rag.trace._writer import TraceWriter
from jaxmarl_envs.rag.trace.replay import ReplayOptions, prompts, replay, send_times

from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from jaxmarl_envs.rag.trace import write_generated

    path = tmp_path_factory.mktemp("trace") / "made"
    write_generated(path, 200, 1)
    return path


def test_stats(cli: Cli, folder):
    started = time.perf_counter()
    outcome = cli(f"trace stats {folder} --json")
    assert outcome.code == 0 and time.perf_counter() - started < 3
    assert outcome.json["tables"]["sessions"]["sessions"] == 200
    assert outcome.json["tables"]["hit ratios"]["64"].keys() == {"LRU", "LFU", "LFU-DA", "MIN", "LRU shuffled"}
    for word in ("classes", "rank-frequency slope", "strict prefix", "turn gap p99, s"):
        assert word in outcome.err
    assert cli(f"trace stats {folder} --view overlay").code == 0


def test_plot_and_cache(cli: Cli, folder, in_tmp):
    outcome = cli(f"trace plot {folder} --out sheet.png")
    assert outcome.code == 0 and (in_tmp / "sheet.png").read_bytes().startswith(b"\x89PNG")
    curves = cli(f"trace cache {folder} --capacities 32 64 --json").json["hit_ratios"]
    assert set(curves) == {"FIFO", "LRU", "LFU", "LFU-DA", "GDSF", "MIN"}
    assert all(curve[0] <= curves["MIN"][0] for curve in curves.values())
    tokens = cli(f"trace cache {folder} --capacities 8192 --tokens --policies LRU GDSF --json").json["hit_ratios"]
    assert set(tokens) == {"LRU", "GDSF"} and 0 < tokens["LRU"][0] < 1


def test_generate(cli: Cli, in_tmp):
    outcome = cli("trace generate made --sessions 20 --seed 3 --json")
    assert outcome.code == 0 and outcome.json["requests"] == len(generate_trace(20, 3))
    assert "choose another" in cli("trace generate made --sessions 20").error


def test_a_trace_is_whole_or_not_there(cli: Cli, in_tmp):
    assert cli("trace generate made --sessions 1000000000000").code == 2
    assert list(in_tmp.iterdir()) == [], "the corrected command has the folder to itself"
    with pytest.raises(RuntimeError, match="stopped"), TraceWriter(in_tmp / "made") as writer:
        writer.write_requests(generate_trace(3, 1))
        assert not (in_tmp / "made").exists()
        raise RuntimeError("stopped")
    assert list(in_tmp.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trace stat", ["unknown command 'trace stat'", "did you mean 'stats'?", "replay"]),
        ("trace stats", ["missing DIR"]),
        ("trace stats nowhere", ["'nowhere' is not one"]),
        ("trace stats . --view x", ["'x'", "'unwrapped', 'overlay'"]),
        ("trace plot FOLDER --out x.gif", ["ends in .png, .pdf, .svg", "'x.gif'"]),
        ("trace cache FOLDER --policies lru", ["unknown eviction rule 'lru'"]),
        ("trace cache FOLDER --capacities 0", ["at least 1, got 0"]),
        ("trace generate made --sessions 0", ["got 0"]),
        ("trace replay localhost --model m", ["must begin with http://", "'localhost'"]),
        ("trace replay http://localhost --model m --rate 0", ["rate must be finite and positive, got 0"]),
    ],
)
def test_refuses(cli: Cli, folder, in_tmp, line, words):
    error = cli(line.replace("FOLDER", str(folder))).error
    for word in words:
        assert word in error


def test_bad_lines_are_listed_or_left_out(cli: Cli, folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes() + (b"{\n" * 3 if path.name[0] == "0" else b""))
    outcome = cli(f"trace stats {copy}")
    assert outcome.code == 2 and outcome.err.count("0_trace.jsonl:") == 3
    outcome = cli(f"trace stats {copy} --no-strict --json")
    assert outcome.json["dropped"] == {"bad JSON": 3} and "left out 3 lines: 3 bad JSON" in outcome.err


class StreamingServer:
    """Answers POST /v1/completions with `max_tokens` events; the first after `wait` seconds, each further after `pause`."""

    def __init__(self, wait: float, pause: float, status: int = 200):
        self.wait, self.pause, self.status = wait, pause, status
        self.bodies: list[dict] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        assert self._ready.wait(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()

    async def _answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        self.bodies.append(body)
        writer.write(
            f"HTTP/1.1 {self.status} X\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n".encode()
        )
        for index in range(body["max_tokens"] if self.status == 200 else 0):
            await asyncio.sleep(self.pause if index else self.wait)
            writer.write(b'data: {"choices": [{"text": "a"}]}\n\n')
            await writer.drain()
        writer.write(b"data: [DONE]\n\n")
        writer.close()

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)


def test_replay_measures_a_server():
    trace = generate_trace(20, seed=1)
    trace = type(trace)(**{**vars(trace), "output_length": np.full(len(trace), 5, np.int32)})
    server = StreamingServer(wait=0.05, pause=0.01)
    report = replay(trace, ReplayOptions(server.url, "tiny", rate=100.0, requests=12, ttft_slo=5.0, tpot_slo=5.0))
    server.stop()
    assert report["requests"] == 12 and report["failed"] == 0 and report["SLO attainment"] == 1.0
    assert 0.05 <= report["TTFT p50"] < 1.0 and 0.01 <= report["TPOT mean"] < 0.5
    assert len(server.bodies) == 12 and {body["model"] for body in server.bodies} == {"tiny"}
    assert sorted(body["prompt"] for body in server.bodies) == sorted(prompts(trace)[:12])
    assert report["output tokens per second"] == pytest.approx(5 * report["requests per second"])


def test_replay_reports_failures(cli: Cli):
    server = StreamingServer(0.0, 0.0, status=503)
    report = cli(f"trace replay {server.url} --model m --requests 2 --rate 100 --sessions 5 --json").json
    server.stop()
    assert report["failed"] == 2 and report["SLO attainment"] == 0 and report["first error"] == "status 503"


def test_prompts_and_send_times():
    trace = generate_trace(40, seed=2)
    texts = prompts(trace)
    words = sum(trace.part_tokens(part) for part in trace.parts)
    assert [len(text.split()) for text in texts] == words.tolist()
    same_start = [text.split()[:512] for text in texts]
    assert len({tuple(start) for start in same_start}) <= 3  # the first system chunk names the class
    times = send_times(trace, rate=2.0)
    assert times[0] == 0 and (np.diff(times) >= 0).all()
    assert (len(trace) - 1) / times[-1] == pytest.approx(2.0)
