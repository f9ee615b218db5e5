"""The table of modes: the ways in which each framework can run a network. The runners implement them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mode:
    """One way to run a network in a framework.

    Attributes:
        framework: "torch", "tf" or "flax".
        name: unique within the framework.
        meaning: what the framework does.
        variables: environment variables of its worker; modes that differ in them never share a worker.
        lacks: the dtypes that it cannot compute in, each with the reason.
    """

    framework: str
    name: str
    meaning: str
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    lacks: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.framework} {self.name}"


MODES = (
    Mode("torch", "eager", "operation by operation"),
    Mode("torch", "channels_last", "the same with images and kernels in channels_last memory"),
    Mode("torch", "compile", "torch.compile"),
    Mode("torch", "export", "torch.export, saved, loaded and run"),
    Mode("torch", "xla", "torch_xla, where the interpreter has it", {"PJRT_DEVICE": "CPU"}),
    Mode("tf", "eager", "operation by operation"),
    Mode("tf", "graph", "tf.function"),
    Mode("tf", "xla", "tf.function with jit_compile"),
    Mode(
        "tf",
        "jax",
        "Keras on JAX",
        {"KERAS_BACKEND": "jax"},
        {"float64": "Keras normalises float64 in float32 on JAX (keras 3.15: off by 2.5e-7)"},
    ),
    Mode(
        "tf",
        "torch",
        "Keras on torch",
        {"KERAS_BACKEND": "torch"},
        {"float64": "Keras multiplies float64 in float32 on torch (keras 3.15, backend/common/dtypes.py)"},
    ),
    Mode("flax", "eager", "operation by operation"),
    Mode("flax", "jit", "nnx.jit"),
    Mode("flax", "linen", "as a Linen module, through nnx.bridge"),
)

QUICK_MODES = ("eager", "export", "graph", "jit")
"""The modes of a quick run: operation by operation, and one compiled form a framework. torch.compile takes longer than
all of them together."""

MODE_NAMES = tuple(dict.fromkeys(mode.name for mode in MODES))


def modes_of(framework: str, names: tuple[str, ...] | list[str] = ()) -> list[Mode]:
    """The modes of a framework.

    Args:
        framework: "torch", "tf" or "flax".
        names: names of modes, of which the framework may have some; all of its modes if empty.
    """
    return [mode for mode in MODES if mode.framework == framework and (not names or mode.name in names)]
