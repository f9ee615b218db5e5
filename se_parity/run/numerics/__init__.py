"""The settings of each framework that move its numbers: set in one context, put back after it, and proved by probes.

One module a framework, the same names in each: `exact(device)` is the context, in which products, convolutions and
sums are the dtype's own and repeat; it raises DeviceMissing. `multiply`, `convolve` and `scale` are the operations that
`probe` proves it with. What must be set before the framework is imported stands in se_parity.run.client.
"""

from se_parity.run.numerics.probes import Probe, probe

__all__ = ["DeviceMissing", "Probe", "probe"]


class DeviceMissing(Exception):
    """The framework sees no device of the kind that was asked for."""
