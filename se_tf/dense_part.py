"""The base of the parts of an SE-DenseNet in Keras: it makes them serialisable, so that models can be saved."""

from dataclasses import asdict
from typing import Any, ClassVar, Self

import keras

from se_spec import DenseLayer, Transition
from se_spec.architecture import as_tuple

Sizes = DenseLayer | Transition | list[DenseLayer]
Shape = tuple[int | None, ...]


class DensePart(keras.layers.Layer):
    """A layer whose configuration is a DenseLayer, several of them, or a Transition.

    Args:
        sizes: sizes and settings of the part.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    sizes_class: ClassVar[type]

    def __init__(self, sizes: Sizes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own_config = [asdict(each) for each in sizes] if isinstance(sizes, list) else asdict(sizes)

    def build(self, shape: Shape | list[Shape]) -> None:
        """Builds the inner layers by calling them on symbolic tensors: weights can then be loaded before any call."""
        dtype = self.compute_dtype
        if isinstance(shape, list):
            self.call([keras.KerasTensor(each, dtype=dtype) for each in shape])
        else:
            self.call(keras.KerasTensor(shape, dtype=dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": self.own_config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        own = config["sizes"]
        options = {name: value for name, value in config.items() if name != "sizes"}
        return cls([cls._sizes(each) for each in own] if isinstance(own, list) else cls._sizes(own), **options)

    @classmethod
    def _sizes(cls, config: dict[str, Any]) -> Any:
        """The dataclass, from JSON, which has no tuples."""
        return cls.sizes_class(**{name: as_tuple(value) for name, value in config.items()})
