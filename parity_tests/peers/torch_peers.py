"""Runs the torch code bases whose checkpoints we read, in a separate environment that `nox -s peers` makes.

`python torch_peers.py` reads one JSON request a line and builds the named model with the code of the peer. It gives it
trained-like weights and saves them as its users do, or loads those of a file, and saves its outputs. No package of this
project is imported.
"""

import json
import re
from pathlib import Path

import numpy as np
import published
import torch
from serving import answer_requests
from torch import nn


def build(case):
    family, _, name = case.partition(" ")
    return BUILDERS[family](name)


def timm(name):
    import timm

    name, _, stride = name.partition("@")
    return timm.create_model(name, **({"output_stride": int(stride)} if stride else {})).eval()


def folder(path):
    """A model that timm opens from a folder, by its config.json and with its weights."""
    import timm

    return timm.create_model(f"local-dir:{path}", pretrained=True).eval()


def cadene(name):
    import pretrainedmodels

    return pretrainedmodels.__dict__[name](num_classes=1000, pretrained=None).eval()


def torchvision(name):
    import torchvision

    name, _, stride = name.partition("@")
    dilated = {"replace_stride_with_dilation": [False, stride == "8", True]} if stride else {}
    return getattr(torchvision.models, name)(**dilated).eval()


def pytorchcv(name):
    from pytorchcv.model_provider import get_model

    return get_model(name).eval()


def smp(name):
    """A U-Net, or a dilated DeepLab, which is saved complete; the output is the pooled last map of its encoder."""
    import segmentation_models_pytorch

    name, _, stride = name.partition("@")
    if stride:
        deeplab = segmentation_models_pytorch.DeepLabV3
        unet = deeplab(name, encoder_weights=None, encoder_output_stride=int(stride)).eval()
    else:
        unet = segmentation_models_pytorch.Unet(name, encoder_weights=None).eval()

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = unet.encoder
            self.saved = unet

        def forward(self, x):
            return self.encoder(x)[-1].mean((2, 3))

    return Encoder().eval()


def monai(name):
    from monai.networks import nets

    classes = "out_channels" if "Dense" in name else "num_classes"
    return getattr(nets, name)(spatial_dims=2, in_channels=3, **{classes: 1000}).eval()


def mmpretrain(name):
    from mmpretrain.models.backbones.seresnet import SEResNet
    from mmpretrain.models.heads import LinearClsHead

    class Classifier(nn.Module):
        """What mmpretrain's ImageClassifier saves: a backbone, a neck without weights and a head."""

        def __init__(self):
            super().__init__()
            self.backbone = SEResNet(int(name.removeprefix("se-resnet")))
            self.head = LinearClsHead(num_classes=1000, in_channels=2048)

        def forward(self, x):
            return self.head.fc(self.backbone(x)[-1].mean((2, 3)))

    return Classifier().eval()


BUILDERS = {
    "timm": timm,
    "cadene": cadene,
    "torchvision": torchvision,
    "pytorchcv": pytorchcv,
    "smp": smp,
    "monai": monai,
    "mmpretrain": mmpretrain,
}

NORM = re.compile(r"^(.*?(?:bn|conv))([123])((?:\.adn\.N|\.bn)?)$")
"""Names of the norms in a residual branch in all of these code bases, with their number."""


def make_trained_like(model, images):
    """Set gains as after training, small in the last norm of each branch; measure the statistics, then perturb them."""
    generator = torch.Generator().manual_seed(0)
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, module in modules.items():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.2, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                low, high = (0.1, 0.4) if is_last(name, modules) else (0.5, 1.5)
                module.weight.uniform_(low, high, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
                module.momentum = 1.0
                module.train()
        model(images)
        model.eval()
        for module in modules.values():
            if isinstance(module, nn.BatchNorm2d):
                deviation = module.running_var.sqrt()
                module.running_mean += 0.05 * deviation * torch.randn(deviation.shape, generator=generator)
                module.running_var *= 2 ** (2 * torch.rand(deviation.shape, generator=generator) - 1)
                module.momentum = 0.1


def is_last(name, modules):
    """Whether a norm is the last of its residual branch; a stem has no branch."""
    found = NORM.match(name)
    if not found or not re.search(r"(layer|stage)[1-4]", name):
        return False
    start, number, end = found.groups()
    return f"{start}{int(number) + 1}{end}" not in modules


def any_size(model):
    """Replace the 7x7 average pools of Cadene and pytorchcv by global ones, which are the same at 224."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.AvgPool2d) and child.kernel_size in (7, 8):
                setattr(module, name, nn.AdaptiveAvgPool2d(1))
    return model


def transform_images(request):
    """Save what timm's evaluation transform makes of images."""
    from PIL import Image
    from timm.data import create_transform

    transform = create_transform(**request["transform"])
    images = np.load(request["images"])
    np.savez(request["outputs"], **{name: transform(Image.fromarray(images[name])).numpy() for name in images.files})


def takes(model, image):
    """Whether a network takes images of this size: means that stride leave out an odd end, and shortcuts do not."""
    means = any(name.endswith(".aa") and isinstance(layer, nn.AvgPool2d) for name, layer in model.named_modules())
    return not means or not any(side % 32 for side in image.shape[2:])


def answer(request):
    if "published" in request:
        Path(request["published"]).write_text(json.dumps(published.list_published("torch")))
        return
    if "transform" in request:
        transform_images(request)
        return
    if "networks" in request:
        networks = published.list_networks(request["sources"], request["every"])
        Path(request["networks"]).write_text(json.dumps(networks))
        return
    model = any_size(folder(request["folder"]) if "folder" in request else build(request["case"]))
    images = [torch.tensor(array) for array in np.load(request["images"]).values()]
    if "folder" in request:
        pass
    elif "load" in request:
        model.load_state_dict(torch.load(request["load"], weights_only=True), strict=True)
    else:
        batch = images[0][:1].repeat(2, 1, 1, 1)
        make_trained_like(model, batch + 0.3 * torch.randn(batch.shape, generator=torch.Generator().manual_seed(1)))
        torch.save(getattr(model, "saved", model).state_dict(), request["weights"])
    outputs = {}
    with torch.inference_mode():
        for dtype in ("float32", "float64"):
            model.to(getattr(torch, dtype))
            for number, image in enumerate(images):
                if takes(model, image):
                    outputs[f"{dtype} {number}"] = model(image.to(getattr(torch, dtype))).numpy()
    np.savez(request["outputs"], **outputs)


if __name__ == "__main__":
    torch.set_num_threads(2)
    answer_requests(answer)
