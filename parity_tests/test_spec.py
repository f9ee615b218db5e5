import json

import pytest

import se_spec
from se_spec import Architecture, ArchitectureError, architecture, manifest, multiply_adds, parameter_count

COUNTS = [  # published, learned parameters: timm's and pytorchcv's tables, and the paper's for SE-ResNet-50
    ("resnet18", {}, 11_689_512),
    ("resnet34", {}, 21_797_672),
    ("resnet50", {}, 25_557_032),
    ("resnet101", {}, 44_549_160),
    ("resnet152", {}, 60_192_808),
    ("se_resnet18", {"se_bias": True}, 11_778_592),
    ("se_resnet18", {"se_bias": True, "squeeze": "round8"}, 11_779_624),
    ("se_resnet34", {"se_bias": True}, 21_958_868),
    ("se_resnet34", {"se_bias": True, "squeeze": "round8"}, 21_960_416),
    ("se_resnet50", {}, 28_071_976),
    ("se_resnet50", {"se_bias": True}, 28_088_024),
    ("se_resnet101", {"se_bias": True}, 49_326_872),
    ("se_resnet152", {"se_bias": True}, 66_821_848),
    ("se_resnet20_cifar", {"se_bias": True}, 274_847),
    ("se_resnet56_cifar", {"se_bias": True}, 862_889),
    ("se_resnet110_cifar", {"se_bias": True}, 1_744_952),
]

REDUCTIONS = [(2, 45.7), (4, 35.7), (8, 30.7), (16, 28.1), (32, 26.9)]  # paper, table 10, in millions

IMPOSSIBLE = [
    ({"reduction": 512}, "reduction"),
    ({"reduction": 0}, "reduction"),
    ({"reduction": 16.0}, "reduction"),
    ({"reduction": True}, "reduction"),
    ({"depths": (3, -4, 6, 3)}, "depths"),
    ({"depths": (3, 4, 6)}, "depths"),
    ({"depths": ()}, "depths"),
    ({"depths": [3, 4, 6, 3]}, "depths"),
    ({"widths": (64, 128, 256, 512.0)}, "widths"),
    ({"stem": "5x5"}, "stem"),
    ({"stem": 7}, "stem"),
    ({"block": "dense"}, "block"),
    ({"squeeze": "ceil"}, "squeeze"),
    ({"num_classes": 0}, "num_classes"),
    ({"num_classes": "10"}, "num_classes"),
    ({"in_channels": 3.0}, "in_channels"),
    ({"se": 1}, "se"),
    ({"se_bias": None}, "se_bias"),
    ({"reductoin": 8}, "reduction"),
]


@pytest.mark.parametrize(("name", "facts", "count"), COUNTS)
def test_parameter_counts_are_the_published_ones(name, facts, count):
    assert parameter_count(architecture(name, **facts)) == count


@pytest.mark.parametrize(("reduction", "millions"), REDUCTIONS)
def test_reductions_give_the_counts_of_table_10(reduction, millions):
    count = parameter_count(architecture("se_resnet50", reduction=reduction, se_bias=True))
    # The table adds the SE part, rounded to a tenth, to a rounded 25.6 M: it is off by up to 0.1 M.
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


def test_multiply_adds_are_the_published_ones():
    assert multiply_adds(architecture("resnet50")) == 4_089_184_256
    assert multiply_adds(architecture("resnet18")) == 1_814_073_344


def test_se_adds_under_one_percent_of_multiply_adds():
    with_se, without = (multiply_adds(architecture(name)) for name in ("se_resnet50", "resnet50"))
    assert 1 < with_se / without < 1.01


def test_multiply_adds_follow_the_image_size():
    one = architecture("resnet18", num_classes=1)
    assert multiply_adds(one, 64, 32) == multiply_adds(one, 32, 64) < multiply_adds(one, 65, 32)


def test_the_cifar_style_net_of_the_tutorials_keeps_the_size_through_its_stem():
    tutorial = architecture("se_resnet34", stem="3x3", num_classes=10)
    assert tutorial.conv1.kernel == 3
    assert tutorial.conv1.stride == 1
    assert tutorial.max_pool is None
    assert tutorial.widths == (64, 128, 256, 512)
    assert [len(blocks) for blocks in tutorial.stages().values()] == [3, 4, 6, 3]


def test_the_first_block_of_each_later_stage_strides_in_its_3x3_and_projects():
    for block in architecture("se_resnet50").blocks():
        strides = [convolution.stride for convolution in block.convolutions]
        assert strides == [1, block.stride, 1]
        assert block.stride == (2 if block.stage > 1 and block.index == 0 else 1)
        assert block.projects == (block.index == 0)


def test_a_basic_net_projects_only_where_the_shape_changes():
    projecting = [block.name for block in architecture("se_resnet34").blocks() if block.projects]
    assert projecting == ["layer2.0", "layer3.0", "layer4.0"]


@pytest.mark.parametrize(("facts", "named"), IMPOSSIBLE)
def test_an_impossible_fact_is_named_in_a_sentence(facts, named):
    with pytest.raises(ArchitectureError, match=named):
        architecture("se_resnet50", **facts)


def test_an_unknown_architecture_suggests_a_near_one():
    with pytest.raises(ArchitectureError, match="did you mean se_resnet50"):
        architecture("se_resnet_50")


@pytest.mark.parametrize("name", se_spec.list_architectures())
def test_facts_survive_json(name):
    known = architecture(name)
    assert Architecture.from_facts(json.loads(json.dumps(known.facts))) == known


@pytest.mark.parametrize("name", se_spec.list_architectures())
def test_manifest_names_are_unique(name):
    names = [parameter.name for parameter in manifest(architecture(name))]
    assert len(set(names)) == len(names)
