"""What is left out of a table is named."""

import numpy as np

from selfsight.evaluation.task import Task, pose

NAMES = ("ant", "bee", "cow", "dog")


def test_what_is_left_out() -> None:
    labels = np.array([0, 0, 1, 1, 3, 3, -1, 2, 0, 1])
    test = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1], dtype=bool)
    task = pose(labels, np.arange(10), test, NAMES)
    assert isinstance(task, Task)
    assert task.classes == ("ant", "bee", "dog")
    assert task.test.tolist() == [8, 9]
    assert task.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert task.test_labels.tolist() == [0, 1]
    assert task.majority == 0.5
    assert task.summary() == {"train": 6, "test": 2, "test_groups": 2, "classes": 3, "majority": 0.5}
    assert task.notes == (
        "Classes with a single picture: 'cow'.",
        "Left out, for no training picture shows them: 'cow' (1 pictures).",
        "Left out, for they have no label: 1 of 10 pictures.",
    )


def test_no_task() -> None:
    test = np.array([False, False, True])
    assert pose(np.array([-1, -1, -1]), np.arange(3), test, ()) == "The pictures have no labels."
    assert "two are needed" in str(pose(np.array([0, 0, 1]), np.arange(3), test, NAMES))
    assert "No test picture" in str(pose(np.array([0, 1, -1]), np.arange(3), test, NAMES))
