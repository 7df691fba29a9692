"""Tables fit the terminal they are shown in, a pipe too, and say what they had no room for."""

import json

import pytest
import rich.console
from rich.console import Console

from energylens.attacks.registry import ATTACKS
from energylens.cli.tables import PIPED, Column, show


@pytest.fixture
def terminal(monkeypatch):
    """``terminal(80)``: from now on output goes to a terminal of 80 columns, as plain text."""

    def of(width):
        monkeypatch.setattr(
            rich.console, "Console", lambda **own: Console(force_terminal=True, no_color=True, **{"width": width} | own)
        )

    return of


def plain(out):
    """Without the codes for bold and dim."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", out)


@pytest.mark.parametrize("width", [72, 80, 100, 200])
def test_attacks_are_listed_whole_in_any_terminal(width, run, terminal):
    terminal(width)
    _, out, _ = run("attacks")
    out = plain(out)
    assert max(map(len, out.splitlines())) <= width
    words = "".join(out.split())
    for row in ATTACKS:
        assert row.name in out
        for setting, value in row.free_settings().items():
            assert f"{setting}={value}".replace(" ", "")[:12] in words
    assert ("Left out at" in out) == ("arXiv 1706.06083" not in out)
    if width == 80:
        assert "Left out at 80 columns: norms, source; --json has all." in out


def test_a_pipe_gets_every_column_in_lines_that_can_be_read(run):
    _, out, _ = run("attacks")
    assert max(map(len, out.splitlines())) <= PIPED
    assert "source" in out and "norms" in out and "Left out" not in out


def test_no_letter_is_lost_where_a_cell_is_folded(terminal, capsys):
    text = "steps=20, step_size=0.25 eps, loss=ce, restarts=1, gamma=1.5"
    for width in range(30, 90):
        terminal(width)
        show((Column("name"), Column("settings", wrap=18)), [("pgd", text)])
        told = "".join(plain(capsys.readouterr().out).split())
        assert text.replace(" ", "") in told.replace("pgd", ""), width


def test_attacks_in_json_are_the_whole_table(run):
    status, out, _ = run("attacks", "--json")
    told = {row["name"]: row for row in json.loads(out)}
    assert status == 0 and list(told) == [row.name for row in ATTACKS]
    assert told["pgd"]["settings"]["steps"] == "20" and told["cw"]["norms"] == ["l2"]
    assert told["autoattack"]["source"] == "arXiv 2003.01690; pyautoattack"
