"""Trains se_resnet20_cifar on the digits: `python -m se_demo.train digits.pth curve.json`.

Runs in a process of its own, as everything does that imports a framework.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import se_torch
from se_demo.digits import load_digits

ARCHITECTURE = "se_resnet20_cifar"
EPOCHS = 30
BATCH = 64
PEAK_RATE = 0.1
WEIGHT_DECAY = 1e-4
REDUCTION = 4
"""The widths of 16 to 64 leave the paper's r = 16 one to four squeezed channels; its gates then stay near a half."""
SHIFT = 1
"""Each training image is moved by up to this many pixels along each axis."""


def train(checkpoint: Path, curve: Path) -> None:
    """Save the trained state_dict, and the loss and both accuracies of every epoch."""
    torch.manual_seed(0)
    training, test = load_digits()
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels)
    model = se_torch.create_model(ARCHITECTURE, in_channels=1, reduction=REDUCTION)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
    epochs = []
    for _ in range(EPOCHS):
        model.train()
        losses, right = [], 0
        order = torch.randperm(len(images))
        for chosen in order.split(BATCH)[: len(images) // BATCH]:
            logits = model(shifted(images[chosen]))
            loss = nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            right += int((logits.argmax(1) == labels[chosen]).sum())
        seen = len(losses) * BATCH
        accuracy = evaluate(model, torch.from_numpy(test.images), torch.from_numpy(test.labels))
        epochs.append({"loss": float(np.mean(losses)), "training_accuracy": right / seen, "test_accuracy": accuracy})
    torch.save(model.state_dict(), checkpoint)
    curve.write_text(json.dumps(epochs))


def shifted(images: Tensor) -> Tensor:
    """The batch moved by one random offset, with its own border values drawn in from the edge."""
    rows, columns = (int(torch.randint(-SHIFT, SHIFT + 1, ())) for _ in range(2))
    padded = nn.functional.pad(images, (SHIFT,) * 4, mode="replicate")
    height, width = images.shape[2:]
    return padded[:, :, SHIFT + rows : SHIFT + rows + height, SHIFT + columns : SHIFT + columns + width]


@torch.inference_mode()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images whose largest logit is their label's."""
    model.eval()
    return float((model(images).argmax(1) == labels).float().mean())


if __name__ == "__main__":
    train(*map(Path, sys.argv[1:]))
