"""Trains a network on the digits: `python -m se_demo.train digits.pth curve.json se_resnet20_cifar`.

The demo runs this in a separate process, so that it does not import a framework itself.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import se_torch
from se_demo.digits import load_digits

EPOCHS = 30
BATCH = 64
PEAK_RATE = 0.1
WEIGHT_DECAY = 1e-4
REDUCTION = 4
"""With widths of 16 to 64, the paper's r = 16 leaves one to four squeezed channels, and the gates stay near 0.5."""
SHIFT = 1
"""Training images are shifted by up to this many pixels along each axis."""


def train(checkpoint: Path, curve: Path, name: str) -> None:
    """Train the network.

    Args:
        checkpoint: Where the trained state dict is saved.
        curve: Where the loss, training accuracy and test accuracy of each epoch are saved, as JSON.
        name: The name of the architecture.
    """
    torch.manual_seed(0)
    training, test = load_digits()
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels)
    model = se_torch.create_model(name, in_channels=1, reduction=REDUCTION)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
    epochs = []
    for _ in range(EPOCHS):
        model.train()
        losses, correct = [], 0
        order = torch.randperm(len(images))
        for indices in order.split(BATCH)[: len(images) // BATCH]:
            logits = model(random_shift(images[indices]))
            loss = nn.functional.cross_entropy(logits, labels[indices], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            correct += int((logits.argmax(1) == labels[indices]).sum())
        seen = len(losses) * BATCH
        accuracy = evaluate(model, torch.from_numpy(test.images), torch.from_numpy(test.labels))
        epochs.append({"loss": float(np.mean(losses)), "training_accuracy": correct / seen, "test_accuracy": accuracy})
    torch.save(model.state_dict(), checkpoint)
    curve.write_text(json.dumps(epochs))


def random_shift(images: Tensor) -> Tensor:
    """Shift a batch (N, C, H, W) by one random offset; the border pixels are repeated."""
    rows, columns = (int(torch.randint(-SHIFT, SHIFT + 1, ())) for _ in range(2))
    padded = nn.functional.pad(images, (SHIFT,) * 4, mode="replicate")
    height, width = images.shape[2:]
    return padded[:, :, SHIFT + rows : SHIFT + rows + height, SHIFT + columns : SHIFT + columns + width]


@torch.inference_mode()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The accuracy of the model: the share of images (N, C, H, W) whose largest logit is at their label.

    Args:
        model: A network, which is set to evaluation mode.
        images: (N, C, H, W).
        labels: The classes (N), as integers.
    """
    model.eval()
    return float((model(images).argmax(1) == labels).float().mean())


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
