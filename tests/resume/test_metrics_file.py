"""The table of metrics is whole whenever it is on the disk, and does not stay in memory."""

import csv

import pytest

from app.errors import RunStopped, UserError
from app.resume.metrics_file import MetricsFile


def plain(rows: dict[int, dict], path) -> str:
    """What one csv.DictWriter makes of the rows."""
    names = sorted({name for row in rows.values() for name in row} - {"epoch"})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", *names])
        writer.writeheader()
        writer.writerows({"step": step, **rows[step]} for step in sorted(rows))
    return path.read_text()


def test_the_file_is_the_same_however_often_it_was_saved(tmp_path):
    steps = [(0, "a"), (3, "a"), (3, "b"), (6, "a"), (6, "c"), (5, "late"), (9, "a"), (9, "b"), (8, "a"), (12, "b")]
    for pattern in range(2 ** len(steps)):
        if pattern % 37:
            continue
        table, rows = MetricsFile(tmp_path / "metrics.csv"), {}
        for k, (step, name) in enumerate(steps):
            values = {name: 1 / (k + 3), "epoch": step // 4}
            rows.setdefault(step, {}).update(values)
            table.log_metrics(values, step)
            if pattern >> k & 1:
                table.save()
                assert table.path.read_text() == plain(rows, tmp_path / "plain.csv")
        table.finalize("success")
        assert table.path.read_text() == plain(rows, tmp_path / "plain.csv")
        assert {step: {k: float(v) for k, v in row.items()} for step, row in table.rows()} == rows


def test_saved_rows_are_not_kept_in_memory(tmp_path):
    table = MetricsFile(tmp_path / "metrics.csv")
    for step in range(50):
        table.log_metrics({"a": step}, step)
        table.save()
        assert len(table._rows) == 1
    assert len(list(table.rows())) == 50


def test_a_resumed_table_goes_on_where_the_checkpoint_stands(tmp_path):
    path = tmp_path / "metrics.csv"
    first = MetricsFile(path)
    for step in range(6):
        first.log_metrics({"a": step / 7}, step)
    first.save()
    again = MetricsFile(path, resume_step=4)
    assert [step for step, _ in again.rows()] == [0, 1, 2, 3]
    for step in range(4, 8):
        again.log_metrics({"a": step / 7}, step)
        again.save()
    assert path.read_text() == plain({step: {"a": step / 7} for step in range(8)}, tmp_path / "plain.csv")
    from_the_start = MetricsFile(path, resume_step=0)
    from_the_start.save()
    from_the_start.log_metrics({"a": 1}, 0)
    from_the_start.save()
    assert path.read_text() == plain({0: {"a": 1}}, tmp_path / "plain.csv")


@pytest.mark.parametrize("content", ["", "something else\n", "step,epoch,a\nnonsense,1,2\n"])
def test_another_file_in_its_place_is_refused(content, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(UserError, match="no table of metrics"):
        MetricsFile(path, resume_step=3)


def test_a_table_that_was_cut_from_outside_stops_the_run(tmp_path):
    table = MetricsFile(tmp_path / "metrics.csv")
    for step in range(3):
        table.log_metrics({"a": step}, step)
    table.save()
    table.path.write_text("")
    table.log_metrics({"a": 3}, 3)
    with pytest.raises(RunStopped, match=r"metrics\.csv cannot be written \(something else has cut it\)"):
        table.save()
