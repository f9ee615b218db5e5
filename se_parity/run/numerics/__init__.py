"""The settings of each framework that change its results: set by one context manager, restored after it, and verified.

There is one module a framework, with the same names in each. `exact(device)` is the context manager: within it,
products, convolutions and sums have the full precision of the dtype and are deterministic; it raises DeviceMissing.
`multiply`, `convolve` and `scale` are the operations with which `probe` verifies that. Settings that must precede the
import of a framework are environment variables, in se_parity.run.client.
"""

from se_parity.run.numerics.probes import Probe, probe

__all__ = ["DeviceMissing", "Probe", "probe"]


class DeviceMissing(Exception):
    """The framework sees no device of the requested kind."""
