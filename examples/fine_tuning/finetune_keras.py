"""Fine-tunes a network on the digits in Keras: `python finetune_keras.py WEIGHTS OUT [EPOCHS]`."""

import sys

import keras
from data import digits

import se_tf


def main(weights: str, out: str, epochs: int = 3) -> None:
    keras.utils.set_random_seed(0)
    images, test_images, labels, test_labels = digits("NHWC")
    model = se_tf.from_file(weights, num_classes=10)  # starts a new classifier
    steps = epochs * -(-len(images) // 64)
    rate = keras.optimizers.schedules.CosineDecay(2e-4, steps, warmup_target=2e-3, warmup_steps=steps // 4)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    best = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    model.fit(
        *(images, labels),
        batch_size=64,
        epochs=epochs,
        validation_data=(test_images, test_labels),
        callbacks=[best],
        verbose=0,
    )
    _, accuracy = model.evaluate(test_images, test_labels, verbose=0)
    print(f"accuracy {accuracy:.4f}")
    se_tf.save(model, out, force=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
