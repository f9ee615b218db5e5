"""torch's optimisers in optax, so that a checkpoint is fine-tuned alike in every framework.

`learning_rate` is a number or an optax schedule.
"""

import optax


def sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.0, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """torch.optim.SGD: decay is a part of the gradient, and the rate stands outside the momentum."""
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
    """torch.optim.AdamW: decay is apart from the gradient, and epsilon stands beside the corrected root."""
    return optax.adamw(learning_rate, *betas, epsilon, weight_decay=weight_decay)
