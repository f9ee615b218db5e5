"""SE-DenseNets of other code bases: their own classes make files, whose logits the reference must give."""

import re

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import skip_without
from parity_tests.support.tolerances import FLOAT32_LOGITS, FLOAT64_LOGITS
from se_parity import Oracle, compare

pytestmark = skip_without("torch")

SMALL = {"block_config": (2, 3, 1), "growth_rate": 32}


def published(name):
    from parity_tests.support import published_densenets as code

    small = {"blocks": (2, 1), "growth": 16, "features": 32, "classes": 5}
    makers = {
        "the tutorial's": lambda: code.TutorialDenseNet(**SMALL),
        "the tutorial's for large images": lambda: code.TutorialDenseNet(**SMALL, small_inputs=False),
        "the tutorial's with a growth of 12": lambda: code.TutorialDenseNet(block_config=(2, 2), growth_rate=12),
        "kuangliu's": code.KuangliuDenseNet,
        **{
            f"zhouyuangan's {which}": lambda which=which: code.ZhouyuanganDenseNet(which, **small)
            for which in ("w_block", "full", "full_in_loop", "all")
        },
        "ClassyVision's": code.ClassyVisionDenseNet,
        "ClassyVision's without SE": lambda: code.ClassyVisionDenseNet(use_se=False),
        "ClassyVision's for large images": lambda: code.ClassyVisionDenseNet(small=False),
    }
    return code.with_trained_like_weights(makers[name]())


DIALECTS = {
    "the tutorial's": "densenet-tutorial",
    "the tutorial's for large images": "densenet-tutorial",
    "the tutorial's with a growth of 12": "densenet-tutorial",
    "kuangliu's": "kuangliu",
    "zhouyuangan's w_block": "zhouyuangan",
    "zhouyuangan's full": "zhouyuangan",
    "zhouyuangan's full_in_loop": "zhouyuangan",
    "zhouyuangan's all": "zhouyuangan",
    "ClassyVision's": "classyvision",
    "ClassyVision's without SE": "classyvision",
    "ClassyVision's for large images": "classyvision",
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")  # torch, of an empty squeeze
@pytest.mark.parametrize("name", DIALECTS)
def test_a_file_of_a_published_class_has_its_logits(tmp_path, name):
    """On images of odd sizes, which a transition floors, and back into the class from the canonical names."""
    import torch

    model = published(name)
    torch.save(model.state_dict(), tmp_path / "a.pth")
    images = np.random.default_rng(0).normal(size=(2, 3, 75, 98))
    with torch.no_grad():
        expected = model.double()(torch.tensor(images)).numpy()
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert checkpoint.dialect == DIALECTS[name]
    logits = Oracle(checkpoint.architecture, checkpoint.weights).logits(images)
    assert compare(logits, expected).share <= FLOAT64_LOGITS
    se_weights.write(checkpoint, tmp_path / "canonical.safetensors")
    se_weights.convert(tmp_path / "canonical.safetensors", tmp_path / "b.pth", dialect=DIALECTS[name])
    state = torch.load(tmp_path / "b.pth")
    own = {key: tensor for key, tensor in model.float().state_dict().items() if "num_batches_tracked" not in key}
    assert state.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in own)


def test_the_tutorials_network_has_its_published_size():
    """Counted from its class, and as research/families.md has it."""
    import torch

    from parity_tests.support.published_densenets import TutorialDenseNet

    with torch.device("meta"):
        model = TutorialDenseNet()
    ours = se_spec.architecture("se_densenet121", num_init_features=24, small_inputs=True, num_classes=10)
    assert len(model.state_dict()) == 838
    assert sum(each.numel() for each in model.parameters()) == se_spec.parameter_count(ours) == 6_828_772


@pytest.mark.parametrize(
    ("which", "places", "parameters"),
    [
        ("w_block", ("input",), 10_676_922),
        ("full", ("input", "transition"), 10_850_858),
        ("full_in_loop", ("block", "transition"), 8_197_332),
        ("all", ("stem", "block", "input", "transition", "last"), 11_028_138),
    ],
)
def test_zhouyuangans_networks_have_their_published_sizes(which, places, parameters):
    ours = se_spec.architecture("se_densenet121", se_places=places, se_bias=True)
    assert se_spec.parameter_count(ours) == parameters


