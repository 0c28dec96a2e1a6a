"""Statistics of a trace: lengths, load, sessions, skew, locality, and hit ratios of caches."""

from typing import Any

import numpy as np

from jaxmarl_envs.rag.trace._caches import NEVER, hit_ratio_curve, next_uses
from jaxmarl_envs.rag.trace._schema import DAY, PARTS, WEEK
from jaxmarl_envs.rag.trace._trace import Trace

CAPACITIES = (32, 64, 128, 256, 512)
HOUR = 3600
REUSE_WITHIN = {"1 min": 60, "5 min": 300, "1 h": HOUR, "1 day": DAY}
_LEVELS = (5, 50, 95, 99, 100)
_SHUFFLE_SEED = 0

Table = dict[str, Any]


def statistics(trace: Trace) -> dict[str, Table]:
    """All tables by name; a table contains numbers by name, or rows of them.

    For shuffled counterparts the order of whole requests is drawn with a fixed seed.
    """
    docs = trace.docs
    stream = docs[docs >= 0]
    tables = {
        "classes": class_table(trace),
        "lengths": length_table(trace),
        "prompts": prompt_table(trace),
        "load": load_table(trace),
        "sessions": session_table(trace),
        "reuse ceilings": reuse_ceilings(trace),
    }
    if len(stream):
        tables |= {"skew": skew_table(trace), "locality": locality_table(trace), "hit ratios": hit_table(trace)}
    return tables


