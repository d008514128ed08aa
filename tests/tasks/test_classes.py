"""Classes asked for by name or id."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from yolox_deploy.errors import UsageError
from yolox_deploy.tasks.classes import as_list, class_ids_of

NAMES = ("cat", "dog", "hot dog")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dog", [1]),
        ("hot dog", [2]),
        (2, [2]),
        (0, [0]),
        (np.int64(1), [1]),
        (["dog", 0], [1, 0]),
        (("cat",), [0]),
        ({"cat"}, [0]),
        (np.array([2, 1]), [2, 1]),
        (np.array(["dog"]), [1]),
        (np.array(1), [1]),
        ((name for name in NAMES), [0, 1, 2]),
        ([], []),
    ],
)
def test_a_single_name_or_id_means_that_one_class(given: Any, expected: list[int]) -> None:
    assert class_ids_of(given, NAMES) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("dgo", "no class 'dgo'; did you mean 'dog'"),
        ("Dog", "did you mean 'dog'"),
        ("1", "give the number 1"),
        ("cat,dog", "a list of names"),
        ("", "no class ''"),
        (3, r"class id 3 is not in 0\.\.2"),
        (-1, "-1"),
        (True, "True"),
        (1.0, r"1\.0"),
        ([True], "True"),
        ([None], "None"),
        ([["cat"]], "cat"),
        (b"cat", "names or ids"),
        (np.array(1.5), "names or ids"),
    ],
)
def test_what_is_no_class_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        class_ids_of(given, NAMES)
    assert "\n" not in str(caught.value)


def test_without_names_any_id_will_do_but_no_name() -> None:
    assert class_ids_of([7, 900], ()) == [7, 900]
    with pytest.raises(UsageError, match="class id instead of 'cat'"):
        class_ids_of("cat", ())
    with pytest.raises(UsageError, match="0 or more"):
        class_ids_of(-1, ())


def test_nothing_stays_nothing() -> None:
    assert as_list(None) is None
    assert as_list([]) == []
