"""DenseNets as other code bases write them, from the descriptions in shared/research/families.md, section 1.

Their modules have the names of the published ones, and their forward passes the order of the operations there.
"""

import torch
from torch import nn
from torch.nn import functional


class Gate(nn.Module):
    """The SE layer of most of them: a Sequential `fc` with its linear layers at 0 and 2."""

    def __init__(self, channels, bias, reduction=16):
        super().__init__()
        width = channels // reduction
        linear = (nn.Linear(channels, width, bias=bias), nn.ReLU(), nn.Linear(width, channels, bias=bias), nn.Sigmoid())
        self.fc = nn.Sequential(*linear)

    def forward(self, x):
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class TutorialLayer(nn.Module):
    """The SE layer sees the new features only, and dropout comes after it."""

    def __init__(self, channels, growth, bn_size, drop_rate):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, bn_size * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth)
        self.conv2 = nn.Conv2d(bn_size * growth, growth, 3, padding=1, bias=False)
        self.se1 = Gate(growth, bias=False)
        self.drop_rate = drop_rate

    def forward(self, features):
        x = self.conv1(functional.relu(self.norm1(torch.cat(features, 1))))
        return functional.dropout(self.se1(self.conv2(functional.relu(self.norm2(x)))), self.drop_rate, self.training)


class TutorialBlock(nn.Module):
    def __init__(self, count, channels, growth, bn_size, drop_rate):
        super().__init__()
        for index in range(count):
            layer = TutorialLayer(channels + index * growth, growth, bn_size, drop_rate)
            self.add_module(f"denselayer{index + 1}", layer)

    def forward(self, x):
        features = [x]
        for layer in self.children():
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.add_module("norm", nn.BatchNorm2d(inputs))
        self.add_module("relu", nn.ReLU())
        self.add_module("conv", nn.Conv2d(inputs, outputs, 1, bias=False))
        self.add_module("pool", nn.AvgPool2d(2, 2))