def classes(trace: Trace) -> tuple[list[str], np.ndarray]:
    """Names of the request classes, and the class of each request, [M] int64. A class shares its first system chunk.

    Classes without passages are named C, those with results of a web search B, and others A; a number is appended if the
    name is taken. The most common class comes first.
    """
    system = trace.parts["sys_prompt"]
    has_system = system.counts > 0
    first = np.full(len(trace), -1, np.int64)
    first[has_system] = system.ids[system.offsets[:-1][has_system]]
    _, index, counts = np.unique(first, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.argsort(order)
    names: list[str] = []
    for place in order:
        own = index == place
        has_passages = (trace.docs[own, 0] >= 0).any()
        has_web = (trace.parts["web_search"].counts[own] > 0).any()
        name = "C" if not has_passages else "B" if has_web else "A"
        same = sum(other[0] == name for other in names)
        names.append(name + (str(same + 1) if same else ""))
    return names, rank[index]


def class_table(trace: Trace) -> Table:
    """Requests, share, and output tokens (mean, median, standard deviation of the logarithm) per class."""
    names, index = classes(trace)
    rows = {}
    for place, name in enumerate(names):
        output = trace.output_length[index == place]
        rows[name] = {
            "requests": len(output),
            "share": len(output) / len(trace),
            "output mean": output.mean(),
            "output median": float(np.median(output)),
            "output log-sd": np.log(output).std(),
        }
    return rows


def length_table(trace: Trace) -> Table:
    """Mean and percentiles of tokens of inputs, outputs, passages of the corpus, and questions."""
    columns = {
        "input": trace.input_length,
        "output": trace.output_length,
        "passage, corpus": trace.tables["passages_ids"].lengths,
        "question": trace.part_tokens("user_input"),
    }
    names = [f"p{level}" for level in _LEVELS[:-1]] + ["max"]
    return {
        name: {"mean": values.mean(), **dict(zip(names, np.percentile(values, _LEVELS)))}
        for name, values in columns.items()
        if len(values)
    }


def prompt_table(trace: Trace) -> Table:
    """Passages per request, token shares of the prompt's parts, and repeated questions."""
    counts = np.bincount(trace.n_docs, minlength=8) / len(trace)
    total = trace.input_length.sum()
    question = trace.parts["user_input"]
    has_one = question.counts == 1
    ids = question.ids[question.offsets[:-1][has_one]]
    _, index, times = np.unique(ids, return_inverse=True, return_counts=True)
    lists = np.sort(trace.docs[has_one], axis=1)
    order = np.argsort(index, kind="stable")
    same = (lists[order[1:]] == lists[order[:-1]]).all(axis=1) | (index[order[1:]] != index[order[:-1]])
    differs = np.zeros(len(times), bool)
    differs[index[order[1:]][~same]] = True
    repeated = times > 1
    spread = trace.input_length.std() * trace.output_length.std()
    return {
        **{f"requests with {count} passages": share for count, share in enumerate(counts) if share},
        **{f"token share of {part}": trace.part_tokens(part).sum() / total for part in PARTS},
        "correlation of input and output": np.corrcoef(trace.input_length, trace.output_length)[0, 1]
        if spread
        else 0.0,
        "questions asked more than once": repeated.mean() if len(times) else 0.0,
        "of these with equal passages": float((~differs[repeated]).mean()) if repeated.any() else 0.0,
    }


def load_table(trace: Trace) -> Table:
    """Request rates and their dispersion."""
    time = trace.time - trace.time[0] // HOUR * HOUR
    span = max(int(trace.time[-1] - trace.time[0]), 1)
    gaps = np.diff(trace.time)
    starts = session_starts(trace) - trace.time[0] // HOUR * HOUR
    hourly = np.bincount(time // HOUR)
    return {
        "requests": len(trace),
        "days": span / DAY,
        "requests per second": len(trace) / span,
        "requests per hour, mean": hourly.mean(),
        "requests per hour, max": hourly.max(),
        "gap mean, s": gaps.mean() if len(gaps) else 0.0,
        "gap coefficient of variation": gaps.std() / gaps.mean() if len(gaps) and gaps.mean() else 0.0,
        "dispersion of requests per minute": dispersion(time),
        "dispersion of session starts per minute": dispersion(starts),
    }


def dispersion(time: np.ndarray) -> float:
    """Variance over mean of the counts per minute within hours, pooled over all hours: 1 for a Poisson process."""
    if not len(time):
        return 0.0
    counts = np.bincount(time // 60, minlength=(int(time.max()) // HOUR + 1) * 60).reshape(-1, 60)
    return float(counts.var(axis=1, ddof=1).sum() / counts.mean(axis=1).sum())


def hourly_profile(trace: Trace, start_hour: int = 12) -> np.ndarray:
    """[24] float64, requests per hour by hour of the day, of a trace whose time 0 is `start_hour`."""
    hours = np.bincount(trace.time // HOUR)
    of_day = (np.arange(len(hours)) + start_hour) % 24
    days = np.bincount(of_day, minlength=24)
    return np.bincount(of_day, weights=hours, minlength=24) / np.maximum(days, 1)


def session_starts(trace: Trace) -> np.ndarray:
    """[S] int64, times of the sessions' first requests, ascending."""
    return np.sort(trace.time[np.unique(trace.session, return_index=True)[1]])


def turn_gaps(trace: Trace) -> np.ndarray:
    """[M - S] int64, seconds between consecutive requests of a session."""
    order = np.argsort(trace.session, kind="stable")
    same = trace.session[order[1:]] == trace.session[order[:-1]]
    return np.diff(trace.time[order])[same]


def session_table(trace: Trace) -> Table:
    """Turns per session, and percentiles of the gaps between turns."""
    turns = np.bincount(trace.session)
    turns, gaps = turns[turns > 0], turn_gaps(trace)
    levels = (5, 50, 75, 90, 95, 99)
    return {
        "sessions": len(turns),
        "turns, mean": turns.mean(),
        "turns, max": turns.max(),
        "single-turn sessions": (turns == 1).mean(),
        **({f"turn gap p{p}, s": value for p, value in zip(levels, np.percentile(gaps, levels))} if len(gaps) else {}),
    }


def popularity(trace: Trace) -> np.ndarray:
    """[D] int64, references to each passage of the corpus, descending."""
    corpus = trace.tables["passages_ids"].ids
    stream = trace.docs[trace.docs >= 0]
    return np.sort(np.bincount(np.searchsorted(corpus, stream), minlength=len(corpus)))[::-1]


def skew_table(trace: Trace) -> Table:
    """How unevenly passages are used."""
    counts = popularity(trace)
    used, total = counts[counts > 0], counts.sum()
    shares = {p: counts[: max(1, round(len(counts) * p / 100))].sum() / total for p in (1, 3, 5, 10)}
    exponent, shift = zipf_mandelbrot(used)
    return {
        "references": total,
        "distinct passages": len(used),
        "corpus never used": 1 - len(used) / len(counts),
        "used once": (used == 1).sum(),
        "most uses": used.max(),
        **{f"share of the top {p} % of the corpus": share for p, share in shares.items()},
        "rank-frequency slope, ranks 1-1000": _slope(used[:1000]),
        "rank-frequency slope, all ranks": _slope(used),
        "Zipf-Mandelbrot exponent": exponent,
        "Zipf-Mandelbrot shift": shift,
    }


def _slope(counts: np.ndarray) -> float:
    if len(counts) < 2:
        return 0.0
    return float(np.polyfit(np.log(np.arange(1, len(counts) + 1)), np.log(counts), 1)[0])


def zipf_mandelbrot(counts: np.ndarray) -> tuple[float, float]:
    """Exponent s and shift q of counts ~ (rank + q)**-s: least squares of logarithms, the shift from a grid of 0..200."""
    if len(counts) < 3:
        return 0.0, 0.0
    ranks, target = np.arange(1, len(counts) + 1), np.log(counts)
    fits = []
    for shift in np.arange(0.0, 201.0, 5.0):
        (slope, _), error, *_ = np.polyfit(np.log(ranks + shift), target, 1, full=True)
        fits.append((float(error[0]) if len(error) else 0.0, -float(slope), float(shift)))
    return min(fits)[1:]


def locality_table(trace: Trace) -> Table:
    """How soon passages are reused, also with the requests shuffled, and the overlap of consecutive requests."""
    seconds, is_same_session = reuse_times(trace)
    shuffled = reuse_times(shuffle_requests(trace))[0]
    rows: Table = {}
    for name, limit in REUSE_WITHIN.items():
        rows[f"repeated within {name}"] = (seconds <= limit).mean()
        rows[f"repeated within {name}, shuffled"] = (shuffled <= limit).mean()
    recent = seconds <= HOUR
    rows["same session, of those within 1 h"] = is_same_session[recent].mean() if recent.any() else 0.0
    retrieving = np.flatnonzero(trace.docs[:, 0] >= 0)
    order = retrieving[np.argsort(trace.session[retrieving], kind="stable")]
    same = trace.session[order[1:]] == trace.session[order[:-1]]
    rows["overlap with the session's last request"] = _mean(_overlap(trace.docs, order[1:], order[:-1])[same])
    rows["overlap with the last request"] = _mean(_overlap(trace.docs, retrieving[1:], retrieving[:-1]))
    rows["hourly overlap, mean"] = _mean(hourly_overlap(trace))
    rows |= _drift(trace)
    return rows


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def shuffle_requests(trace: Trace) -> Trace:
    """The same requests at the same times, in random order."""
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(trace))
    shuffled = trace.take(order)
    return Trace(**{**vars(shuffled), "time": trace.time, "segment": trace.segment})


def reuse_times(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since each referenced passage was last used, [K] (infinite at first), and whether the same session used it."""
    owner = np.nonzero(trace.docs >= 0)[0]
    stream = trace.docs[trace.docs >= 0]
    after = next_uses(stream)
    earlier = np.flatnonzero(after != NEVER)
    later = after[earlier]
    seconds, same = np.full(len(stream), np.inf), np.zeros(len(stream), bool)
    seconds[later] = trace.time[owner[later]] - trace.time[owner[earlier]]
    same[later] = trace.session[owner[later]] == trace.session[owner[earlier]]
    return seconds, same


def _overlap(docs: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[len(left)] float64: the share of passages of each request in `left` that its partner in `right` has as well."""
    shared = ((docs[left][:, :, None] == docs[right][:, None, :]) & (docs[left][:, :, None] >= 0)).any(axis=2)
    return shared.sum(axis=1) / np.maximum((docs[left] >= 0).sum(axis=1), 1)


def hourly_overlap(trace: Trace) -> np.ndarray:
    """[H] float64: the share of an hour's distinct passages that two or more requests used."""
    owner = np.nonzero(trace.docs >= 0)[0]
    pairs = np.stack([trace.time[owner] // HOUR, trace.docs[trace.docs >= 0]], axis=1)
    distinct, uses = np.unique(pairs, axis=0, return_counts=True)
    _, hour = np.unique(distinct[:, 0], return_inverse=True)
    return np.bincount(hour, weights=uses >= 2) / np.bincount(hour)


def _drift(trace: Trace) -> Table:
    owner = np.nonzero(trace.docs >= 0)[0]
    stream, time = trace.docs[trace.docs >= 0], trace.time[owner]
    top = []
    for day in np.unique(time // DAY):
        ids, counts = np.unique(stream[time // DAY == day], return_counts=True)
        top.append(set(ids[np.argsort(-counts, kind="stable")[:50]].tolist()))
    shared = [len(a & b) for a, b in zip(top, top[1:])]  # noqa: RUF007
    rows: Table = {"top 50 shared by adjacent days": f"{min(shared)}-{max(shared)}"} if shared else {}
    week = time // WEEK
    if (week > 0).any() and (week == 0).any():
        rows["references of later weeks unseen in week 1"] = (~np.isin(stream[week > 0], stream[week == 0])).mean()
    return rows


def reuse_ceilings(trace: Trace) -> Table:
    """Shares of input tokens that an infinite cache would hit: with whole prefixes, and with chunks anywhere."""
    owners = [trace.parts[part].owners for part in PARTS]
    ids = np.concatenate([trace.parts[part].ids for part in PARTS])
    tokens = np.concatenate([trace.tables[part].find(trace.parts[part].ids) for part in PARTS])
    order = np.argsort(np.concatenate(owners), kind="stable")  # a request's parts stay in the order of the prompt
    ids, tokens, owner = ids[order], tokens[order], np.concatenate(owners)[order]
    seen_before = np.ones(len(ids), bool)
    seen_before[np.unique(ids, return_index=True)[1]] = False
    nodes: dict[tuple[int, int], int] = {}
    node, last, prefix = 0, -1, 0
    for request, chunk, length in zip(owner.tolist(), ids.tolist(), tokens.tolist()):
        if request != last:
            node, last, matches = 0, request, True
        following = nodes.get((node, chunk))
        matches = matches and following is not None
        prefix += length if matches else 0
        node = nodes.setdefault((node, chunk), len(nodes) + 1)
    total = int(trace.input_length.sum())
    return {"strict prefix": prefix / total, "content chunks": float(tokens[seen_before].sum() / total)}


def hit_table(trace: Trace, capacities: tuple[int, ...] = CAPACITIES) -> Table:
    """Hit ratios over the whole trace of one cache of C passages that starts empty; rows by C."""
    stream = trace.docs[trace.docs >= 0]
    docs = shuffle_requests(trace).docs
    curves = {policy: hit_ratio_curve(policy, stream, capacities) for policy in ("LRU", "LFU", "LFU-DA", "MIN")}
    curves["LRU shuffled"] = hit_ratio_curve("LRU", docs[docs >= 0], capacities)
    return {str(c): {name: float(curve[i]) for name, curve in curves.items()} for i, c in enumerate(capacities)}
