"""Whether all processes see one and the same folder, found out before any of them waits for another one's files."""

from __future__ import annotations

import secrets

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from encore_jax.errors import InputError
from encore_jax.parallel.processes import on_every_process


def check_shared(folder: epath.Path) -> None:
    """Makes the folder on process 0's storage, leaves a mark there, and looks for it on every process.

    Args:
      folder: a path that all processes name, on a disk or in a bucket.

    Raises:
      InputError: a process does not see the mark, or process 0 cannot write. On all processes.
    """
    mark, problem, seen = folder / ".shared", "", False
    token = str(multihost_utils.broadcast_one_to_all(np.int32(secrets.randbelow(2**31))))
    try:  # a process that stopped here would be waited for
        folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            mark.write_text(token)
    except Exception as error:  # whatever the storage raises
        problem = f": {error}"
    multihost_utils.sync_global_devices("folder marked")
    try:
        seen = not problem and mark.read_text() == token
    except Exception as error:  # it is not there, most likely
        problem = f": {error}"
    shared = on_every_process(seen)
    if jax.process_index() == 0 and seen:
        mark.unlink()
    if not shared.all():
        blind = ", ".join(map(str, np.flatnonzero(~shared)))
        raise InputError(
            f"process {blind} does not see what process 0 writes there{problem}",
            where=str(folder),
            fix="keep checkpoints where all processes can write: --checkpoints=gs://BUCKET/RUN, or a shared disk",
        )
