"""torch's optimisers in Keras, so that fine-tuning computes the same updates in every framework."""

from typing import Any

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable("se_tf")
class SGD(keras.optimizers.SGD):
    """torch.optim.SGD: weight decay is added to the gradient, and the learning rate multiplies the momentum buffer.

    Keras's own applies weight decay separately and accumulates the learning rate in the momentum buffer, which differs
    as soon as the learning rate changes.

    Args:
        learning_rate: a number or a Keras schedule.
        momentum: factor of the momentum buffer, from 0 to 1.
        weight_decay: factor of the L2 penalty that is added to the gradient.
        **kwargs: further arguments of keras.optimizers.SGD.
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
    """torch.optim.AdamW: epsilon is added to the bias-corrected root.

    Keras's own adds it to the root before the correction, where it counts for up to thirty times as much.

    Args:
        learning_rate: a number or a Keras schedule.
        weight_decay: factor of the decoupled weight decay.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        epsilon: added to the bias-corrected root of the second moment.
        **kwargs: further arguments of keras.optimizers.AdamW.
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
