"""Reading and writing of RAG traces: what is accepted, and what is said of the rest."""

import json
import random
import shutil
import tracemalloc

import numpy as np
import pytest
from jaxmarl_envs.rag.trace import TraceError, generate_trace, iter_trace, read_mooncake, read_trace, write_trace
from jaxmarl_envs.rag.trace._schema import MAX_LINE, PARTS

from tests.envs.rag_tools import SAMPLE, generated_folder, needs_sample, request, write_files  # noqa: F401

COLUMNS = ("time", "segment", "input_length", "output_length", "docs", "session")


def assert_same(left, right):
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert left.session_names.tolist() == right.session_names.tolist()
    for part in PARTS:
        np.testing.assert_array_equal(left.parts[part].ids, right.parts[part].ids)
        np.testing.assert_array_equal(left.tables[part].lengths, right.tables[part].lengths)


@needs_sample
def test_the_sample_is_read_whole():
    trace = read_trace(SAMPLE)
    assert len(trace) == 800
    assert np.flatnonzero(np.diff(trace.segment)).tolist() == [399]
    assert np.flatnonzero(np.diff(trace.time - trace.segment * 604_800) < 0).tolist() == [399]
    assert trace.time[[399, 400]].tolist() == [604_453, 604_800]
    first = trace.parts["sys_prompt"].ids[trace.parts["sys_prompt"].offsets[:-1]]
    assert [int((first == chunk).sum()) for chunk in (8302, 8325, 8308)] == [548, 27, 225]
    assert len(trace.session_names) == 434
    assert len(np.unique(trace.docs[trace.docs >= 0])) == 1202
    assert len(trace.parts["passages_ids"].ids) == 3343
    assert trace.counts == {}


@needs_sample
def test_the_sample_is_written_byte_for_byte(tmp_path):
    write_trace(read_trace(SAMPLE), tmp_path / "copy")
    for path in sorted((tmp_path / "copy").iterdir()):
        assert path.read_bytes() == (SAMPLE / path.name).read_bytes(), path.name


def test_written_traces_are_read_back(tmp_path):
    trace = generate_trace(40, seed=1)
    assert_same(read_trace(write_trace(trace, tmp_path / "trace")), trace)
    with pytest.raises(ValueError, match="choose another"):
        write_trace(trace, tmp_path / "trace")


def test_pieces_are_the_whole(generated_folder):  # noqa: F811
    whole = read_trace(generated_folder)
    pieces = list(iter_trace(generated_folder, chunk=17))
    assert [len(piece) for piece in pieces[:-1]] == [17] * (len(pieces) - 1)
    np.testing.assert_array_equal(np.concatenate([piece.time for piece in pieces]), whole.time)
    names = np.concatenate([piece.session_names[piece.session] for piece in pieces])
    assert names.tolist() == whole.session_names[whole.session].tolist()


def test_weeks_and_views(tmp_path):
    times = [5, 600_000, 600_000, 10, 604_000, 3]
    folder = write_files(tmp_path / "t", [request(time, [index % 8]) for index, time in enumerate(times)])
    trace = read_trace(folder)
    assert trace.segment.tolist() == [0, 0, 0, 1, 1, 2]
    assert trace.time.tolist() == [5, 600_000, 600_000, 604_810, 1_208_800, 1_209_603]
    overlay = trace.view("overlay")
    assert overlay.time.tolist() == [3, 5, 10, 600_000, 600_000, 604_000]
    assert overlay.docs[:, 0].tolist() == [5, 0, 3, 1, 2, 4]
    with pytest.raises(ValueError, match="'unwrapped' and 'overlay', got 'x'"):
        trace.view("x")


def test_passages_listed_twice_are_kept_once(tmp_path):
    trace = read_trace(write_files(tmp_path / "t", [request(0, [3, 1, 3, 2, 1]), request(0, [])]))
    assert trace.docs.tolist() == [[3, 1, 2, -1, -1, -1, -1], [-1] * 7]
    assert trace.part_tokens("passages_ids").tolist() == [50 + 300 + 50 + 100 + 300, 0]


