"""ResNets as other code bases write them, from the descriptions in shared/research/families.md, sections 2 and 7.

Their modules have the names of the published ones, and their forward passes the order of the operations there. None of
them can be installed, unlike the code bases of the peer checks.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from parity_tests.support.published_densenets import Gate

conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
conv1x1 = partial(nn.Conv2d, kernel_size=1, bias=False)


class KuangliuBlock(nn.Module):
    """The block of ResNet18: a projecting shortcut is a Sequential of a convolution and a norm."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv1x1(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        residual = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(self.gated(residual) + self.shortcut(x))

    def gated(self, x):
        return x


class TutorialBlock(KuangliuBlock):
    """The block of the CIFAR SE-ResNet of blog posts: the same names, and an SE layer without biases."""

    def __init__(self, inputs, outputs, stride):
        super().__init__(inputs, outputs, stride)
        self.se = Gate(outputs, bias=False)

    def gated(self, x):
        return self.se(x)


class KuangliuPreActBlock(nn.Module):
    """The block of SENet18 and, without SE, of PreActResNet18: the shortcut has no norm and takes the activations."""

    def __init__(self, inputs, outputs, stride, se=True):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3x3(inputs, outputs, stride=stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv3x3(outputs, outputs)
        self.se = se
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv1x1(inputs, outputs, stride=stride))
        if se:
            self.fc1, self.fc2 = nn.Conv2d(outputs, outputs // 16, 1), nn.Conv2d(outputs // 16, outputs, 1)

    def forward(self, x):
        activated = functional.relu(self.bn1(x))
        shortcut = self.shortcut(activated) if hasattr(self, "shortcut") else x
        residual = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        if self.se:
            squeezed = residual.mean((2, 3), keepdim=True)
            residual = residual * torch.sigmoid(self.fc2(functional.relu(self.fc1(squeezed))))
        return residual + shortcut


class CifarResNet(nn.Module):
    """The stem for CIFAR, with or without norm and ReLU; no norm after the last block."""

    def __init__(self, block, head="linear", stem_norm=True, widths=(16, 32), depths=(2, 1), classes=5):
        super().__init__()
        self.head = head
        self.conv1 = conv3x3(3, widths[0])
        if stem_norm:
            self.bn1 = nn.BatchNorm2d(widths[0])
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            blocks = []
            for index in range(depth):
                blocks.append(block(inputs, width, 2 if stage > 1 and index == 0 else 1))
                inputs = width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.add_module(head, nn.Linear(inputs, classes))

    def forward(self, x):
        x = self.conv1(x)
        if hasattr(self, "bn1"):
            x = functional.relu(self.bn1(x))
        x = self.layer2(self.layer1(x))
        return getattr(self, self.head)(x.mean((2, 3)))


class MiracleBottleneck(nn.Module):
    """The fully connected layers of the SE are attributes of the block."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = conv1x1(inputs, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width, stride=stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv1x1(width, outputs), nn.BatchNorm2d(outputs)
        self.fc1, self.fc2 = nn.Linear(outputs, outputs // 16), nn.Linear(outputs // 16, outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv1x1(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        residual = functional.relu(self.bn1(self.conv1(x)))
        residual = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(residual)))))
        gate = torch.sigmoid(self.fc2(functional.relu(self.fc1(residual.mean((2, 3))))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(residual * gate[:, :, None, None] + shortcut)


class MiracleResNet(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(MiracleBottleneck(16, 16, 1), MiracleBottleneck(64, 16, 1))
        self.layer2 = nn.Sequential(MiracleBottleneck(64, 32, 2))
        self.fc = nn.Linear(128, classes)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


class Coefficients(nn.Module):
    """Returns the gates; the block multiplies by them."""

    def __init__(self, channels):
        super().__init__()
        self.compress, self.excitation = nn.Conv2d(channels, channels // 16, 1), nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x):
        return torch.sigmoid(self.excitation(functional.relu(self.compress(x.mean((2, 3), keepdim=True)))))


class SharedBasic(nn.Module):
    """Both convolutions have one norm."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.conv2 = conv3x3(inputs, outputs, stride=stride), conv3x3(outputs, outputs)
        self.bn = nn.BatchNorm2d(outputs)
        self.se = Coefficients(outputs)
        if stride != 1:
            self.short_cut = nn.Sequential(conv1x1(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        residual = self.bn(self.conv2(functional.relu(self.bn(self.conv1(x)))))
        shortcut = self.short_cut(x) if hasattr(self, "short_cut") else x
        return functional.relu(residual * self.se(residual) + shortcut)


class SharedBottleneck(nn.Module):
    """The first two convolutions have one norm, and every block has a convolution in its shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        width = outputs // 4
        self.conv1, self.conv2 = conv1x1(inputs, width), conv3x3(width, width, stride=stride)
        self.conv3 = conv1x1(width, outputs)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(outputs)
        self.se = Coefficients(outputs)
        self.shortcut = nn.Sequential(conv1x1(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        residual = functional.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv3(functional.relu(self.bn1(self.conv2(residual)))))
        return functional.relu(residual * self.se(residual) + self.shortcut(x))


class SharedResNet(nn.Module):
    """Ends in a softmax; its logarithm is returned here, whose differences are those of the logits."""

    def __init__(self, block, widths, classes=5):
        super().__init__()
        first = 16
        self.conv1, self.bn = nn.Conv2d(3, first, 7, 2, 3, bias=False), nn.BatchNorm2d(first)
        inputs = first
        for stage, width in enumerate(widths, start=2):
            blocks = nn.Sequential()
            for index in range(2):
                blocks.add_module(f"block_{stage}_{index}", block(inputs, width, 2 if stage > 2 and index == 0 else 1))
                inputs = width
            self.add_module(f"conv{stage}_x", blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.bn(self.conv1(x))), 3, 2, 1)
        x = self.conv3_x(self.conv2_x(x))
        return functional.softmax(self.fc(x.mean((2, 3))), dim=1)
