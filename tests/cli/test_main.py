"""The command line as a whole."""

import pytest

from tl_lab.cli.main import main


def test_a_misspelt_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lst"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "tl_lab: there is no command 'lst'; did you mean 'list' or 'test'?\n"
