"""The base of the parts of an SE-DenseNet in Keras: it makes them serialisable, so that models can be saved."""

from dataclasses import asdict
from typing import Any, ClassVar, Self

from se_spec import DenseLayer, Transition
from se_spec.architecture import as_tuple
from se_tf.part import Part

Sizes = DenseLayer | Transition | list[DenseLayer]


class DensePart(Part):
    """A layer whose configuration is a DenseLayer, several of them, or a Transition.

    Args:
        sizes: sizes and settings of the part.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    sizes_class: ClassVar[type]

    def __init__(self, sizes: Sizes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own_config = [asdict(each) for each in sizes] if isinstance(sizes, list) else asdict(sizes)

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
