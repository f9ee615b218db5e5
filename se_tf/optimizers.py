"""torch's optimisers in Keras, so that a checkpoint is fine-tuned alike in every framework.

`learning_rate` is a number or a Keras schedule.
"""

from typing import Any

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable("se_tf")
class SGD(keras.optimizers.SGD):
    """torch.optim.SGD: decay is a part of the gradient, and the rate stands outside the momentum.

    Keras's own decays apart from the gradient, and keeps the rate inside the momentum: the two then part as soon as
    the rate changes.
    """

    def __init__(
        self, learning_rate: Any = 0.01, momentum: float = 0.0, weight_decay: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        self.coupled_decay = weight_decay

    def update_step(self, gradient: KerasTensor, variable: keras.Variable, learning_rate: KerasTensor) -> None:
        gradient = ops.cast(gradient, variable.dtype) + self.coupled_decay * variable
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, self.momentum * velocity + gradient)
            gradient = ops.convert_to_tensor(velocity)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * gradient)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight_decay": self.coupled_decay}


@keras.saving.register_keras_serializable("se_tf")
class AdamW(keras.optimizers.AdamW):
    """torch.optim.AdamW: epsilon stands beside the corrected root.

    Keras's own puts it beside the root before its correction, where it counts for up to thirty times as much.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, beta_1, beta_2, epsilon, **kwargs)

    def update_step(self, gradient: KerasTensor, variable: keras.Variable, learning_rate: KerasTensor) -> None:
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        self.assign(mean, self.beta_1 * mean + (1 - self.beta_1) * gradient)
        self.assign(square, self.beta_2 * square + (1 - self.beta_2) * gradient**2)
        root = ops.sqrt(square / (1 - self.beta_2**step)) + self.epsilon
        corrected = mean / (1 - self.beta_1**step)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * corrected / root)
