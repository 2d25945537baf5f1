"""The command line as a whole."""

import pytest

from tl_lab.cli.main import main


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["lst"], "there is no command 'lst'; did you mean 'list' or 'test'?"),
        (["--versio"], "there is no option '--versio'; did you mean '--version'?"),
        (
            ["predict", "run", "new", "--suport", "x"],
            "predict: there is no option '--suport'; did you mean '--support' ",
        ),
        (["predict", "run"], "predict: the following arguments are required: input (python -m tl_lab predict --help)"),
        (["export", "run", "--format", "pef"], "export: argument --format: invalid choice: 'pef' (choose from "),
        (["weights", "a", "b"], "weights: 'a' is one argument too many (python -m tl_lab weights --help)"),
    ],
)
def test_a_mistake_is_one_sentence(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"tl_lab: {message}")
    assert said.count("\n") == 1