BAD = {
    '{"timestamp": "5", "inp': ("(line)", "bad JSON"),
    "[1, 2]": ("(line)", "mistyped field"),
    '{"a": 1, "a": 1}': ("a", "extra field"),
    "[" * 5000: ("(line)", "bad JSON"),
    json.dumps(request(5, [])).replace('"50"', "50").replace("50,", "9" * 5000 + ","): ("(line)", "bad JSON"),
}
BAD_RECORDS = [
    (request(5, [], timestamp=5), "timestamp", "mistyped field"),
    (request(5, [], timestamp="-5"), "timestamp", "bad timestamp"),
    (request(5, [], timestamp="5.5"), "timestamp", "bad timestamp"),
    (request(5, [], timestamp="٥"), "timestamp", "bad timestamp"),
    (request(5, [], timestamp="99999999999"), "timestamp", "bad timestamp"),
    (request(5, [], input_length="3001"), "input_length", "mistyped field"),
    (request(5, [], input_length=True), "input_length", "mistyped field"),
    (request(5, [], output_length=0), "output_length", "length out of range"),
    (request(5, [], output_length=2**31), "output_length", "length out of range"),
    (request(5, [], input_length=2000), "input_length", "input length off"),
    (request(5, [], session_id=7), "session_id", "mistyped field"),
    (request(5, [], hash_ids=[]), "hash_ids", "mistyped field"),
    (request(5, [], hash_ids={}), "history", "missing field"),
    (request(5, [], extra=1), "extra", "extra field"),
    (request(5, [1, 2.0]), "hash_ids.passages_ids", "mistyped field"),
    (request(5, [1, True]), "hash_ids.passages_ids", "mistyped field"),
    (request(5, ["1"]), "hash_ids.passages_ids", "mistyped field"),
    (request(5, [999]), "hash_ids.passages_ids", "unknown id"),
    (request(5, [-1]), "hash_ids.passages_ids", "unknown id"),
    (request(5, [2**40]), "hash_ids.passages_ids", "unknown id"),
    (request(5, [200]), "hash_ids.passages_ids", "unknown id"),  # an id of another table
    (request(5, [0, 1, 2, 3, 4, 5, 6, 7]), "hash_ids.passages_ids", "too many passages"),
    (request(5, [], web_search={"a": 1}), "hash_ids.web_search", "mistyped field"),
    (request(3, []), "timestamp", "step backwards"),
]


@pytest.mark.parametrize(
    ("line", "field", "kind"), [*((k, *v) for k, v in BAD.items()), *((json.dumps(r), f, k) for r, f, k in BAD_RECORDS)]
)
def test_a_bad_line_is_located(tmp_path, line, field, kind):
    folder = write_files(tmp_path / "t", [request(4, [0]), "", line, request(6, [1])])
    with pytest.raises(TraceError) as error:
        read_trace(folder)
    (problem,) = error.value.problems
    assert (problem.file, problem.line, problem.field, problem.kind) == ("0_trace.jsonl", 3, field, kind)
    assert str(error.value).startswith("0_trace.jsonl:3: ") and len(str(problem)) < 300
    trace = read_trace(folder, strict=False)
    assert trace.time.tolist() == [4, 6] and trace.docs[:, 0].tolist() == [0, 1]
    assert trace.counts == {kind: 1} and trace.problems == (problem,)