class TutorialDenseNet(nn.Module):
    """Section 1.1: `features.0` has no name of its own, and no norm after it for small images."""

    def __init__(
        self,
        growth_rate=32,
        block_config=(6, 12, 24, 16),
        num_init_features=24,
        compression=0.5,
        bn_size=4,
        drop_rate=0.0,
        num_classes=10,
        small_inputs=True,
    ):
        super().__init__()
        channels = num_init_features
        if small_inputs:
            self.features = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False))
        else:
            stem = nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
            self.features = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        for number, count in enumerate(block_config, start=1):
            block = TutorialBlock(count, channels, growth_rate, bn_size, drop_rate)
            self.features.add_module(f"denseblock{number}", block)
            channels += count * growth_rate
            if number < len(block_config):
                compressed = int(channels * compression)
                self.features.add_module(f"transition{number}", Transition(channels, compressed))
                channels = compressed
        self.features.add_module("norm_final", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        return self.classifier(functional.relu(self.features(x)).mean((2, 3)))


class KuangliuLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        new = self.conv1(functional.relu(self.bn1(x)))
        return torch.cat([self.conv2(functional.relu(self.bn2(new))), x], 1)  # new features first


class KuangliuTransition(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x):
        return functional.avg_pool2d(self.conv(functional.relu(self.bn(x))), 2)


class KuangliuDenseNet(nn.Module):
    """Section 1.3, of pytorch-cifar; its pool at the end takes maps of 4x4, which are averaged over space here."""

    def __init__(self, blocks=(2, 3, 2, 1), growth=8):
        super().__init__()
        channels = 2 * growth
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for number, count in enumerate(blocks, start=1):
            layers = [KuangliuLayer(channels + index * growth, growth) for index in range(count)]
            self.add_module(f"dense{number}", nn.Sequential(*layers))
            channels += count * growth
            if number < len(blocks):
                self.add_module(f"trans{number}", KuangliuTransition(channels, channels // 2))
                channels //= 2
        self.bn, self.linear = nn.BatchNorm2d(channels), nn.Linear(channels, 10)

    def forward(self, x):
        x = self.trans1(self.dense1(self.conv1(x)))
        x = self.trans3(self.dense3(self.trans2(self.dense2(x))))
        return self.linear(functional.relu(self.bn(self.dense4(x))).mean((2, 3)))


class ZhouyuanganLayer(nn.Sequential):
    def __init__(self, channels, growth, gated):
        super().__init__()
        if gated:
            self.add_module("selayer", Gate(channels, bias=True))
        self.add_module("norm1", nn.BatchNorm2d(channels))
        self.add_module("relu1", nn.ReLU())
        self.add_module("conv1", nn.Conv2d(channels, 4 * growth, 1, bias=False))
        self.add_module("norm2", nn.BatchNorm2d(4 * growth))
        self.add_module("relu2", nn.ReLU())
        self.add_module("conv2", nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False))

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)  # the input without its gate


class GatedTransition(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.add_module("selayer", Gate(inputs, bias=True))
        for name, layer in Transition(inputs, outputs).named_children():
            self.add_module(name, layer)


class ZhouyuanganDenseNet(nn.Module):
    """Section 1.4: "w_block", "full", "full_in_loop" and "all", which is his `se_densenet`."""

    def __init__(self, which, blocks=(6, 12, 24, 16), growth=32, features=64, classes=1000):
        super().__init__()
        stem = nn.Conv2d(3, features, 7, 2, 3, bias=False), nn.BatchNorm2d(features), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.features = nn.Sequential()
        for name, layer in zip(("conv0", "norm0", "relu0", "pool0"), stem, strict=True):
            self.features.add_module(name, layer)
        if which == "all":
            self.features.add_module("SELayer_0a", Gate(features, bias=True))
        in_loop = which in ("full_in_loop", "all")
        channels = features
        for number, count in enumerate(blocks, start=1):
            if in_loop:
                self.features.add_module(f"SELayer_{number}a", Gate(channels, bias=True))
            block = nn.Sequential()
            for index in range(count):
                layer = ZhouyuanganLayer(channels + index * growth, growth, which != "full_in_loop")
                block.add_module(f"denselayer{index + 1}", layer)
            self.features.add_module(f"denseblock{number}", block)
            channels += count * growth
            if number < len(blocks):
                if in_loop:
                    self.features.add_module(f"SELayer_{number}b", Gate(channels, bias=True))
                kind = GatedTransition if which == "full" else Transition
                self.features.add_module(f"transition{number}", kind(channels, channels // 2))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        if which == "all":
            self.features.add_module("SELayer_0b", Gate(channels, bias=True))
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        return self.classifier(functional.relu(self.features(x)).mean((2, 3)))


class ClassyVisionGate(nn.Module):
    """1x1 convolutions at 0 and 2 of `excitation`."""

    def __init__(self, channels, reduction):
        super().__init__()
        width = channels // reduction
        self.excitation = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, channels, 1), nn.Sigmoid()
        )

    def forward(self, x):
        return x * self.excitation(x.mean((2, 3), keepdim=True))


class ClassyVisionLayer(nn.Sequential):
    def __init__(self, channels, growth, use_se):
        super().__init__()
        self.add_module("norm-1", nn.BatchNorm2d(channels))
        self.add_module("relu-1", nn.ReLU())
        self.add_module("conv-1", nn.Conv2d(channels, 4 * growth, 1, bias=False))
        self.add_module("norm-2", nn.BatchNorm2d(4 * growth))
        self.add_module("relu-2", nn.ReLU())
        self.add_module("conv-2", nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False))
        if use_se:
            self.add_module("se", ClassyVisionGate(growth, 4))

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class ClassyVisionDenseNet(nn.Module):
    """Section 1.4: the stem has a norm for small images too; the backbone without a head."""

    def __init__(self, use_se=True, small=True, blocks=(2, 3, 1), growth=8):
        super().__init__()
        channels = 12
        kernel = (3, 1, 1) if small else (7, 2, 3)
        layers = [nn.Conv2d(3, channels, *kernel, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        self.initial_block = nn.Sequential(*layers, *([] if small else [nn.MaxPool2d(3, 2, 1)]))
        self.features = nn.Sequential()
        for number, count in enumerate(blocks):
            block = nn.Sequential()
            for index in range(count):
                block.add_module(f"block{number}-{index}", ClassyVisionLayer(channels + index * growth, growth, use_se))
            self.features.add_module(f"block_{number}", block)
            channels += count * growth
            if number < len(blocks) - 1:
                transition = nn.Sequential()
                for name, layer in Transition(channels, channels // 2).named_children():
                    transition.add_module(f"pool-{name}", layer)
                self.features.add_module(f"transition-{number}", transition)
                channels //= 2
        end = nn.Sequential()
        end.add_module("norm-final", nn.BatchNorm2d(channels))
        end.add_module("relu-final", nn.ReLU())
        self.features.add_module("trunk_output", end)

    def forward(self, x):
        return self.features(self.initial_block(x)).mean((2, 3))


def with_trained_like_weights(model, size=(64, 80)):
    """The model in evaluation mode, with gains, biases and statistics that can show a fault."""
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(4, 3, *size, generator=generator))
        for norm in norms:
            shape = norm.running_var.shape
            norm.running_mean += 0.05 * norm.running_var.sqrt() * torch.randn(shape, generator=generator)
            norm.running_var *= 2 ** (2 * torch.rand(shape, generator=generator) - 1)
            norm.momentum = 0.1
    return model.eval()
