"""A fixture of the command line."""

import sys
from collections.abc import Callable

import pytest

from nanoldm.cli import main as cli


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path) -> Callable[[str, str], None]:
    """refused(line, message): the command is one line with the message, exit code 2, no files."""

    def check(line: str, message: str) -> None:
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["nanoldm", *line.split()])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        (text,) = capsys.readouterr().err.splitlines()
        assert stop.value.code == 2
        assert text.startswith("nanoldm: ")
        assert message in text
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before

    return check
