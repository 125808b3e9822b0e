"""Progress: one redrawn line on a terminal, few lines in a log, and no error of stderr."""

import io
from types import SimpleNamespace

import pytest

from tfalexnet.io import progress
from tfalexnet.io.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time in the module, changed by tests; the terminal has 120 columns."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def replace_stderr(monkeypatch, stream):
    """Replace stderr in the module only: pytest replaces `sys.stderr` between a fixture and its test."""
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    return stream


@pytest.fixture
def terminal(monkeypatch):
    return replace_stderr(monkeypatch, Terminal())


def lines_drawn(terminal) -> list[str]:
    return [line.rstrip() for line in terminal.getvalue().split("\r")[1:]]


def test_the_line_shows_bar_share_bytes_speed_time_left_and_note(clock, terminal):
    with Progress(244_000_000, "B", start=4_000_000, note="host file") as bar:
        clock.now += 10
        bar.advance(60_000_000)
        assert (
            lines_drawn(terminal)[-1] == "[=====               ]  26%  64.0/244.0 MB  6.0 MB/s  0:00:30 left  host file"
        )


def test_the_last_line_shows_the_time_spent(clock, terminal):
    with Progress(50_000, "pictures") as bar:
        clock.now += 100
        bar.advance(25_000, note="error 42.9 %")
        clock.now += 100
        bar.advance(25_000)
    halfway, last = lines_drawn(terminal)[-3::2]
    assert halfway == "[==========          ]  50%  25000/50000 pictures  250 pictures/s  0:01:40 left  error 42.9 %"
    assert last == "[====================] 100%  50000/50000 pictures  250 pictures/s  in 0:03:20  error 42.9 %"


def test_at_most_ten_drawings_a_second(clock, terminal):
    with Progress(1000, "pictures") as bar:
        for _ in range(1000):
            clock.now += 0.001
            bar.advance(1)
    assert terminal.getvalue().count("\r") <= 1 + 10 + 1
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().endswith("\n")


def test_a_line_is_as_wide_as_the_terminal_and_covers_the_one_before(clock, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    with Progress(10, "pictures", note="a note that is longer than the terminal is wide") as bar:
        clock.now += 1
        bar.advance(5)
    assert {len(line.rstrip("\n")) for line in terminal.getvalue().split("\r")[1:]} == {29}


@pytest.mark.parametrize("done", [0, 1000, 25_000])
def test_a_terminal_of_80_columns_shows_the_note(clock, terminal, monkeypatch, done):
    monkeypatch.setenv("COLUMNS", "80")
    note = "epoch 12, loss 0.123, error 45.6%"
    with Progress(50_000, "pictures", note=note) as bar:
        clock.now += 1000
        bar.advance(done)
        line = terminal.getvalue().split("\r")[-1]
    assert note in line and f"{done}/50000 pictures" in line and len(line) == 79
    if done:
        assert " left" in line


@pytest.mark.usefixtures("clock")
def test_a_message_is_written_above_the_line(terminal):
    with Progress(10, "pictures", note="note") as bar:
        bar.say("a.png: empty")
    cleared, after = terminal.getvalue().split("a.png: empty\n")
    assert cleared.endswith(f"\r{' ' * 119}\r") and "0/10 pictures  note" in after


def test_a_log_gets_a_line_every_five_minutes(clock, monkeypatch):
    log = replace_stderr(monkeypatch, io.StringIO())
    with Progress(1000, "pictures") as bar:
        for _ in range(1000):
            clock.now += 1
            bar.advance(1)
        bar.say("a.png: empty")
    shares = [line.split("%")[0][-3:].strip() for line in log.getvalue().splitlines() if "%" in line]
    assert shares == ["30", "60", "90", "100"] and "\na.png: empty\n" in log.getvalue()


@pytest.mark.parametrize(("seconds", "lines"), [(9.0, 0), (11.0, 1)])
def test_a_log_gets_one_line_of_a_task_of_more_than_ten_seconds(clock, monkeypatch, seconds, lines):
    log = replace_stderr(monkeypatch, io.StringIO())
    with Progress(100, "pictures") as bar:
        for _ in range(100):
            clock.now += seconds / 100
            bar.advance(1)
        assert log.getvalue() == ""
    assert log.getvalue().count("\n") == log.getvalue().count("in 0:00:1") == lines
    assert "\r" not in log.getvalue()


@pytest.mark.parametrize(
    ("total", "expected"),
    [(None, "7 pictures  7.0 pictures/s"), (0, "7 pictures  7.0 pictures/s"), (5, "[====================] 100%  7/5")],
)
def test_totals_that_are_unknown_or_exceeded(clock, terminal, total, expected):
    with Progress(total, "pictures") as bar:
        clock.now += 1
        bar.advance(7)
    assert terminal.getvalue().split("\r")[-1].startswith(expected)


def test_no_time_passed_and_a_time_left_beyond_all_dates(clock, terminal):
    with Progress(2**100, "pictures") as bar:
        bar.advance(1)
        bar.say("")
        assert lines_drawn(terminal)[-1] == f"[{' ' * 20}]   0%  1/{2**100} pictures"
        clock.now += 10.0**9
        bar.advance(10**10)
        assert lines_drawn(terminal)[-1] == f"  0%  {10**10 + 1}/{2**100} pictures  11574 days, 1:46:40 left"


class Gone(Terminal):
    def write(self, text):
        raise OSError(5, "Input/output error")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


UNUSABLE = {
    "none": lambda: None,
    "closed": closed,
    "gone": Gone,
    "ASCII": lambda: type("Ascii", (io.TextIOWrapper,), {"isatty": lambda _: True})(io.BytesIO(), "ascii"),
    "not a file": object,
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("columns", ["0", "1", "-3", "many", "80"])
def test_errors_of_stderr_are_ignored(clock, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", columns)
    replace_stderr(monkeypatch, UNUSABLE[name]())
    with Progress(10, "pictures", note="è") as bar:
        clock.now += 60
        bar.advance(10)
    assert bar.count == 10


@pytest.mark.usefixtures("clock")
def test_an_error_of_the_work_propagates_and_the_line_is_ended(terminal):
    with pytest.raises(KeyboardInterrupt), Progress(10, "pictures") as bar:
        bar.advance(3)
        raise KeyboardInterrupt
    assert "3/10" in terminal.getvalue() and terminal.getvalue().endswith("\n")