@needs_sample
def test_ten_corrupted_lines_give_ten_located_errors(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(SAMPLE, folder)
    (folder / "0_trace.jsonl").chmod(0o600)
    lines = (SAMPLE / "0_trace.jsonl").read_text().splitlines()

    def edit(number, **changes):
        record = json.loads(lines[number - 1])
        record["hash_ids"].update({k: changes.pop(k) for k in list(changes) if k in PARTS})
        lines[number - 1] = json.dumps({**record, **changes})

    lines[9] = lines[9][:100]
    edit(50, timestamp=-4)
    edit(100, timestamp="-4")
    edit(150, passages_ids=[9000])
    edit(200, passages_ids=[2**33])
    edit(250, input_length=1)
    edit(300, output_length=0)
    edit(350, extra=0)
    edit(500, timestamp="1")
    edit(600, passages_ids=list(range(8)))
    (folder / "0_trace.jsonl").chmod(0o600)
    (folder / "0_trace.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(TraceError) as error:
        read_trace(folder)
    assert [p.line for p in error.value.problems] == [10, 50, 100, 150, 200, 250, 300, 350, 500, 600]
    assert len(str(error.value).splitlines()) == 10
    assert len(read_trace(folder, strict=False)) == 790


def test_strict_reading_names_the_first_twenty(tmp_path):
    lines = [request(4, [0])] + [request(5, [999]) if i % 2 else "{" for i in range(50)]
    folder = write_files(tmp_path / "t", lines)
    with pytest.raises(TraceError) as error:
        read_trace(folder)
    assert [p.line for p in error.value.problems] == list(range(2, 22))
    assert read_trace(folder, strict=False).counts == {"bad JSON": 25, "unknown id": 25}


@pytest.mark.parametrize(
    ("digit", "text", "line", "field", "kind"),
    [
        (2, '{"passage_id": 0, "token_length": 0}\n', 1, "token_length", "length out of range"),
        (2, '{"passage_id": 0, "token_length": 513}\n', 1, "token_length", "length out of range"),
        (2, '{"passage_id": "0", "token_length": 5}\n', 1, "passage_id", "mistyped field"),
        (2, '{"passage_id": 4294967296, "token_length": 5}\n', 1, "passage_id", "bad id"),
        (2, '{"passage": 0, "token_length": 5}\n', 1, "passage_id", "missing field"),
        (3, '\n{"history_id": 200, "token_length": 11}\n{"history_id": 200, "token_length": 11}\n', 3, "history_id",
         "duplicate id"),
        (3, '{"history_id": 0, "token_length": 11}\n', 1, "history_id", "duplicate id"),  # also a passage
    ],
)  # fmt: skip
def test_a_bad_line_of_a_table_is_located(tmp_path, digit, text, line, field, kind):
    folder = write_files(tmp_path / "t", [request(4, [])], **{f"file_{digit}": text})
    with pytest.raises(TraceError) as error:
        read_trace(folder)
    problem = error.value.problems[0]
    assert (problem.file[0], problem.line, problem.field, problem.kind) == (str(digit), line, field, kind)


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    folder = write_files(tmp_path / "t", [request(4, [])])
    with pytest.raises(ValueError, match="is not one"):
        read_trace(folder / "0_trace.jsonl")
    (folder / "5_web_search.jsonl").unlink()
    for strict in (True, False):
        with pytest.raises(TraceError, match=r"5_web_search.jsonl: .* missing file"):
            read_trace(folder, strict=strict)
    write_files(folder, [request(4, [])])
    (folder / "0_trace.jsonl").write_bytes(json.dumps(request(4, [])).encode("utf-16"))
    with pytest.raises(TraceError, match=r"0_trace.jsonl:1: \(line\): wrong encoding"):
        read_trace(folder)
    write_files(folder, [])
    for strict in (True, False):
        with pytest.raises(TraceError, match="empty trace"):
            read_trace(folder, strict=strict)


def test_a_line_without_end_needs_little_memory(tmp_path):
    folder = write_files(tmp_path / "t", [request(4, [])])
    with (folder / "0_trace.jsonl").open("ab") as file:
        for _ in range(40):
            file.write(b"1" * MAX_LINE)
        file.write(b"\n" + json.dumps(request(5, [])).encode() + b"\n")
    tracemalloc.start()
    trace = read_trace(folder, strict=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trace.time.tolist() == [4, 5] and trace.counts == {"line too long": 1}
    assert peak < 8 * MAX_LINE
    with pytest.raises(TraceError, match=r"0_trace.jsonl:2: \(line\): line too long"):
        read_trace(folder)


def test_mutated_lines_never_escape(tmp_path):
    """Ten thousand: each is either refused, with its place, or a valid record that says what was read."""
    rng = random.Random(7)
    times = sorted(rng.choices(range(1000), k=100))
    good = [json.dumps(request(time, rng.sample(range(8), rng.randrange(8)))) for time in times]
    junk = [
        "",
        "9",
        "-",
        '"',
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "e5",
        "0",
        "null",
        "true",
        "\\u0000",
        "\ud7ff",
        " ",
        "1e999",
    ]
    accepted = 0
    for trial in range(100):
        mutants = []
        for line in good:
            text = line
            for _ in range(rng.randint(1, 3)):
                place = rng.randrange(len(text) + 1)
                text = text[:place] + rng.choice(junk) + text[place + rng.randrange(4) :]
            mutants.append(text)
        folder = write_files(tmp_path / "t", mutants)
        counted = sum(1 for text in (folder / "0_trace.jsonl").read_text().split("\n") if text.strip())
        try:
            trace = read_trace(folder, strict=False)
        except TraceError as error:
            assert error.problems[0].kind == "empty trace", (trial, error)
            continue
        assert len(trace) + sum(trace.counts.values()) == counted
        valid = [json.loads(text) for text in mutants if _is_json(text)]
        stamps = {(int(r["timestamp"]), r["input_length"], tuple(r["hash_ids"]["passages_ids"]), r["session_id"])
                  for r in valid if _is_whole(r)}  # fmt: skip
        passages = trace.parts["passages_ids"]
        for i in range(len(trace)):
            docs = tuple(passages.ids[passages.offsets[i] : passages.offsets[i + 1]].tolist())
            stamp = int(trace.time[i] - trace.segment[i] * 604_800)
            assert (stamp, trace.input_length[i], docs, trace.session_names[trace.session[i]]) in stamps
        accepted += len(trace)
    assert 100 < accepted < 5000


def _is_json(text):
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _is_whole(record):
    try:
        int(record["timestamp"])
        hash((record["input_length"], tuple(record["hash_ids"]["passages_ids"]), record["session_id"]))
    except (KeyError, TypeError, ValueError):
        return False
    return True


def test_mooncake(tmp_path):
    path = tmp_path / "mooncake.jsonl"
    good = {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [4, 9]}
    lines = [good, {**good, "timestamp": 3000, "input_length": 512, "hash_ids": [4]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    trace = read_mooncake(path)
    assert trace.time.tolist() == [0, 3000] and trace.blocks.ids.tolist() == [4, 9, 4]
    assert trace.blocks.offsets.tolist() == [0, 2, 3] and trace.input_length.tolist() == [600, 512]
    bad = [{**good, "timestamp": -1}, {**good, "hash_ids": [1] * 9}, {**good, "hash_ids": [2**31]}, {**good, "x": 1}]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *bad, {**good, "timestamp": 2999}]))
    trace = read_mooncake(path, strict=False)
    assert len(trace) == 2 and [problem.line for problem in trace.problems] == [3, 4, 5, 6, 7]
    with pytest.raises(TraceError, match=r"mooncake.jsonl:3: timestamp"):
        read_mooncake(path)
    path.write_text("")
    with pytest.raises(TraceError, match="empty trace"):
        read_mooncake(path)
