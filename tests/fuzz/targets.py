"""Every loader, by name."""

from tests.fuzz.command_targets import COMMAND_TARGETS
from tests.fuzz.data_targets import DATA_TARGETS
from tests.fuzz.model_targets import MODEL_TARGETS
from tests.fuzz.run_targets import RUN_TARGETS
from tests.fuzz.stored_targets import STORED_TARGETS

TARGETS = MODEL_TARGETS | DATA_TARGETS | RUN_TARGETS | STORED_TARGETS | COMMAND_TARGETS
