"""What Keras needs of a residual block beside its layers: that it can be saved and made again."""

from dataclasses import asdict
from typing import Any, Self

import keras

from se_spec import Block


class ResidualBlock(keras.layers.Layer):
    """A layer made from the facts of a Block; they are its configuration."""

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block
        self.zero_init_residual = zero_init_residual

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Calling the layers on a symbol builds them, so that a saved block can be loaded before it is called."""
        self.call(keras.KerasTensor(shape, dtype=self.compute_dtype))

    def get_config(self) -> dict[str, Any]:
        own = {"block": asdict(self.block), "zero_init_residual": self.zero_init_residual}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "block": Block(**config["block"])})
