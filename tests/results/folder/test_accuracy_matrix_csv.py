"""The table of accuracies of a stream."""

import csv
import math

import pytest

from tl_lab.results.folder.accuracy_matrix_csv import write_accuracy_matrix

NAN = math.nan


def test_the_matrix_is_written_whole_with_empty_cells_where_nothing_is_defined(tmp_path):
    matrix = [[NAN, NAN], [0.1 + 0.2, NAN], [0.0, 1.0]]
    path = write_accuracy_matrix(tmp_path / "run" / "accuracy_matrix.csv", matrix, ["task1", "task2"])
    assert path.read_text().splitlines() == [
        "after,task1,task2",
        "before training,,",
        "task1,0.30000000000000004,",
        "task2,0.0,1.0",
    ]
    assert [file.name for file in path.parent.iterdir()] == ["accuracy_matrix.csv"]


def test_the_numbers_come_back_to_the_last_bit(tmp_path):
    matrix = [[1 / 3, 2 / 7], [0.1, 5 / 9], [1e-17, 1.0]]
    path = write_accuracy_matrix(tmp_path / "matrix.csv", matrix, ["a", "b, or c"])
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [[float(value) for value in row[1:]] for row in rows] == matrix


def test_another_shape_is_our_own_mistake(tmp_path):
    with pytest.raises(AssertionError):
        write_accuracy_matrix(tmp_path / "matrix.csv", [[0.1, 0.2]], ["a", "b"])
