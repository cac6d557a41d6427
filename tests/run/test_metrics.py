from vxl.run.metrics import MetricsFile


def file(tmp_path, *rows):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for step, numbers in rows:
        metrics.append(step, numbers)
    return metrics


def test_rows_are_appended(tmp_path):
    metrics = file(tmp_path, (1, {"loss": 2.0}), (2, {"loss": 1.5}))
    assert metrics.path.read_text() == "step,loss\n1,2.0\n2,1.5\n"
    assert metrics.values("loss") == [(1, 2.0), (2, 1.5)]


def test_a_later_metric_gets_a_column(tmp_path):
    metrics = file(tmp_path, (1, {"loss": 2.0}), (1, {"val/loss": 3.0}), (2, {"loss": 1.0}))
    assert metrics.path.read_text() == "step,loss,val/loss\n1,2.0,\n1,,3.0\n2,1.0,\n"
    assert metrics.values("val/loss") == [(1, 3.0)]


def test_a_resumed_run_appends_to_the_same_columns(tmp_path):
    file(tmp_path, (0, {"val/loss": 3.0}), (1, {"loss": 2.0}))
    metrics = file(tmp_path, (2, {"loss": 1.0}))
    assert metrics.path.read_text() == "step,val/loss,loss\n0,3.0,\n1,,2.0\n2,,1.0\n"


def test_cutting_back_to_a_checkpoint(tmp_path):
    metrics = file(tmp_path, (0, {"loss": 3.0}), (1, {"loss": 2.0}), (2, {"loss": 1.0}), (2, {"loss": 1.0}))
    metrics.cut(1)
    assert metrics.path.read_text() == "step,loss\n0,3.0\n1,2.0\n"
    metrics.cut(-1)
    assert metrics.values("loss") == []
    metrics.append(0, {"loss": 4.0})
    assert metrics.path.read_text() == "step,loss\n0,4.0\n"


def test_a_line_that_a_kill_left_unfinished_is_dropped(tmp_path):
    metrics = file(tmp_path, (1, {"loss": 2.0}))
    with metrics.path.open("a") as lines:
        lines.write("2,1.2345")  # 1.23456789 was being written
    again = MetricsFile(metrics.path)
    assert again.values("loss") == [(1, 2.0)]
    again.cut(5)
    again.append(2, {"loss": 1.25})
    assert again.path.read_text() == "step,loss\n1,2.0\n2,1.25\n"


def test_a_header_that_a_kill_left_unfinished_is_none(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,lo")
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.cut(-1)
    metrics.append(1, {"loss": 2.0})
    assert metrics.values("loss") == [(1, 2.0)]
