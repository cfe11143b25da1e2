"""Which platform a program is traced for."""

from __future__ import annotations

import jax


def platform() -> str:
    """The platform that is traced for: that of the mesh set with ``jax.set_mesh``, else of the default device.

    Devices of such a mesh may be only described, as when compiling for a slice that is not there. Arrays that lie
    elsewhere than on the default device cannot be told from here; name the implementation for them.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device or jax.config.jax_default_device
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform
