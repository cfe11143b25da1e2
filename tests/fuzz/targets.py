"""Every loader, by name."""

from tests.fuzz.data_targets import DATA_TARGETS
from tests.fuzz.model_targets import MODEL_TARGETS
from tests.fuzz.run_targets import RUN_TARGETS

TARGETS = MODEL_TARGETS | DATA_TARGETS | RUN_TARGETS
