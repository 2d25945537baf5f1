"""The page and the LaTeX tables have the content of the summary, and the page loads no external files."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tl_lab.__main__ import main
from tl_lab.errors import UserError
from tl_lab.results import report
from tl_lab.results.folder.files import write_json
from tl_lab.results.report.latex import escape
from tl_lab.results.report.page import _cell, svg
from tl_lab.results.report.writing import write_report

VOID = {"meta", "link", "input", "br", "wbr", "path", "use"}


class Balanced(HTMLParser):
    """Checks that every element that opens closes, and collects what it names."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.cells = [], [], [], {}

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given and "svg" not in self.open else []
        self.links += [value for name, value in given.items() if name in ("href", "src", "xlink:href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th", "code", "button"):
            self.cells.setdefault(self.open[-1], []).append(data)


@pytest.fixture
def sweep(tmp_path):
    draw = np.random.default_rng(0)
    number = 0
    for method, gain in {"none": 0.0, "dann": 0.05, "mmd": 0.2}.items():
        for pair in "abcdef":
            for seed in range(3):
                run = tmp_path / "runs" / str(number)
                (run / ".hydra").mkdir(parents=True)
                overrides = [f"domain_adaptation={method}", f"data.pair={pair}", f"seed={seed}", "tags=[<b>&x]"]
                (run / ".hydra" / "overrides.yaml").write_text("".join(f"- {text}\n" for text in overrides))
                acc = 0.5 + gain + 0.02 * draw.standard_normal()
                facts = {"status": "completed", "seed": seed, "duration_s": 3.0, "metrics": {"test/target/acc": acc}}
                facts |= {"parameters": {"total": 9, "trainable": 3}, "git_commit": "f" * 40, "device": "cpu"}
                write_json(run / "results.json", facts)
                (run / "metrics.csv").write_text(
                    f"epoch,step,train/loss,val/source/acc\n0,10,1.0,{acc}\n1,20,0.5,0.9\n"
                )
                number += 1
    write_json(run / "results.json", {"status": "failed", "error": "<script>alert(1)</script> & more", "seed": 2})
    write_report(tmp_path / "runs")
    return tmp_path / "runs"


def test_the_page_is_whole_and_loads_nothing(sweep):
    text = (sweep / "report.html").read_text(encoding="utf-8")
    page = Balanced()
    page.feed(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    outside = [link for link in page.links if not link.startswith(("#", "data:"))]
    assert outside == []
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert {link[1:] for link in page.links if link.startswith("#")} >= {"settings", "runs", "not-completed"}


def test_a_baseline_that_no_run_has_is_refused(sweep):
    with pytest.raises(UserError, match="no run has the baseline 'strategy=from_scrach'"):
        write_report(sweep, baseline="strategy=from_scrach", figure=False)


def test_columns_sort_by_numbers(sweep):
    write_report(sweep, figure=False)
    values = re.findall(r'data-value="([^"]*)"', (Path(sweep) / "report.html").read_text())
    assert values
    assert all(np.isfinite(float(value)) for value in values)


def test_what_users_wrote_stays_text(sweep):
    text = (sweep / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<script" not in (sweep / "summary.md").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert "<code>tags=[&lt;b&gt;&amp;x]</code>" in text


def test_figures_are_drawn_into_the_page_and_beside_it(sweep):
    text = (sweep / "report.html").read_text(encoding="utf-8")
    assert text.count("<svg role=") == 3
    assert {path.stem for path in (sweep / "figures").glob("*.png")} == {"settings", "curves", "ranks"}
    assert "Mean rank over 6 data sets" in text


def test_page_summary_and_latex_say_the_same(sweep):
    page = Balanced()
    page.feed((sweep / "report.html").read_text(encoding="utf-8"))
    markdown = (sweep / "summary.md").read_text(encoding="utf-8")
    latex = (sweep / "summary.tex").read_text(encoding="utf-8")
    best = re.findall(r"\*\*(\d\d\.\d ± \d+\.\d)\*\*", markdown)
    # one a pair among settings; methods by tasks leave out the row, and the means, where a run has failed
    assert len(best) == 6 + 5
    assert set(best) <= set(page.cells["td"])
    for cell in best:
        assert rf"\textbf{{{escape(cell)}}}" in latex
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}", r"\end{tabular}"):
        assert latex.count(rule) == 2
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == (1 + 7) + (1 + 18)  # heads; pairs and their mean, settings


def test_latex_is_escaped():
    assert escape("a_b & 5 % ± {x}") == r"a\_b \& 5 \% $\pm$ \{x\}"


def test_a_figures_greys_follow_the_theme_and_its_text_stays_text():
    figure = Figure(figsize=(2, 1))
    ax = figure.subplots()
    ax.set_title("a title", color="#222222")
    ax.plot([0, 1], color="#3f90da")
    drawn = svg(figure, "what is <shown>")
    assert drawn.startswith('<svg role="img" aria-label="what is &lt;shown&gt;"')
    assert "a title</text>" in drawn
    assert "var(--ink)" in drawn
    assert "#222222" not in drawn
    assert "#3f90da" in drawn
    assert "<metadata" not in drawn


def test_several_folders_make_one_report_beside_their_own(sweep, tmp_path, monkeypatch, capsys):
    other = tmp_path / "more"
    run = other / "0"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text(
        "- domain_adaptation=coral\n- data.pair=a\n- seed=0\n- tags=[<b>&x]\n"
    )
    write_json(run / "results.json", {"status": "running", "seed": 0})
    before = (sweep / "summary.md").read_text()
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path / "out"))
    main(["report", str(sweep), str(other), "--no-figures"])
    summary, page = capsys.readouterr().out.split()
    assert summary.startswith(str(tmp_path / "out" / "reports"))
    text = Path(summary).read_text(encoding="utf-8")
    assert text.startswith("# Summary\n\n55 runs, 53 completed, 2 not;")
    assert "| running | still running" in " ".join(text.split())
    assert "<dt>running, or killed</dt><dd>1</dd>" in Path(page).read_text(encoding="utf-8")
    assert (sweep / "summary.md").read_text() == before


