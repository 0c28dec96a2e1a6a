"""Sends a trace to an OpenAI-compatible endpoint, open loop: requests are sent on schedule, however slow the server is.

Prompts have the recorded lengths, at about one token per word; equal ids become equal text. Needs httpx2 (extra `replay`).
"""

import asyncio
import dataclasses
import json
import math
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxmarl_envs.rag.trace._schema import PARTS
from jaxmarl_envs.rag.trace._trace import Trace

MAX_GAP = 1800
"""Longer gaps between recorded requests are cut to this many seconds before they are scaled."""
_COMMON = (
    "the of and to in is that it for on with as was at by from or an be this are not have but one all we can her his "
    "there their what so up out if about who get which go me when make like time no just him know take people into year"
)
_WORDS = _COMMON.split()


@dataclasses.dataclass(frozen=True)
class ReplayOptions:
    """Endpoint, load and objectives.

    Raises:
      ValueError: for an invalid URL or a number out of range.
    """

    url: str
    """Base URL; `/completions` is appended."""
    model: str
    rate: float = 1.0
    """Average requests per second."""
    requests: int = 100
    """Number of requests to send, from the first on."""
    ttft_slo: float = 1.0
    """Objective for the time to the first token, in seconds."""
    tpot_slo: float = 0.02
    """Objective for the time per token after the first, in seconds."""
    timeout: float = 600.0
    """Seconds after which a request counts as failed."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the endpoint's URL must begin with http:// or https://, got {self.url!r}")
        if self.requests < 1:
            raise ValueError(f"requests must be at least 1, got {self.requests}")
        for name in ("rate", "ttft_slo", "tpot_slo", "timeout"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be finite and positive, got {value}")


@dataclasses.dataclass(frozen=True)
class Served:
    """The outcome of one request; times in seconds since it was sent."""

    first: float
    """Time of the first token; infinite if none came."""
    done: float
    tokens: int
    error: str = ""


def replay(trace: Trace, options: ReplayOptions, progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Latencies (in seconds), throughput and SLO attainment, by name.

    Raises:
      ValueError: if httpx2 is not installed.
    """
    try:
        import httpx2
    except ImportError:
        raise ValueError("replaying needs httpx2: pip install 'jaxmarl-suite[replay]'") from None
    trace = trace.take(np.arange(min(options.requests, len(trace))))
    progress(f"sending {len(trace)} requests to {options.url}")
    started = time.perf_counter()
    served = asyncio.run(_send_all(httpx2, trace, options))
    return summarize(served, time.perf_counter() - started, options)


def send_times(trace: Trace, rate: float) -> np.ndarray:
    """[M] float64, seconds: gaps of at most `MAX_GAP`, scaled to `rate` requests per second on average."""
    gaps = np.minimum(np.diff(trace.time, prepend=trace.time[0]), MAX_GAP).astype(float)
    total = gaps.sum()
    return np.cumsum(gaps) * ((len(gaps) - 1) / rate / total if total else 0.0)


def prompts(trace: Trace) -> list[str]:
    """One text per request, with one word per token; parts in the order of the trace."""
    texts: dict[int, str] = {}
    written: list[list[str]] = [[] for _ in range(len(trace))]
    for part in PARTS:
        ragged = trace.parts[part]
        lengths = trace.tables[part].find(ragged.ids)
        for owner, chunk, length in zip(ragged.owners.tolist(), ragged.ids.tolist(), lengths.tolist()):
            if chunk not in texts:
                texts[chunk] = " ".join(random.Random(chunk).choices(_WORDS, k=length))
            written[owner].append(texts[chunk])
    return [" ".join(parts) for parts in written]


async def _send_all(httpx2: Any, trace: Trace, options: ReplayOptions) -> list[Served]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx2.AsyncClient(timeout=options.timeout, limits=limits) as client:
        begin = time.perf_counter()

        async def send(at: float, prompt: str, tokens: int) -> Served:
            await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
            return await _send(client, httpx2.HTTPError, options, prompt, tokens)

        columns = zip(send_times(trace, options.rate).tolist(), prompts(trace), trace.output_length.tolist())
        return list(await asyncio.gather(*(send(*column) for column in columns)))


async def _send(client: Any, failure: type[Exception], options: ReplayOptions, prompt: str, tokens: int) -> Served:
    body = {"model": options.model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
    started, first, count = time.perf_counter(), math.inf, 0
    try:
        async with client.stream("POST", options.url.rstrip("/") + "/completions", json=body) as response:
            if response.status_code != 200:
                return Served(math.inf, math.inf, 0, f"status {response.status_code}")
            async for line in response.aiter_lines():
                text = line.removeprefix("data:").strip()
                if not line.startswith("data:") or text == "[DONE]":
                    continue
                choices = json.loads(text).get("choices") or [{}]
                if choices[0].get("text"):
                    first = min(first, time.perf_counter() - started)
                    count += 1
    except (failure, ValueError, AttributeError, IndexError) as error:  # broken connection or malformed stream
        return Served(math.inf, math.inf, 0, f"{type(error).__name__}: {error}")
    done = time.perf_counter() - started
    return Served(first, done, count, "" if count else "no token came")


def summarize(served: list[Served], seconds: float, options: ReplayOptions) -> dict[str, Any]:
    """The report. Failed requests are left out of the latencies, and count as missed in the SLO attainment."""
    good = [one for one in served if not one.error]
    first = np.array([one.first for one in good])
    per_token = np.array([(one.done - one.first) / (one.tokens - 1) if one.tokens > 1 else 0.0 for one in good])
    attained = (first <= options.ttft_slo) & (per_token <= options.tpot_slo)
    report: dict[str, Any] = {
        "requests": len(served),
        "failed": len(served) - len(good),
        "seconds": seconds,
        "requests per second": len(good) / seconds,
        "output tokens per second": sum(one.tokens for one in good) / seconds,
        "SLO attainment": float(attained.sum() / len(served)),
    }
    if good:
        report |= {
            "TTFT mean": float(first.mean()),
            "TTFT p50": float(np.percentile(first, 50)),
            "TTFT p99": float(np.percentile(first, 99)),
            "TPOT mean": float(per_token.mean()),
            "TPOT p99": float(np.percentile(per_token, 99)),
        }
    errors = [one.error for one in served if one.error]
    return report | ({"first error": errors[0]} if errors else {})
