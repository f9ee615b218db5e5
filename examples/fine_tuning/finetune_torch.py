"""Fine-tunes a network on the digits in PyTorch: `python finetune_torch.py WEIGHTS OUT [EPOCHS]`."""

import sys

import torch
from data import digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import se_torch


def main(weights: str, out: str, epochs: int = 3) -> None:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, test_images, labels, test_labels = map(torch.from_numpy, digits("NCHW"))
    model = se_torch.from_file(weights, num_classes=10)  # starts a new classifier
    model = model.to(device, memory_format=torch.channels_last)
    batches = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(batches))
    model.train()
    for _ in range(epochs):
        for batch, classes in batches:
            batch = batch.to(device, memory_format=torch.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):  # slower than float32 on most CPUs
                loss = cross_entropy(model(batch), classes.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.inference_mode():
        accuracy = (model(test_images.to(device)).argmax(1).cpu() == test_labels).float().mean()
    print(f"accuracy {accuracy:.4f}")
    se_torch.save(model, out, force=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
