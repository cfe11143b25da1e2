"""Lines of a command's log: the time of day and the message; warnings and errors say so."""

import logging as standard
import re

import pytest
from absl import logging

from encore_jax.command_line import start_logging


@pytest.fixture
def line_of():
    """What the log writes of a message."""
    handler = logging.get_absl_handler().python_handler
    before, filters = handler.formatter, list(logging.get_absl_handler().filters)

    def line_of(level, text, **options):
        start_logging(**options)
        record = standard.LogRecord("absl", level, "progress.py", 50, text, (), None)
        shown = logging.get_absl_handler()
        assert shown.filter(record)
        return shown.format(record)

    yield line_of
    handler.setFormatter(before)
    logging.get_absl_handler().filters[:] = filters


@pytest.mark.parametrize(
    "level, said", [(standard.INFO, "hello"), (standard.WARNING, "warning: hello"), (standard.ERROR, "error: hello")]
)
def test_a_line_is_the_time_of_day_and_the_message(line_of, level, said):
    assert re.fullmatch(r"\d\d:\d\d:\d\d " + said, line_of(level, "hello"))


def test_control_characters_are_escaped_and_short_commands_show_no_time(line_of):
    assert line_of(standard.INFO, "red\x1b[31m", times=False) == "red\\x1b[31m"
