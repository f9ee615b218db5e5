"""The base of the residual blocks in Keras: it makes them serialisable, so that a model can be saved and cloned."""

from dataclasses import asdict
from typing import Any, Self

from se_spec import Block
from se_tf.part import Part


class ResidualBlock(Part):
    """A layer whose configuration is its Block.

    Args:
        block: sizes and settings of the block.
        zero_init_residual: start the gain of the last norm at zero.
        **kwargs: `name`, `dtype` and the other arguments of keras.layers.Layer.
    """

    def __init__(self, block: Block, *, zero_init_residual: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block
        self.zero_init_residual = zero_init_residual

    def get_config(self) -> dict[str, Any]:
        own = {"block": asdict(self.block), "zero_init_residual": self.zero_init_residual}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "block": Block(**config["block"])})
