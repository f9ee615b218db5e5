"""What a worker does in each framework. One module a framework, the same names in each:

`prepare(device)` sets what moves the numbers, and raises DeviceMissing; `environment()` says what ran;
`load(architecture, weights, dtype)` returns a model; `MODES` maps a mode's name to a function that turns a model into
a function from images (N, C, H, W) to logits; `features(model)` turns it into one to the output of every block.
"""

RUNNERS = {
    "torch": "se_parity.runners.run_torch",
    "tf": "se_parity.runners.run_tf",
    "flax": "se_parity.runners.run_flax",
}


class DeviceMissing(Exception):
    """The framework sees no device of the kind that was asked for."""
