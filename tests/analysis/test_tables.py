"""Result tables against numbers worked by hand, and sections of a README kept up to date."""

from __future__ import annotations

import pytest
import scipy.stats

from jaxmarl_suite.analysis import load_run, summarize, table, update_section


def test_a_row_by_hand(make_run):
    # Ends at 10, 10.995, 11, 11: two are optimal, one is within the tolerance.
    final = {0: 10.0, 1: 10.995, 2: 11.0, 3: 11.0}
    (row,) = summarize(make_run(score=lambda p, s, g: final[s] * g))
    assert (row.env, row.label, row.policy) == ("matrix/climbing", "tad-ppo", "")
    assert row.final.value == pytest.approx((10.995 + 11) / 2)
    assert 10.0 <= row.final.low < row.final.value < row.final.high <= 11.0
    assert row.final_median == pytest.approx((10.995 + 11) / 2)
    assert row.absolute == row.final
    assert row.normalized_final is not None and row.normalized_final.value == pytest.approx(row.final.value / 11)
    assert row.normalized_absolute == row.normalized_final
    assert row.solved is not None and row.solved.value == 0.75
    interval = scipy.stats.binomtest(3, 4).proportion_ci()
    assert (row.solved.low, row.solved.high) == pytest.approx((interval.low, interval.high))
    assert (row.env_steps, row.num_lanes, row.seeds) == (64000, 4, (0, 1, 2, 3))
    (strict,) = summarize(make_run(score=lambda p, s, g: final[s] * g), tolerance=0.001)
    assert strict.solved is not None and strict.solved.value == 0.5


def test_an_optimum_that_is_not_positive_has_solved_but_no_normalized(make_run):
    (row,) = summarize(make_run(optimum=0.0, score=lambda p, s, g: -s))
    assert row.normalized_final is None
    assert row.solved is not None and row.solved.value == 0.25
    (row,) = summarize(make_run(optimum=None))
    assert row.solved is None


def test_the_teacher_has_a_row_of_its_own(make_run):
    rows = summarize(make_run(teacher=lambda p, s, g: 11.0))
    assert [(row.policy, round(row.final.value, 6)) for row in rows] == [("", 10.15), ("teacher", 11.0)]
    assert rows[1].solved is not None and rows[1].solved.value == 1.0


def test_markdown(make_run):
    runs = [
        make_run(score=lambda p, s, g: 11.0 * g, teacher=lambda p, s, g: 11.0),
        make_run(algorithm="mappo", seeds=(0,), score=lambda p, s, g: 7.0 * g),
        make_run(env="mabrax/ant", optimum=None, is_finished=False, score=lambda p, s, g: 4321.0),
    ]
    assert table(runs) == (
        "| environment | algorithm | final | median | absolute | final / optimum | solved | env steps | seeds | status |\n"
        "| :-- | :-- | --: | --: | --: | --: | --: | --: | --: | :-- |\n"
        "| matrix/climbing | tad-ppo | 11.00 [11.00, 11.00] | 11.00 | 11.00 [11.00, 11.00] | 1.00 [1.00, 1.00] | "
        "4/4 [0.40, 1.00] | 64k | 4 | – |\n"
        "| matrix/climbing | tad-ppo: teacher | 11.00 [11.00, 11.00] | 11.00 | 11.00 [11.00, 11.00] | "
        "1.00 [1.00, 1.00] | 4/4 [0.40, 1.00] | 64k | 4 | – |\n"
        "| matrix/climbing | mappo | 7.00 | 7.00 | 7.00 | 0.64 | 0/1 [0.00, 0.97] | 64k | 1 | – |\n"
        "| mabrax/ant | tad-ppo | 4,321 [4,321, 4,321] | 4,321 | – | – | – | 64k | 4 | unfinished |\n"
    )


def test_columns_that_nobody_fills_are_left_out(make_run):
    head = table(make_run(optimum=None, is_finished=False)).splitlines()[0]
    assert head == "| environment | algorithm | final | median | env steps | seeds | status |"
    head = table(make_run(optimum=None)).splitlines()[0]
    assert head == "| environment | algorithm | final | median | absolute | env steps | seeds |"


def test_runs_that_are_not_finished_are_marked(make_run, write_run):
    stopped = write_run(seeds=(7,), is_finished=False)
    (stopped / "summary.json").write_text('{"status": "interrupted"}')
    assert summarize(make_run())[0].status == ""
    assert summarize(load_run(stopped))[0].status == "interrupted"
    (row,) = summarize([make_run(), load_run(stopped), make_run(seeds=(8,), is_finished=False)])
    assert row.status == "2 of 3 runs interrupted, unfinished"


def test_columns_have_the_name_of_another_metric(make_run):
    head, _, row = table(make_run(teacher=lambda p, s, g: 1.0, seeds=(0,)), "length").splitlines()
    assert head == "| environment | algorithm | final length | median length | absolute length | env steps | seeds |"
    assert row == "| matrix/climbing | tad-ppo | 1.00 | 1.00 | 1.00 | 64k | 1 |"


def test_pooled_instances_are_counted(make_run):
    run = make_run(points=[{"env.seed": 0}, {"env.seed": 1}], seeds=(0, 1, 2))
    assert table(run).splitlines()[-1].endswith("| 3 × 2 instances |")


def test_update_section_replaces_only_what_is_between_the_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results begin -->\nold\n<!-- results end -->\nafter\n")
    assert update_section(readme, "results", "| a |\n| b |\n")
    expected = "before\n<!-- results begin -->\n\n| a |\n| b |\n\n<!-- results end -->\nafter\n"
    assert readme.read_text() == expected
    assert not update_section(readme, "results", "| a |\n| b |\n")
    assert readme.read_text() == expected


def test_update_section_keeps_windows_line_ends(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_bytes(b"x\r\n<!-- t begin --><!-- t end -->\r\n")
    update_section(readme, "t", "new")
    assert readme.read_bytes() == b"x\r\n<!-- t begin -->\r\n\r\nnew\r\n\r\n<!-- t end -->\r\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", r"README\.md: expected the marker '<!-- t begin -->' once; found it 0 times"),
        ("<!-- t begin -->", r"'<!-- t end -->' once; found it 0 times"),
        ("<!-- t begin --><!-- t begin --><!-- t end -->", "'<!-- t begin -->' once; found it 2 times"),
        ("<!-- t end --><!-- t begin -->", "'<!-- t end -->' comes before"),
    ],
)
def test_update_section_names_the_file_and_the_marker(tmp_path, text, message):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match=message):
        update_section(readme, "t", "new")
    assert readme.read_text() == text
    with pytest.raises(ValueError, match=r"absent\.md: no such file"):
        update_section(tmp_path / "absent.md", "t", "new")
