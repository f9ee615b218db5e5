"""A toy family that is added as CONTRIBUTING describes: the shared code then runs, converts, folds and judges it."""

import re
import subprocess
import sys
from pathlib import Path

from parity_tests.support.cases import skip_without

ROOT = Path(__file__).parents[2]

ARCHITECTURE = '''
from dataclasses import dataclass, replace
from typing import ClassVar

from se_spec.architecture import Architecture, StageOutput
from se_spec.errors import expect_counts
from se_spec.families.parts import normalised, squeeze_excitation
from se_spec.graph import IMAGES, GraphBuilder, Layer, LayerPosition
from se_spec.layers import Convolution, Dense, MaxPool, MeanOverSpace, ReLU, Role
from se_spec.squeeze import SqueezeExcitation

CANONICAL_LAYERS = {
    Layer.CONVOLUTION: "conv{stage}",
    Layer.NORM: "norm{stage}",
    Layer.GATE: "se{stage}.fc{number}",
    Layer.CLASSIFIER: "fc",
}


@dataclass(frozen=True, kw_only=True)
class ToyArchitecture(Architecture):
    """Convolutions, each with a norm, a ReLU and an SE layer, and a max-pool after the first one."""

    family: ClassVar[str] = "toy"
    widths: tuple[int, ...] = (8, 12)

    def __post_init__(self):
        super().__post_init__()
        expect_counts(widths=self.widths)

    def convolutions(self):
        sizes = zip((self.in_channels, *self.widths), self.widths)
        return [Convolution(ins, outs, 3, bias=self.folded, folded=self.folded) for ins, outs in sizes]

    def make_graph(self):
        builder, x = GraphBuilder(CANONICAL_LAYERS), IMAGES
        for stage, convolution in enumerate(self.convolutions(), start=1):
            positions = LayerPosition(Layer.CONVOLUTION, stage), LayerPosition(Layer.NORM, stage)
            x = normalised(builder, *positions, convolution, self.bn_epsilon, x)
            x = builder.add(f"relu{stage}", ReLU(), x)
            se = SqueezeExcitation(convolution.out_channels, convolution.out_channels // 4, True)
            x = squeeze_excitation(builder, f"se{stage}", LayerPosition(Layer.GATE, stage), se, x)
            x = builder.add("pool1", MaxPool(), x) if stage == 1 else x
        x = builder.add("pool", MeanOverSpace(), x)
        classifier = Dense(self.features, self.num_classes, True, Role.CLASSIFIER)
        builder.add_layer(LayerPosition(Layer.CLASSIFIER), classifier, x)
        return builder.graph()

    def function_key(self):
        return (replace(self, name=""),)

    has_se = True
    image_size = 32
    smallest_side = 1
    depth = property(lambda self: len(self.widths))
    features = property(lambda self: self.widths[-1])
    sizes = property(lambda self: self.widths)
    stage_outputs = property(lambda self: {"pool1": StageOutput(self.widths[0], 2)})
'''

WEIGHTS = """
from toy_spec import CANONICAL_LAYERS, ToyArchitecture

from se_spec import Layer, Role
from se_spec.graph import LayerPosition
from se_weights.dialects import TORCH
from se_weights.dialects.dialect import NameTable
from se_weights.dialects.torch import canonical_place, no_hidden_config
from se_weights.families import FAMILIES
from se_weights.families.family import Family, probe, stored_shape


def initial(dialect):
    yield ToyArchitecture(name="toy", widths=(4,))


def infer(shapes, dialect):
    (network,) = initial(dialect)
    kernels = []
    for stage in (1, 2, 3):
        kernel = probe(Role.CONVOLUTION, LayerPosition(Layer.CONVOLUTION, stage), CANONICAL_LAYERS)
        kernels.append(stored_shape(shapes, dialect, kernel, network))
    classifier = probe(Role.CLASSIFIER, LayerPosition(Layer.CLASSIFIER), CANONICAL_LAYERS)
    classes = stored_shape(shapes, dialect, classifier, network)
    biases = [name for name in shapes if name.endswith("conv1.bias")]
    if kernels[0] and classes:
        widths = tuple(kernel[0] for kernel in kernels if kernel)
        yield network.replace(widths=widths, num_classes=classes[0], folded=bool(biases))


first = [probe(Role.CONVOLUTION, LayerPosition(Layer.CONVOLUTION, stage), CANONICAL_LAYERS) for stage in (1, 2)]
FAMILIES["toy"] = Family("toy", tuple(first), initial, infer, lambda inferred: {}, lambda inferred: inferred, {}, ())
TORCH.tables["toy"] = NameTable(canonical_place, no_hidden_config)
"""

