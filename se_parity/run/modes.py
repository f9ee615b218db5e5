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
        seconds: of its first run of se_resnet18 with 2 images of 64x49, rounded: for estimates only.
        variables: environment variables of its worker; modes that differ in them never share a worker.
        lacks: the dtypes that it cannot compute in, each with the reason.
    """

    framework: str
    name: str
    meaning: str
    seconds: float
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    lacks: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.framework} {self.name}"


MODES = (
    Mode("torch", "eager", "operation by operation", 0.5),
    Mode("torch", "channels_last", "the same with images and kernels in channels_last memory", 0.2),
    Mode("torch", "compile", "torch.compile", 20),
    Mode("torch", "export", "torch.export, saved, loaded and run", 1.2),
    Mode("torch", "xla", "torch_xla, where the interpreter has it", 3, {"PJRT_DEVICE": "CPU"}),
    Mode("tf", "eager", "operation by operation", 0.2),
    Mode("tf", "graph", "tf.function", 0.4),
    Mode("tf", "xla", "tf.function with jit_compile", 1),
    Mode(
        "tf",
        "jax",
        "Keras on JAX",
        4,
        {"KERAS_BACKEND": "jax"},
        {"float64": "Keras normalises float64 in float32 on JAX (keras 3.15: off by 2.5e-7)"},
    ),
    Mode(
        "tf",
        "torch",
        "Keras on torch",
        0.2,
        {"KERAS_BACKEND": "torch"},
        {"float64": "Keras multiplies float64 in float32 on torch (keras 3.15, backend/common/dtypes.py)"},
    ),
    Mode("flax", "eager", "operation by operation", 1.7),
    Mode("flax", "jit", "nnx.jit", 0.7),
    Mode("flax", "linen", "as a Linen module, through nnx.bridge", 1.2),
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
