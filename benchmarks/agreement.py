"""How often bfloat16 predicts the same class as float32: `python -m benchmarks.agreement`, which needs torch."""

import torch

import se_spec
import se_torch
from benchmarks.workload import THREADS
from se_parity import sample_images, trained_like_weights

IMAGES, SIZE = 64, 128


def main() -> None:
    torch.set_num_threads(THREADS)
    architecture = se_spec.architecture("se_resnet50")
    model = se_torch.SEResNet(architecture).eval()
    se_torch.load_weights(model, trained_like_weights(architecture))
    bfloat16_model = se_torch.optimize_for_inference(model, dtype=torch.bfloat16)
    images = torch.tensor(sample_images(architecture, IMAGES, SIZE, SIZE))
    same = 0
    for batch in images.split(32):
        with torch.inference_mode():
            same += int((model(batch).argmax(1) == bfloat16_model(batch).argmax(1)).sum())
    print(
        f"In bfloat16, se_torch's deployed se_resnet50 predicted the same class as the float32 model on "
        f"{same} of {IMAGES} images of {SIZE} x {SIZE} with trained-like weights."
    )


if __name__ == "__main__":
    main()
