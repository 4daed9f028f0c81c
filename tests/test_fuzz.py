"""A little of `benchmarks/fuzz.py`, with the same draws every time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fuzzing
import pytest
from hypothesis import HealthCheck, Phase, given, settings


def draws(count: int) -> settings:
    """So many, always the same; one that fails isn't made smaller, which takes long."""
    checks: Any = list(HealthCheck)
    phases = [Phase.explicit, Phase.generate]
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=checks,
        phases=phases,
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    fuzzing.make_runs(folder)
    return folder


@draws(25)
@given(words=fuzzing.runs())
def test_any_run_ends_in_the_table_of_exit_codes(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("run")
    fuzzing.overwrites_nothing(folder, words)
    shutil.rmtree(folder)


@draws(40)
@given(words=fuzzing.others())
def test_any_command_on_what_is_not_there_is_one_line(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("other")
    fuzzing.overwrites_nothing(folder, words)
    shutil.rmtree(folder)


def _one(check: Callable[[Any], Any]) -> Callable[[Any], None]:
    def damaged(edits: Any) -> None:
        check(edits)

    return damaged


def test_a_damaged_file_gives_the_same_answer_or_is_refused(here: Path):
    for victim, good in fuzzing.good_answers(here):
        check = partial(fuzzing.check_damaged, here, victim, good)
        draws(4)(given(fuzzing.EDITS)(_one(check)))()
