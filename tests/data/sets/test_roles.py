"""Groups, domains and times of tables of every kind: splits by them, pairs of domains, and refused options."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from tl_lab.config import choices, compose
from tl_lab.config.declared import COLUMN_OPTIONS
from tl_lab.data.base import DataModule
from tl_lab.data.sets.image_table import ImageTable
from tl_lab.data.sets.roles import Roles, domains_of
from tl_lab.data.sets.speech_table import SpeechTable
from tl_lab.data.sets.table import Table, TablePair
from tl_lab.data.sets.tasks_of_table import TasksOfTable
from tl_lab.data.sets.text_pairs import TextTablePair
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError
from tl_lab.run.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
COUNT, USERS = 60, 20
SHOPS = ("books", "dvd", "music")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rows of twenty users, of whom 0 to 9 write in two shops; row ``i`` is from day ``7 i mod 60``."""
    folder = tmp_path_factory.mktemp("rows")
    rows = np.arange(COUNT)
    table = pd.DataFrame({"path": [f"{i}.png" for i in rows], "wave": [f"{i}.wav" for i in rows]})
    table["text"], table["label"] = [f"text {i}" for i in rows], np.where(rows % 2, "good", "bad")
    table["said"], table["height"] = np.where(rows % 2, "yes", "no"), rows / 7
    table["user"] = [f"u{i % USERS:02d}" for i in rows]
    table["shop"] = [SHOPS[(i // USERS) % 2] if i % USERS < 10 else SHOPS[i % 3] for i in rows]
    table["day"] = [(pd.Timestamp("2024-01-01") + pd.Timedelta(days=int(7 * i % COUNT))).isoformat() for i in rows]
    table.to_csv(folder / "rows.csv", index=False)
    for i in rows:
        Image.fromarray(np.full((8, 8), 4 * i, np.uint8)).save(folder / f"{i}.png")
        wavfile.write(folder / f"{i}.wav", 8000, np.full(400, 30 * (i + 1), np.int16))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def tasks(**options) -> TasksOfTable:
    return TasksOfTable(tasks={"label": "classes", "height": "numbers"}, **options)


def images(**options) -> ImageTable:
    return ImageTable(label_column="label", **options)


def speech(**options) -> SpeechTable:
    return SpeechTable(audio_column="wave", transcript_column="said", **options)


def large(**options) -> TextTable:
    return TextTable(lazy=True, **options)


KINDS: dict[str, Callable[..., DataModule]] = {
    "table": Table, "texts": TextTable, "stored": large, "tasks": tasks, "images": images, "speech": speech
}  # fmt: skip
of_every_kind = pytest.mark.parametrize("kind", KINDS)
of_every_pair = pytest.mark.parametrize("kind", [TablePair, TextTablePair])


def loaded(kind: Callable[..., DataModule], place: Path, **options) -> DataModule:
    data = kind(path=str(place / "rows.csv"), **options)
    data.load()
    return data


def written(place: Path) -> pd.DataFrame:
    return pd.read_csv(place / "rows.csv")


# ---------------------------------------------------------------------- sets


@of_every_kind
def test_columns_are_those_of_the_table(kind: str, place: Path) -> None:
    data = loaded(KINDS[kind], place, group_column="user", domain_column="shop", time_column="day")
    assert data.column_values == {"group": sorted(set(written(place).user)), "domain": [*SHOPS]}
    rows = set()
    for samples in data.sets.values():
        users, shops = (data.column_values[name] for name in ("group", "domain"))
        for user, shop, time in zip(
            *(samples.columns[one].tolist() for one in ("group", "domain", "time")), strict=True
        ):
            rows.add((users[user], shops[shop], pd.Timestamp(time, unit="s").isoformat()))
    table = written(place)
    assert rows == set(zip(table.user, table.shop, table.day, strict=True))  # each row once: days differ
    assert sum(map(len, data.sets.values())) == COUNT


@of_every_kind
def test_a_split_by_group_divides_no_group(kind: str, place: Path) -> None:
    data = loaded(KINDS[kind], place, group_column="user", split="group")
    groups = {name: set(samples.columns["group"].tolist()) for name, samples in data.sets.items()}
    assert {name: len(found) for name, found in groups.items()} == {"train": 14, "val": 2, "test": 4}  # three rows each
    assert set.union(*groups.values()) == set(range(USERS))
    divided = loaded(KINDS[kind], place, group_column="user")
    both = set(divided.sets["train"].columns["group"].tolist()) & set(divided.sets["test"].columns["group"].tolist())
    assert both  # a random split divides groups


@of_every_kind
def test_a_split_by_time_tests_on_the_latest_rows(kind: str, place: Path) -> None:
    data = loaded(KINDS[kind], place, time_column="day", split="time")
    days = [(samples.columns["time"] / 86400 - 19723).long().tolist() for samples in data.sets.values()]
    assert [sorted(found) for found in days] == [[*range(42)], [*range(42, 48)], [*range(48, 60)]]  # since 2024-01-01


@of_every_kind
@pytest.mark.parametrize("role", ["group", "domain", "time"])
def test_a_column_that_the_table_lacks_is_named_beside_those_it_has(kind: str, role: str, place: Path) -> None:
    with pytest.raises(UserError, match=rf"data\.{role}_column: .*rows\.csv has no column 'users'") as refused:
        loaded(KINDS[kind], place, **{f"{role}_column": "users"})
    assert "user" in str(refused.value).partition("'users'")[2]
    assert "\n" not in str(refused.value)


@of_every_kind
def test_the_content_is_that_of_the_file_for_every_seed_and_split(kind: str, place: Path, tmp_path: Path) -> None:
    for options in ({}, {"split": "group", "group_column": "user"}, {"split": "time", "time_column": "day"}):
        whole = [loaded(KINDS[kind], place, seed=seed, **options) for seed in (0, 1)]
        assert whole[0].content_hash == whole[1].content_hash  # or runs of several seeds would not be averaged
        if options:
            column = options[f"{options['split']}_column"]
            table = written(place)
            table[column] = table[column].sample(frac=1.0, random_state=0).to_numpy()
            for file in place.iterdir():
                (tmp_path / file.name).unlink(missing_ok=True)
                (tmp_path / file.name).symlink_to(file)
            (tmp_path / "rows.csv").unlink()
            table.to_csv(tmp_path / "rows.csv", index=False)
            assert loaded(KINDS[kind], tmp_path, **options).content_hash != whole[0].content_hash


@of_every_kind
@pytest.mark.parametrize("role", ["group", "time"])
def test_a_split_without_its_column_is_refused(kind: str, role: str) -> None:
    with pytest.raises(UserError, match=rf"data\.split={role} requires .*: set data\.{role}_column"):
        KINDS[kind](path="rows.csv", split=role)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.split=tim is unknown; did you mean 'time'"):
        Roles(time_column="day", split="tim")  # type: ignore[arg-type]


def test_a_small_part_for_the_test_is_reported(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": [f"text {i}" for i in range(120)], "label": ["good", "bad"] * 60})
    table["user"], table["shop"] = [f"u{i % 20:02d}" for i in range(120)], ["books"] * 60 + ["dvd"] * 60
    options = {"domain_column": "shop", "source": "books", "target": "dvd", "group_column": "user", "split": "group"}
    table.to_csv(tmp_path / "rows.csv", index=False)
    data = loaded(TextTablePair, tmp_path, **options)
    assert not any(note.startswith("target/test") for note in data.notes)
    one = data.column_values["group"][int(data.sets["source/train"].columns["group"][0])]
    table.loc[60:, "user"] = [one] * 59 + ["new"]  # a user of the source's training part wrote all other rows
    table.to_csv(tmp_path / "rows.csv", index=False)
    data = loaded(TextTablePair, tmp_path, **options)
    assert len(data.sets["target/test"]) == 1
    assert any("target/test: 1 of 60 rows instead of 20%" in note for note in data.notes)


def test_two_splits_are_refused() -> None:
    for option in ("split_column", "patient_column"):
        with pytest.raises(UserError, match=rf"data\.split=time and data\.{option} both determine the split"):
            images(path="rows.csv", time_column="day", split="time", **{option: "user"})
    for option in ("split_column", "speaker_column"):
        with pytest.raises(UserError, match=rf"data\.split=group and data\.{option} both determine the split"):
            speech(path="rows.csv", group_column="shop", split="group", **{option: "user"})


def test_speakers_are_groups_unless_others_are_given(place: Path) -> None:
    alone = loaded(speech, place, speaker_column="user")
    assert list(alone.column_values) == ["group"]
    beside = loaded(speech, place, speaker_column="user", group_column="shop")
    assert beside.column_values == {"group": [*SHOPS], "speaker": alone.column_values["group"]}
    for name, samples in beside.sets.items():  # the speakers determine the split in both
        assert torch.equal(samples.columns["speaker"], alone.sets[name].columns["group"])


# ---------------------------------------------------------------------- pairs


@of_every_pair
def test_domains_are_the_cells_of_their_column(kind, place: Path) -> None:
    options = {"domain_column": "shop", "source": ["books", "music"], "target": "dvd"}
    data = loaded(kind, place, **options, time_column="day")
    table = written(place).assign(day=lambda rows: pd.to_datetime(rows.day))
    for domain, shops in (("source", options["source"]), ("target", ["dvd"])):
        times = [
            time for name, one in data.sets.items() if name.startswith(domain) for time in one.columns["time"].tolist()
        ]
        assert {pd.Timestamp(time, unit="s") for time in times} == set(table.day[table.shop.isin(shops)])
        assert len(times) == table.shop.isin(shops).sum()


@of_every_pair
def test_no_group_is_trained_on_in_one_domain_and_tested_in_the_other(kind, place: Path) -> None:
    for seed in range(5):
        options = {"group_column": "user", "split": "group", "seed": seed}
        data = loaded(kind, place, domain_column="shop", source="books", target="dvd", **options)
        groups = {name: set(samples.columns["group"].tolist()) for name, samples in data.sets.items()}
        trained, tested = (groups[f"source/{part}"] | groups[f"target/{part}"] for part in ("train", "test"))
        assert not trained & tested
        assert not groups["source/val"] & (trained | tested)  # it selects checkpoints
        assert set.union(*(found for name, found in groups.items() if "source" in name)) & (
            groups["target/train"] | groups["target/test"]
        )  # some users write in both shops
        given, rows = written(place), len(data.sets["target/train"]) + len(data.sets["target/test"])
        of_dvd = given[given.shop == "dvd"]
        users = {sorted(set(given.user)).index(user) for user in of_dvd.user} & groups["source/val"]
        out = int(of_dvd.user.isin([sorted(set(given.user))[user] for user in users]).sum())
        assert rows == len(of_dvd) - out
        assert any(f"target: {out} of {len(of_dvd)} rows left out" in note for note in data.notes) == bool(out)
        assert len(data.sets["target/test"]) >= round(0.2 * len(of_dvd))


@of_every_pair
def test_each_domain_is_split_by_time(kind, place: Path) -> None:
    data = loaded(kind, place, domain_column="shop", source="books", target="dvd", time_column="day", split="time")
    times = {name: samples.columns["time"] for name, samples in data.sets.items()}
    assert times["source/train"].max() < times["source/val"].min() <= times["source/val"].max()
    assert times["source/val"].max() < times["source/test"].min()
    assert times["target/train"].max() < times["target/test"].min()


@of_every_pair
def test_a_point_in_time_makes_two_domains(kind, place: Path) -> None:
    data = loaded(kind, place, domain_column="day", cut=0.25, time_column="day")
    days = {name: (samples.columns["time"] / 86400 - 19723).long() for name, samples in data.sets.items()}
    early = torch.cat([found for name, found in days.items() if name.startswith("source")])
    late = torch.cat([found for name, found in days.items() if name.startswith("target")])
    assert (early.sort().values.tolist(), late.sort().values.tolist()) == ([*range(15)], [*range(15, 60)])
    with pytest.raises(UserError, match=r"data\.domain_column=shop has 'books', which is neither a number nor a date"):
        loaded(kind, place, domain_column="shop", cut=0.25)


@of_every_pair
def test_targets_that_cannot_be_divided_are_refused(kind, place: Path) -> None:
    pairs = {"domain_column": "shop", "source": "books", "target": "dvd"}
    table = written(place)
    table.loc[table.shop == "dvd", "user"] = "u99"
    table.to_csv(place / "one.csv", index=False)
    with pytest.raises(UserError, match=r"data\.target: its groups cannot be divided into training and test"):
        kind(path=str(place / "one.csv"), group_column="user", split="group", **pairs).load()
    for role in ("group", "time"):
        with pytest.raises(UserError, match=rf"data\.split={role} requires"):
            kind(path="rows.csv", split=role)


def test_the_domain_before_a_threshold_has_its_share_of_the_rows() -> None:
    table = pd.DataFrame({"age": ["3", "1", "10", "2"]})
    assert domains_of(table, "age", 0.5, Path("t.csv")) == ["after", "before", "after", "before"]
    assert domains_of(table, "age", None, Path("t.csv")) == ["3", "1", "10", "2"]


def test_roles_that_are_not_set_have_no_columns() -> None:
    assert Roles().read(pd.DataFrame({"a": ["x"]}), Path("t.csv")) == ({}, {})
    assert Roles(["a", "b"], time_column="c").named == [("group_column", ["a", "b"]), ("time_column", ["c"])]


# ---------------------------------------------------------------------- from the command line


@pytest.mark.parametrize("choice", ["table", "text_table", "tasks_of_table", "image_table", "speech_table"])
def test_choices_of_sets_take_the_same_names(choice: str) -> None:
    options = ["data.group_column=user", "data.domain_column=shop", "data.time_column=[day,clock]", "data.split=time"]
    more = ["data.tasks={a: classes}"] if choice == "tasks_of_table" else []
    plan = Plan.of(compose([f"data={choice}", "data.path=rows.csv", *options, *more]))
    assert plan.data.build().roles == Roles("user", "shop", ["day", "clock"], "time")


@pytest.mark.parametrize("choice", ["table_pair", "text_table_pair", "adult_pair", "compas_pair", "electricity_pair"])
def test_choices_of_pairs_take_the_same_names(choice: str) -> None:
    options = ["data.group_column=user", "data.domain_column=shop", "data.time_column=day", "data.split=group"]
    data = Plan.of(compose([f"data={choice}", *options, "data.cut=0.5"] + ["data.path=rows.csv"] * ("table" in choice)))
    built = data.data.build()
    assert (built.roles, built.domain_column, built.cut) == (Roles("user", None, "day", "group"), "shop", 0.5)


def test_the_choices_that_the_message_names_have_the_option() -> None:
    keys = {name: set(compose([f"data={name}"]).data) for name in choices("data")["data"]}
    for option, named in COLUMN_OPTIONS.items():
        having = {name for name, known in keys.items() if option.removeprefix("data.") in known}
        assert set(named) == {name for name in having if "path" in keys[name]} - {"chest_xray"}


def test_other_domains_of_the_same_texts_are_other_contents(place: Path, tmp_path: Path) -> None:
    def content(table: pd.DataFrame) -> str:
        table.to_csv(tmp_path / "rows.csv", index=False)
        data = TextTablePair(path=str(tmp_path / "rows.csv"), domain_column="shop", pair="books_to_dvd")
        data.load()
        return data.content_hash

    table = pd.read_csv(place / "rows.csv")
    first = content(table)
    assert content(table) == first
    table.loc[table["shop"] == "music", "shop"] = "books"
    assert content(table) != first
