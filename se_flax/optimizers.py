"""torch's optimisers in optax, so that fine-tuning computes the same updates in every framework."""

import optax


def sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.0, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """torch.optim.SGD: weight decay is added to the gradient, and the learning rate multiplies the momentum buffer.

    Args:
        learning_rate: a number or an optax schedule.
        momentum: factor of the momentum buffer, from 0 to 1.
        weight_decay: factor of the L2 penalty that is added to the gradient.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
) -> optax.GradientTransformation:
    """torch.optim.AdamW: weight decay is decoupled, and epsilon is added to the bias-corrected root.

    Args:
        learning_rate: a number or an optax schedule.
        betas: decays of the first and the second moment.
        epsilon: added to the bias-corrected root of the second moment.
        weight_decay: factor of the decoupled weight decay.
    """
    return optax.adamw(learning_rate, *betas, epsilon, weight_decay=weight_decay)