def test_torchvisions_dotted_names_of_2017_are_read(tmp_path):
    known = se_spec.architecture("densenet121", block_config=(2, 1), growth_rate=8, num_init_features=12)
    tensors = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", parameter.name): np.full(
            parameter.shape, index, np.float32
        )
        for index, parameter in enumerate(se_spec.manifest(known))
    }
    assert "features.denseblock1.denselayer2.norm.1.weight" in tensors
    np.savez(tmp_path / "a.npz", **tensors)
    checkpoint = se_weights.read(tmp_path / "a.npz")
    assert checkpoint.dialect == "torchvision-2017"
    assert checkpoint.architecture.function_key() == known.function_key()


@skip_without("tf")
def test_a_densenet_of_keras_applications_is_read_from_every_file_of_keras(tmp_path):
    """Its logits are what its last layer computes before the softmax; its epsilon is 1.001e-5."""
    import keras

    from se_parity import trained_like_weights
    from se_weights import DIALECTS

    known = se_spec.architecture("densenet121", bn_epsilon=1.001e-5, num_classes=7)
    weights = trained_like_weights(known)
    model = keras.applications.DenseNet121(weights=None, classes=7, input_shape=(71, 90, 3))
    for parameter, place in DIALECTS["keras-applications-h5"].places(known).items():
        layer, leaf = place.names[0].split("/")
        (variable,) = (each for each in model.get_layer(layer).variables if each.path.endswith(f"/{leaf}"))
        variable.assign(se_weights.relayout(weights[parameter.name], parameter.axes, place.axes))
    images = np.random.default_rng(0).normal(size=(1, 71, 90, 3)).astype(np.float32)
    probabilities = keras.ops.convert_to_numpy(model(images))
    model.save_weights(tmp_path / "a.weights.h5")
    model.save(tmp_path / "a.keras")
    for name in ("a.weights.h5", "a.keras"):
        checkpoint = se_weights.read(tmp_path / name)
        assert checkpoint.dialect == "keras-applications"
        assert checkpoint.architecture == known
        assert all(np.array_equal(checkpoint.weights[key], weights[key]) for key in weights)
    logits = Oracle(known, weights).logits(images.transpose(0, 3, 1, 2))
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert np.abs(probabilities - softmax).max() <= FLOAT32_LOGITS


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")  # torch, of an empty squeeze
def test_an_empty_squeeze_is_read_as_what_it_is_and_said_and_none_is_created(tmp_path):
    import torch

    torch.save(published("the tutorial's with a growth of 12").state_dict(), tmp_path / "a.pth")
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert checkpoint.weights["features.denseblock1.denselayer1.se.fc1.weight"].shape == (0, 12)
    assert "a squeezed width of 0: their gates are 0.5 for every image" in checkpoint.metadata["twins"]
    for suffix in (".safetensors", ".weights.h5", ".msgpack", ".npz"):
        se_weights.write(checkpoint, tmp_path / f"b{suffix}")
        again = se_weights.read(tmp_path / f"b{suffix}")
        assert again.architecture.function_key() == checkpoint.architecture.function_key()
        assert "a squeezed width of 0" in again.metadata["twins"]
    with pytest.raises(se_spec.ArchitectureError, match=r"whose gates would all be 0\.5; reduction=3 would"):
        se_spec.architecture("se_densenet121", growth_rate=12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_config": (1, 2, 3, 4, 5)}, "of one to four blocks"),
        ({"compression": 0.001}, "leaves a transition without channels"),
        ({"compression": 1.5}, "above 0 and at most 1"),
        ({"se_places": ("layer", "head")}, "some of stem, block, input, layer, concat, transition, last"),
        ({"stem": "5x5"}, "stem must be one of 7x7, 3x3, 3x3_norm"),
        ({"drop_rate": 1.0}, "at least 0 and below 1"),
        ({"transition_pool": "same"}, "transition_pool must be one of floor, ceil"),
        ({"small_inputs": "yes"}, "small_inputs must be a bool"),
        ({"depths": (1, 2)}, "an architecture has no field 'depths'"),
    ],
)
def test_an_impossible_densenet_is_refused_in_a_sentence(settings, message):
    with pytest.raises(se_spec.ArchitectureError, match=message):
        se_spec.architecture("se_densenet121", **settings)


def test_zero_init_residual_is_refused_for_a_network_without_residual_branches():
    import se_torch

    with pytest.raises(se_spec.ArchitectureError, match="the network has no residual branches"):
        se_torch.create_model("se_densenet40_cifar", zero_init_residual=True)