MODEL = """
import torch

from se_spec.layers import MaxPool
from se_spec.squeeze import SqueezeExcitation
from se_torch.layers import batch_norm, convolution, max_pool
from se_torch.network import Network, classifier, outputs
from se_torch.families import NETWORKS
from se_torch.se_layer import squeeze_excitation


class Toy(Network):
    def __init__(self, architecture):
        super().__init__(architecture)
        conv1, conv2 = architecture.convolutions()
        self.conv1, self.norm1 = convolution(conv1), batch_norm(conv1, architecture.bn_epsilon)
        self.conv2, self.norm2 = convolution(conv2), batch_norm(conv2, architecture.bn_epsilon)
        self.se1 = squeeze_excitation(SqueezeExcitation(conv1.out_channels, conv1.out_channels // 4, True))
        self.se2 = squeeze_excitation(SqueezeExcitation(conv2.out_channels, conv2.out_channels // 4, True))
        self.pool1 = max_pool(MaxPool())
        self.fc = classifier(architecture)

    architecture = property(lambda self: self.config.replace(num_classes=outputs(self.fc)))

    def forward_features(self, images):
        self.expect(images)
        x = self.pool1(self.se1(torch.relu(self.norm1(self.conv1(images)))))
        return self.se2(torch.relu(self.norm2(self.conv2(x))))

    def head(self, x):
        return self.fc(x.mean(dim=(2, 3)))


NETWORKS["toy"] = Toy
"""

CHECK = """
import toy_model
import toy_weights
import numpy as np
import torch
from toy_spec import ToyArchitecture

import se_torch
import se_weights
from se_parity import Case, Oracle, compare, sample_images, trained_like_weights
from se_parity.judge.limits import logits_limit
from se_parity.reference.backward import Backward
from se_spec import multiply_adds, parameter_count
from se_weights import Checkpoint, fold_batchnorm

known = ToyArchitecture(name="toy", num_classes=5)
weights, images = trained_like_weights(known), sample_images(known, 2, 21, 30)
logits = Oracle(known, weights).logits(images)
assert parameter_count(known) == sum(array.size for name, array in weights.items() if "running" not in name)
assert multiply_adds(known, 21, 30) > 0
assert 0 < logits_limit(known, weights, images, logits) < 1e-4
assert Backward(Case("toy", known, weights, images), np.array([0, 1])).run().gradients.keys() <= weights.keys()
checkpoint = Checkpoint(known, weights)
for path in ("a.safetensors", "a.pth"):
    se_weights.write(checkpoint, path)
    assert se_weights.read(path).architecture == known
torch.save({name: torch.tensor(array) for name, array in weights.items()}, "bare.pth")
assert se_weights.read("bare.pth").architecture.function_key() == known.function_key()
model = se_torch.from_file("a.pth").double()
run = lambda model: model(torch.tensor(images).double()).detach().numpy()
assert compare(run(model), logits).share < 1e-11
folded = fold_batchnorm(checkpoint)
assert len(folded.weights) == len(weights) - 6
assert compare(Oracle(folded.architecture, folded.weights).logits(images), logits).share < 1e-5
assert compare(run(se_torch.fold_batchnorm(model)), logits).share < 1e-11
wrong = dict(weights)
del wrong["norm2.bias"]
try:
    se_torch.load_weights(model, wrong)
except se_weights.WeightMismatch as error:
    assert [line.split()[:2] for line in error.differences] == [["-", "norm2.bias"]]
else:
    raise AssertionError("a missing tensor was not refused")
"""


@skip_without("torch")
def test_a_toy_family_that_follows_contributing_runs_converts_folds_and_is_judged(tmp_path):
    files = {"toy_spec": ARCHITECTURE, "toy_weights": WEIGHTS, "toy_model": MODEL, "check": CHECK}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    ran = subprocess.run(
        [sys.executable, "check.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_contributing_names_the_places_that_a_family_is_listed_in():
    """Each name in code style, or path, of its ten lines exists."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    steps = text.partition("**Add a family of networks**")[2].partition("- **Add a setting")[0]
    assert len(re.findall(r"^  \d+\. ", steps, re.MULTILINE)) == 10
    sources = "\n".join(path.read_text() for path in ROOT.glob("se_*/**/*.py"))
    for name in re.findall(r"`([^`]+)`", steps):
        if "/" in name and "NAME" not in name:
            assert (ROOT / name).exists(), name
        elif name.isupper() and "_" in name:
            assert f"\n{name}" in sources, name