def rules() -> dict[str, str]:
    """The declarations of the page's style by selector; those for phones after ``phone``."""
    text = re.sub(r"/\*.*?\*/", "", (Path(report.__file__).parent / "report.css").read_text(), flags=re.DOTALL)
    before, _, after = text.partition("@media (max-width: 40rem) {")
    phone = after.partition("@media")[0]
    found: dict[str, str] = {}
    for prefix, part in (("", before), ("phone ", phone)):
        for names, declared in re.findall(r"([^{}]+)\{([^{}]*)\}", part):
            for name in names.split(","):
                found[prefix + name.strip()] = found.get(prefix + name.strip(), "") + declared
    return found


def test_every_table_of_the_page_names_what_it_shows(sweep):
    text = (sweep / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<table [^>]*><caption><span>([^<]+)</span></caption>", text)
    assert len(captions) == text.count("<table ") == len(set(captions)) >= 6
    assert {"Metrics and duration by setting", "Single runs", "Runs that did not complete"} <= set(captions)


def test_tables_take_the_width_there_is_and_wrap_at_spaces_only():
    style = rules()
    assert "width: fit-content" in style[".scroll"]
    assert "max-width: 100%" in style[".scroll"]
    assert "130rem" in style["main"]
    for name in ("td", "th", "td.words"):
        assert "anywhere" not in style[name]
    for name in ("td.number", "td.whole"):
        assert "white-space: nowrap" in style[name]
    # a number is kept whole in a column of words, too, as that of seeds is where a run has failed
    assert _cell("12.3 ± 4.5", False) == '<td class="whole">12.3 ± 4.5</td>'
    assert _cell("12.3 ± 4.5", True) == '<td class="number">12.3 ± 4.5</td>'
    assert _cell("mmd, 3 layers", False) == "<td>mmd, 3 layers</td>"
    assert _cell("data.pair=a", False) == "<td>data.pair=<wbr>a</td>"
    assert tuple(re.search(r"display: (\w+)", style[name])[1] for name in ("wbr", "phone wbr")) == ("none", "inline")
    assert 'class="words"' in _cell("3 layers of the backbone learn, and the head besides", False)


def test_the_name_stays_beside_the_result_on_a_phone():
    style = rules()
    for name in ("td:first-child", "th:first-child"):
        assert "position: sticky" in style[name]
        assert "left: 0" in style[name]
        assert "background" in style[name]
        share = int(re.search(r"max-width: (\d+)vw", style[f"phone {name}"])[1])
        assert share < 50  # of the screen: the result has the rest
