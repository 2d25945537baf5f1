"""Texts of users in files that spreadsheets and browsers open: displayed, never executed."""

import pandas as pd
import pytest

from tl_lab.results.report.blocks import Section, Table
from tl_lab.results.report.cells import csv_text
from tl_lab.results.report.markdown import markdown


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+cmd", "@SUM(1)", "-cmd", "\t=1"])
def test_a_spreadsheet_runs_no_formula_of_a_name_or_a_value(formula: str) -> None:
    table = pd.DataFrame({formula: [formula, "plain"], "number": [-1.5, 2.0]})
    written = pd.read_csv(pd.io.common.StringIO(csv_text(table)), dtype=str, keep_default_na=False)
    assert list(written.columns) == [f"'{formula}", "number"]
    assert written.iloc[:, 0].tolist() == [f"'{formula}", "plain"]
    assert written["number"].astype(float).tolist() == [-1.5, 2.0]  # numbers stay numbers


def test_markdown_opens_no_tag_in_titles_heads_cells_and_texts() -> None:
    script = "<script>alert(1)</script>"
    text = markdown([Section(script, [Table([script, "a|b"], [[script, "1"]], 1), script])])
    assert "<script" not in text
    assert text.count("&lt;script>alert(1)&lt;/script>") == 4
    assert "a\\|b" in text
