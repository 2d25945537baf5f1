"""Tables: kinds of columns, standardised numbers, categories, splits, pairs, and the tree baseline."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from composing import run_in
from finished_runs import is_monitored_and_described
from sklearn.ensemble import HistGradientBoostingClassifier

from tl_lab.backbones.mlp import MLP
from tl_lab.data.inputs.table import MISSING, TableSpec, column_kinds, learn_columns, mixture_of
from tl_lab.data.sets.columns import check_columns
from tl_lab.data.sets.table import Table, TablePair
from tl_lab.data.sets.table_corpora import Adult, Compas, Electricity
from tl_lab.data.sets.table_files import read_table
from tl_lab.errors import UserError
from tl_lab.run.inference import load, predict_to_csv
from tl_lab.run.scoring import score

ROOT = Path(os.environ.get("TL_LAB_DATA", ""))
real = pytest.mark.skipif(not (ROOT / "adult").is_dir(), reason="TL_LAB_DATA with the folder adult is not here")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def people(count: int = 60) -> pd.DataFrame:
    """Rows whose label follows age and job; one age in ten is missing."""
    draw = np.random.default_rng(0)
    age, job = draw.integers(20, 60, count), draw.choice(["cook", "smith", "clerk"], count)
    rich = np.where(age + 10 * (job == "clerk") > 42, "yes", "no")
    cells = [("?" if i % 10 == 3 else str(a)) for i, a in enumerate(age)]
    town, year = np.where(np.arange(count) % 2, "north", "south"), [f"20{10 + i % 9}-03-01" for i in range(count)]
    return pd.DataFrame({"age": cells, "job": job, "town": town, "year": year, "label": rich})


def written(folder: Path, table: pd.DataFrame, name: str = "people.csv") -> str:
    table.to_csv(folder / name, index=False)
    return str(folder / name)


def loaded(data: Table | TablePair):
    data.load()
    return data


def test_columns_that_are_unique_in_every_row_are_noted_and_kept(tmp_path: Path) -> None:
    table = people()
    table["customer"], table["code"] = range(1000, 1060), [f"c{i}" for i in range(60)]
    table["income"], table["seen"] = [i + 0.5 for i in range(60)], [i % 59 for i in range(60)]
    table["asked"] = ["?", *map(str, range(59))]
    path = written(tmp_path, table)

    def unique(**options) -> list[str]:
        return [note for note in loaded(Table(path=path, **options)).notes if "unique" in note]

    both = "customer and code are unique in every row: if they identify rows, leave them out with"
    assert unique() == [f"{both} data.drop=[customer,code]"]
    one = "code is unique in every row: if it identifies rows, leave it out with"
    assert unique(drop=["customer"]) == [f"{one} data.drop=[customer,code]"]
    assert unique(drop=["customer", "code"]) == []
    spaced = written(
        tmp_path, table.rename(columns={"code": "customer code"})[["age", "customer code", "label"]], "s.csv"
    )
    (note,) = [note for note in loaded(Table(path=spaced)).notes if "unique" in note]
    assert note.endswith("""rows, leave it out with 'data.drop=["customer code"]'""")
    assert loaded(Table(path=path)).columns.numbers == ("age", "customer", "income", "seen", "asked")
    path = written(tmp_path, table.iloc[:19], "few.csv")
    assert unique() == []


# ---------------------------------------------------------------------- columns


def test_numbers_and_categories_are_distinguished() -> None:
    table = pd.DataFrame({"a": ["1", "?", "2.5"], "b": ["x", "1", ""], "c": ["1", "2", "3"], "d": ["", "?", "NA"]})
    assert column_kinds(table, [*"abcd"], ["c"], MISSING, "t") == (["a"], ["b", "c"])
    typed = pd.DataFrame({"a": [1, 2], "b": [True, False], "c": [0.5, None]})
    assert column_kinds(typed, [*"abc"], [], MISSING, "t") == (["a", "c"], ["b"])
    with pytest.raises(UserError, match=r"column 'a' contains numbers and words .'two' in row 3.*data\.missing"):
        column_kinds(pd.DataFrame({"a": ["1", "2", "two"]}), ["a"], [], MISSING, "t")


def test_numbers_are_standardised_by_the_training_rows() -> None:
    train = pd.DataFrame({"n": ["1", "3", "?"], "c": ["b", "a", "b"]})
    spec = learn_columns(train, ["n"], ["c"], MISSING, 10, "t")
    assert (spec.mean, spec.deviation, spec.gaps, spec.values) == ((2.0,), (1.0,), ("n",), (("a", "b"),))
    x = spec.prepare(pd.DataFrame({"c": ["b", "new", "?", "a"], "n": [" 5 ", "2", "", "1"], "other": [1, 2, 3, 4]}))
    assert x["numbers"].tolist() == [[3.0], [0.0], [0.0], [-1.0]]
    assert x["known"].tolist() == [[1.0], [1.0], [0.0], [1.0]]
    assert x["categories"].tolist() == [[2], [0], [0], [1]]  # unseen and missing values are 0
    raw = spec.encode(train, "t")
    torch.testing.assert_close(spec.restore(spec.normalise(raw)), raw)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"c": ["a"]}, "has no column 'n'; did you mean|has no column 'n'; valid: c"),
        ({"n": ["x"], "c": ["a"]}, "column 'n' has 'x' in row 1, which is not a number"),
        ({"n": ["inf"], "c": ["a"]}, "column 'n' has 'inf' in row 1, which is not a number"),
    ],
)
def test_rows_that_do_not_fit_are_one_sentence(table: dict, message: str) -> None:
    spec = TableSpec(("n",), (0.0,), (1.0,), (), ("c",), (("a",),))
    with pytest.raises(UserError, match=message):
        spec.encode(pd.DataFrame(table), "rows.csv")


def test_constant_and_free_columns() -> None:
    table = pd.DataFrame({"n": ["7", "7"], "c": ["a", "b"]})
    assert learn_columns(table, ["n"], [], MISSING, 10, "t").deviation == (1.0,)
    with pytest.raises(UserError, match=r"'c' has 2 different values, more than data.most_categories=1: .*data.drop"):
        learn_columns(table, [], ["c"], MISSING, 1, "t")


def test_labels_that_mix_numbers_and_names() -> None:
    assert mixture_of({"0", "1", "yes"}) == "numbers (0, 1) and names (yes)"
    assert mixture_of({"0", "1", "A"}) == mixture_of({"0", "12"}) == mixture_of({"a b", "c"}) == ""


# ---------------------------------------------------------------------- sets


def test_a_table_is_split_and_says_what_it_holds(tmp_path: Path) -> None:
    data = loaded(Table(path=written(tmp_path, people()), group_column="town", time_column="year"))
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 42, "val": 6, "test": 12}
    assert data.class_names == ["no", "yes"]
    assert data.notes[:3] == ["1 number (age)", "2 categories (job, town)", "numbers are missing in age"]
    assert data.column_values == {"group": ["north", "south"]}
    train = data.sets["train"]
    assert torch.equal(train.columns["group"] + 1, train.x["categories"][:, 1])  # the group is an input, too
    known = [float(age) for age, town in zip(people().age, people().town, strict=True) if age != "?" and town]
    assert set(train.x["numbers"][train.x["known"] > 0].tolist()) <= set(known)
    hidden = loaded(Table(path=data.path, group_column="town", use_group=False, drop=["year"]))
    assert hidden.columns.categories == ("job",)


def test_several_labels_and_several_groups(tmp_path: Path) -> None:
    table = people().assign(old=[i % 2 for i in range(60)], tall=[i % 3 // 2 for i in range(60)])
    roles = {"group_column": ["town", "job"], "use_group": False}
    data = loaded(Table(path=written(tmp_path, table), label_column=["old", "tall"], drop=["year"], **roles))
    assert (data.problem.name, data.class_names) == ("multi_label", ["old", "tall"])
    assert set(data.columns.numbers + data.columns.categories) == {"age", "label"}
    assert data.column_values["group"] == sorted({f"{a}-{b}" for a, b in zip(table.town, table.job, strict=True)})
    scores = data.baselines()
    assert 0 <= scores["test/trees/auroc"] <= 1
    assert scores["test/trees/loss"] > 0


def test_rows_in_the_order_of_time(tmp_path: Path) -> None:
    data = loaded(Table(path=written(tmp_path, people()), time_column="year", split="time", test_share=0.25))
    times = {name: samples.columns["time"] for name, samples in data.sets.items()}
    assert len(times["test"]) == 15
    assert times["train"].max() <= times["val"].min() <= times["val"].max() <= times["test"].min()
    with pytest.raises(UserError, match=r"data\.split=time requires the column with the time"):
        Table(path=data.path, split="time")


def test_kinds_of_files_give_the_same_rows(tmp_path: Path) -> None:
    table = people().assign(age=pd.to_numeric(people().age, errors="coerce"))
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table.to_parquet(tmp_path / "people.parquet")
    one = loaded(Table(path=str(tmp_path / "people.parquet"), drop=["year"]))
    other = loaded(Table(path=written(tmp_path, people()), drop=["year"]))
    assert one.columns == other.columns
    assert one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "lable"}, "data.label_column: .* has no column 'lable'; did you mean 'label'"),
        ({"drop": ["ag"]}, "data.drop: .* has no column 'ag'"),
        ({"label_column": "mixed"}, r"the classes in column 'mixed' are numbers \(1\) and names \(two\)"),
        ({"missing": ["-"], "drop": ["year"]}, "column 'age' contains numbers and words"),
    ],
)
def test_mistakes_are_one_sentence(options: dict, message: str, tmp_path: Path) -> None:
    table = people().assign(mixed=np.where(np.arange(60) % 2, "1", "two"))
    with pytest.raises(UserError, match=message) as refused:
        loaded(Table(path=written(tmp_path, table), **options))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("label_column", "label", "has no column 'label', which is the default: set data.label_column to one of its"),
        ("text_column", "text", "has no column 'text', which is the default: set data.text_column to one of its"),
        ("domain_column", "shop", "has no column 'shop'; valid:"),
    ],
)
def test_a_default_that_is_no_column_is_no_misspelling(option: str, name: str, message: str) -> None:
    table = pd.DataFrame(columns=["income", "age", "default"])
    with pytest.raises(UserError) as refused:
        check_columns(table, option, [name], Path("loans.csv"))
    listed = "income, age, default"  # in the order of the file
    separator = " columns, " if "default:" in message else " "
    assert str(refused.value) == f"data.{option}: loans.csv {message}{separator}{listed}"


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n1,2\n", ["a", "b"], [["1", "2"]]),
        ("a,b,\n1,2,\n3,4,\n", ["a", "b"], [["1", "2"], ["3", "4"]]),  # a comma ends each line
        (",a\n0,1\n1,2\n", ["", "a"], [["0", "1"], ["1", "2"]]),  # the index of pandas
        ("a,a\n1,2\n", ["a", "a"], [["1", "2"]]),
        ("a,b\n1\n3,4\n", ["a", "b"], [["1", ""], ["3", "4"]]),
        ("Unnamed: 1,a\n1,2\n", ["Unnamed: 1", "a"], [["1", "2"]]),
        ('"a\nb",c\n"1\n2",3\n', ["a\nb", "c"], [["1\n2", "3"]]),
        ("\ufeffa,b\n1,2\n", ["a", "b"], [["1", "2"]]),
    ],
)
def test_cells_stand_below_the_names_of_the_header(text: str, names: list[str], rows: list, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    table = read_table(tmp_path / "table.csv")
    assert table.columns.tolist() == names
    assert table.to_numpy().tolist() == rows
    assert table.index.tolist() == list(range(len(rows)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,label\n1,2,x\n3,4,y\n", r"line 2 has 3 cells, but the header has 2"),  # else the first would be an index
        ("a,label\n1,x\n3,y,\n", r"line 3 has 3 cells, but the header has 2"),
        (",a,label\n0,1,x\n1,2,y\n", r"column 1 has no name: name it, or leave it out \(the index of pandas"),
        ("a,a,label\n0,1,x\n1,2,y\n", r"several columns called a: rename them"),
        ("label,a,label\nx,1,x\ny,2,y\n", r"2 columns called 'label': rename them"),
        ("", r"cannot be read as a table \(it is empty\)"),
    ],
)
def test_tables_whose_columns_are_not_known_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        loaded(Table(path=str(tmp_path / "table.csv")))
    assert "\n" not in str(refused.value)


def test_domains_by_a_value_and_by_time(tmp_path: Path) -> None:
    path = written(tmp_path, people())
    pair = loaded(TablePair(path=path, domain_column="town", source="north", target="south", drop=["year"]))
    assert pair.sets["target/train"].y is None
    assert pair.columns.categories == ("job",)  # what tells the domains apart is no input
    assert len(pair.sets["target/train"]) + len(pair.sets["target/test"]) == 30
    cut = loaded(TablePair(path=path, domain_column="year", cut=0.5, time_column="year"))
    assert cut.sets["source/train"].columns["time"].max() <= cut.sets["target/test"].columns["time"].min()
    with pytest.raises(UserError, match="there is no domain 'east'; valid: north, south"):
        loaded(TablePair(path=path, domain_column="town", source="north", target="east"))


# ---------------------------------------------------------------------- networks and trees


def test_a_row_is_numbers_flags_and_vectors_of_categories() -> None:
    spec = TableSpec(("a", "b"), (0.0, 0.0), (1.0, 1.0), ("b",), ("c",), (("x", "y"),))
    net = MLP(hidden=(), columns=spec)
    x = {"numbers": torch.tensor([[1.0, 0.0]]), "known": torch.tensor([[1.0, 0.0]]), "categories": torch.tensor([[2]])}
    expected = torch.cat([torch.tensor([[1.0, 0.0, 0.0]]), net.row.embeddings[0].weight[2:3]], 1)
    torch.testing.assert_close(net(x), expected)
    assert net.num_features == 5
    MLP(hidden=(4,), columns=spec).check_layer_groups()


def test_a_run_on_two_domains_beside_its_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    path = written(tmp_path, people(200))
    given = [f"data.path={path}", "data.domain_column=town", "data.source=north", "data.target=south"]
    given += ["data.time_column=year", "trainer.max_epochs=1", "logger=none", "figures=false", "health=false"]
    found = run_in(tmp_path / "run", "data=table_pair", "data.batch_size=16", "backbone.hidden=[8]", *given)
    data = loaded(TablePair(path=path, domain_column="town", source="north", target="south", time_column="year"))
    data.use(data.columns)

    def rows(name: str) -> np.ndarray:
        x = data.sets[name].x
        return np.column_stack([np.where(x["known"] > 0, x["numbers"], np.nan), x["categories"]])

    trees = HistGradientBoostingClassifier(random_state=0, categorical_features=[1])
    trees.fit(rows("source/train"), data.sets["source/train"].y)
    expected = float((trees.predict(rows("target/test")) == data.sets["target/test"].y.numpy()).mean())
    assert found["metrics"]["test/target trees/acc"] == pytest.approx(expected)
    model = load(tmp_path / "run")
    assert model.spec == data.columns
    predicted = pd.read_csv(predict_to_csv(tmp_path / "run", path))
    assert set(predicted.label) <= {"no", "yes"}
    truth = score(tmp_path / "run", path, tmp_path / "scores.json")
    right = float((predicted.label == people(200).label).mean())
    assert truth["metrics"]["test/people/acc"] == pytest.approx(right)
    is_monitored_and_described(tmp_path / "run", "data=table_pair", *given[:5])


def test_trees_predict_numbers_in_their_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path))
    table = pd.DataFrame({"x": np.arange(400) % 20, "label": 1000 + 10 * (np.arange(400) % 20)})
    data = loaded(Table(path=written(tmp_path, table), predict="numbers"))
    data.use(data.columns)
    scores = data.baselines()
    assert scores["test/trees/r2"] > 0.99
    assert scores["test/trees/mae"] < 2


# ---------------------------------------------------------------------- published tables


@real
def test_adult_as_published() -> None:
    data = loaded(Adult(label_column="income", group_column="sex", drop=["fnlwgt"]))
    assert [len(data.sets[name]) for name in ("train", "val", "test")] == [29305, 3256, 16281]
    assert data.class_names == ["<=50K", ">50K"]
    assert float(data.sets["test"].y.double().mean()) == pytest.approx(3846 / 16281)
    assert data.column_values["group"] == ["Female", "Male"]
    assert len(data.columns.numbers) == 5
    assert data.columns.values[-1][-1] == "Yugoslavia"


@real
def test_compas_and_its_published_rates() -> None:
    """False positive and false negative rates of scores of at least 5, in per cent, as ProPublica gave them."""
    data = loaded(
        Compas(label_column="two_year_recid", group_column="race", use_group=False, drop=["compas_screening_date"])
    )
    y, decile, race = (
        torch.cat([one(data.sets[name]) for name in data.sets])
        for one in (
            lambda samples: samples.y,
            lambda samples: samples.columns["decile"],
            lambda samples: samples.columns["group"],
        )
    )
    assert len(y) == 7214
    rates = {}
    for group in ("African-American", "Caucasian"):
        here = race == data.column_values["group"].index(group)
        high = decile[here] >= 5
        rates[group] = [
            round(100 * float(part.double().mean()), 2) for part in (high[y[here] == 0], ~high[y[here] == 1])
        ]
    assert rates == {"African-American": [44.85, 27.99], "Caucasian": [23.45, 47.72]}
    assert "race" not in data.columns.categories


@real
def test_elec2_in_the_order_of_time() -> None:
    data = loaded(Electricity(label_column="class", group_column="day", time_column="row"))
    assert sum(len(samples) for samples in data.sets.values()) == 45312
    assert data.sets["train"].columns["time"].tolist() == list(range(len(data.sets["train"])))
    assert data.columns.numbers == ("day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
