"""Architectures, their parameters and their counts, against published numbers; and the errors for invalid settings."""

import json

import pytest

import se_spec
from se_spec import (
    Architecture,
    ArchitectureError,
    MaxPool,
    Squeeze,
    Stem,
    architecture,
    manifest,
    multiply_adds,
    parameter_count,
)

COUNTS = [  # published numbers of learned parameters: of timm, torchvision, pytorchcv, PaddleClas, NVIDIA and the paper
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
    ("ecaresnet50d", {}, 25_576_350),
    ("ecaresnetlight", {}, 30_162_046),
    ("ecaresnext26t_32x4d", {}, 15_406_220),
    ("se_resnetrs50", {}, 35_691_912),
    ("se_resnetrs420", {}, 191_891_656),
    ("se_preresnet18", {"se_bias": True}, 11_776_928),
    ("se_preresnet50", {"se_bias": True}, 28_080_472),
    ("se_preresnet18", {"se_bias": True, "stem": "3x3", "final_norm": False, "num_classes": 10}, 11_260_354),
    ("se_resnet20_cifar", {"se_bias": True}, 274_847),
    ("se_resnet56_cifar", {"se_bias": True}, 862_889),
    ("se_resnet110_cifar", {"se_bias": True}, 1_744_952),
    ("se_resnet20_cifar", {}, 274_490),
    ("se_resnet56_cifar", {}, 861_818),
    ("se_resnet110_cifar", {}, 1_742_810),
    ("se_resnet164bn_cifar", {"se_bias": True}, 1_906_258),
    ("se_resnet272bn_cifar", {"se_bias": True}, 3_153_826),
    ("se_resnet18", {}, 11_776_552),
    ("se_resnet34", {}, 21_954_856),
    ("se_resnet101", {}, 49_292_328),
    ("se_resnet152", {}, 66_770_984),
    ("se_resnet50", {"squeeze": "constant", "se_bias": True}, 26_055_720),
    ("se_resnet50", {"num_classes": 8631, "se_bias": True}, 43_723_943),
    ("se_resnet152d", {"se_bias": True}, 66_841_080),
    ("se_resnext26_32x4d", {"se_bias": True}, 16_790_280),
    ("se_resnext26d", {"se_bias": True}, 16_809_512),
    ("se_resnext26t", {"se_bias": True}, 16_806_976),
    ("se_resnext50_32x4d", {"se_bias": True}, 27_559_896),
    ("se_resnext101_32x4d", {"se_bias": True}, 48_955_416),
    ("se_resnext101_32x4d", {"se_bias": True, "squeeze": "constant"}, 45_251_128),
    ("se_resnext101_64x4d", {"se_bias": True}, 88_232_984),
    ("se_resnext101_32x8d", {"se_bias": True}, 93_569_048),
    ("se_resnext101d_32x8d", {"se_bias": True}, 93_588_280),
    ("senet154", {"se_bias": True}, 115_088_984),
    ("senet154", {"se_bias": True, "groups": 32, "depths": (1, 1, 1, 1)}, 31_366_168),
    ("senet154", {"se_bias": True, "groups": 32, "depths": (2, 2, 2, 2)}, 36_453_768),
    (
        "se_resnet18",
        {"se_bias": True, "conv_bias": True, "stem": "3x3", "num_classes": 100},
        11_314_012,
    ),
    (
        "se_resnet18",
        {"se_bias": True, "stem": {"kernel": 3, "inner": (32, 32)}, "shortcut": {"averages": True, "where": "stages"}},
        11_802_048,
    ),
    (
        "se_resnet34",
        {"se_bias": True, "stem": {"kernel": 3, "inner": (32, 32)}, "shortcut": {"averages": True, "where": "stages"}},
        21_982_324,
    ),
    ("resnext50_32x4d", {}, 25_028_904),
    ("resnext101_32x8d", {}, 88_791_336),
    ("resnext101_64x4d", {}, 83_455_272),
    ("wide_resnet50_2", {}, 68_883_240),
    ("wide_resnet101_2", {}, 126_886_696),
    ("resnet50d", {}, 25_576_264),
]

REDUCTIONS = [(2, 45.7), (4, 35.7), (8, 30.7), (16, 28.1), (32, 26.9)]  # paper, table 10, in millions

INVALID = [
    ({"squeeze": {"gate": "eca"}, "reduction": 8}, "ECA layers have none"),
    ({"squeeze": "eca", "se_bias": True}, "ECA layers have none"),
    ({"squeeze": {"gate": "softmax"}}, "squeeze_gate"),
    ({"stem": {"pool": "convolution"}}, "deep stem"),
    ({"stem": {"inner": (32, 32), "norm": False}}, "deep stem"),
    ({"order": "middle"}, "order"),
    ({"final_norm": True}, "final_norm"),
    ({"order": "pre", "antialias": "blur"}, "antialias"),
    ({"order": "pre", "shared_norms": True}, "shared_norms"),
    ({"shared_norms": "all"}, "shared_norms"),
    ({"shared_norms": True, "block": "bottleneck", "reduce_first": 2}, "shared_norms"),
    ({"order": "pre", "squeeze": {"after_relu": True}}, "ReLU before the squeeze"),
    ({"output_stride": 4}, "output_stride"),
    ({"output_stride": 8, "shortcut": {"averages": True}}, "output_stride"),
    ({"output_stride": 16, "shortcut": {"kernel": 3}}, "output_stride"),
    ({"output_stride": 16, "antialias": "mean"}, "output_stride"),
    ({"dilates_first": True}, "dilates_first"),
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
    ({"num_classes": -1}, "num_classes"),
    ({"groups": 7, "base_width": 5, "reduce_first": 2}, "groups"),
    ({"groups": 0}, "groups"),
    ({"widths": (8, 16, 32, 64), "base_width": 1, "reduction": 2}, "groups"),
    ({"reduce_first": 3}, "reduce_first"),
    ({"stride_in": "conv3"}, "stride_in"),
    ({"stem": {"pool": "valid"}}, "pool"),
    ({"stem": {"kernal": 3}}, "did you mean kernel"),
    ({"stem": {"inner": (32, 0)}}, "inner"),
    ({"shortcut": {"kernel": 5}}, "kernel"),
    ({"shortcut": {"where": "here"}}, "where"),
    ({"squeeze": {"after_relu": 1}}, "after_relu"),
    ({"bn_epsilon": 0.0}, "bn_epsilon"),
    ({"dropout": 1.0}, "dropout"),
    ({"drop_path": -0.1}, "drop_path"),
    ({"conv_bias": 1}, "conv_bias"),
    ({"num_classes": "10"}, "num_classes"),
    ({"in_channels": 3.0}, "in_channels"),
    ({"se": 1}, "se"),
    ({"se_bias": None}, "se_bias"),
    ({"reductoin": 8}, "reduction"),
]


@pytest.mark.parametrize(("name", "settings", "count"), COUNTS)
def test_parameter_counts_are_the_published_ones(name, settings, count):
    assert parameter_count(architecture(name, **settings)) == count


@pytest.mark.parametrize(("reduction", "millions"), REDUCTIONS)
def test_parameter_counts_by_reduction_are_those_of_table_10(reduction, millions):
    count = parameter_count(architecture("se_resnet50", reduction=reduction, se_bias=True))
    # The table adds the SE part, rounded to a tenth, to a rounded 25.6 M: it is off by up to 0.1 M.
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


def test_multiply_adds_are_the_published_ones():
    assert multiply_adds(architecture("resnet50")) == 4_089_184_256
    assert multiply_adds(architecture("resnet18")) == 1_814_073_344


def test_se_adds_less_than_one_percent_of_multiply_adds():
    with_se, without = (multiply_adds(architecture(name)) for name in ("se_resnet50", "resnet50"))
    assert 1 < with_se / without < 1.01


def test_an_se_layer_costs_its_dense_layers_and_two_operations_for_each_value():
    """C x C / 16 twice, and for each of C x H x W values an addition in the squeeze and a multiplication."""
    with_se, without = (multiply_adds(architecture(name)) for name in ("se_resnet50", "resnet50"))
    stages = [(3, 256, 56), (4, 512, 28), (6, 1024, 14), (3, 2048, 7)]
    assert with_se - without == sum(
        depth * (2 * channels * channels // 16 + 2 * channels * side**2) for depth, channels, side in stages
    )


def test_multiply_adds_depend_on_the_image_size():
    one = architecture("resnet18", num_classes=1)
    assert multiply_adds(one, 64, 32) == multiply_adds(one, 32, 64) < multiply_adds(one, 65, 32)


def test_the_stem_of_the_tutorials_cifar_network_keeps_the_image_size():
    tutorial = architecture("se_resnet34", stem="3x3", num_classes=10)
    (conv1,) = tutorial.stem_convolutions
    assert (conv1.kernel, conv1.stride) == (3, 1)
    assert tutorial.max_pool is None
    assert tutorial.widths == (64, 128, 256, 512)
    assert [len(tutorial.stage(number)) for number in (1, 2, 3, 4)] == [3, 4, 6, 3]


def test_the_first_block_of_each_later_stage_has_stride_2_in_its_3x3_and_a_projection():
    for block in architecture("se_resnet50").blocks():
        strides = [convolution.stride for convolution in block.convolutions]
        assert strides == [1, block.stride, 1]
        assert block.stride == (2 if block.stage > 1 and block.index == 0 else 1)
        assert block.projects == (block.index == 0)


def test_a_network_of_basic_blocks_projects_only_where_the_shape_changes():
    projecting = [block.name for block in architecture("se_resnet34").blocks() if block.projects]
    assert projecting == ["layer2.0", "layer3.0", "layer4.0"]


@pytest.mark.parametrize(("settings", "named"), INVALID)
def test_an_invalid_setting_is_named_in_the_error(settings, named):
    with pytest.raises(ArchitectureError, match=named):
        architecture("se_resnet50", **settings)


def test_the_kernel_of_an_eca_layer_grows_with_its_channels():
    """As in timm 1.0.31, layers/eca.py, for the channels of its networks."""
    kernels = {64: 3, 128: 5, 256: 5, 512: 5, 1024: 5, 2048: 7}
    assert {channels: se_spec.eca_kernel(channels) for channels in kernels} == kernels


def test_the_first_block_of_a_dilated_stage_has_the_dilation_before_it_or_its_own():
    """torchvision 0.29, models/resnet.py, `previous_dilation`; smp 0.6.0, encoders/_utils.py."""
    for first, expected in ((False, [1, 1, 1, 1, 1, 2, 2, 4]), (True, [1, 1, 1, 1, 2, 2, 4, 4])):
        network = architecture("resnet50", depths=(2, 2, 2, 2), output_stride=8, dilates_first=first)
        assert [block.convolutions[1].dilation for block in network.blocks()] == expected
        assert [output.stride for output in network.stage_outputs.values()] == [4, 4, 8, 8, 8]


def test_an_unknown_architecture_name_gets_a_suggestion():
    with pytest.raises(ArchitectureError, match="did you mean se_resnet50"):
        architecture("se_resnet_50")


@pytest.mark.parametrize("name", se_spec.list_architectures())
def test_a_config_survives_json(name):
    known = architecture(name)
    assert Architecture.from_dict(json.loads(json.dumps(known.to_dict()))) == known


@pytest.mark.parametrize("name", se_spec.list_architectures())
def test_manifest_names_are_unique(name):
    names = [parameter.name for parameter in manifest(architecture(name))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("settings", [{"groups": 32}, {"stride_in": "conv1"}, {"reduce_first": 2}, {"base_width": 128}])
def test_a_basic_block_refuses_settings_of_a_bottleneck(settings):
    with pytest.raises(ArchitectureError, match="bottleneck"):
        architecture("se_resnet18", **settings)


def test_a_partial_group_keeps_its_other_settings():
    changed = architecture("senet154", stem={"pool": "ceil"}, reduction=8, squeeze="round8", se_bias=True)
    assert changed.stem == Stem(kernel=3, inner=(64, 64), width=128, pool="ceil")
    assert changed.squeeze == Squeeze(reduction=8, rounding="round8", bias=True)


def test_senet154_halves_its_first_1x1_and_has_3x3_shortcuts_at_stride_2():
    blocks = list(architecture("senet154").blocks())
    first, later = blocks[0], blocks[3]
    assert [c.out_channels for c in first.convolutions] == [128, 256, 256]
    assert first.convolutions[1].shape == (256, 2, 3, 3)
    assert (first.projection.kernel, later.projection.kernel) == (1, 3)


def test_an_averaging_shortcut_has_its_stride_in_the_average_pool():
    blocks = list(architecture("se_resnet152d").blocks())
    assert blocks[0].pool is None
    assert (blocks[3].pool.stride, blocks[3].projection.stride) == (2, 1)


@pytest.mark.parametrize("side", range(3, 130))
def test_max_pool_output_sizes_are_those_of_each_code_base(side):
    """Padding of one on each side and floor; torch's ceil_mode without padding; TensorFlow's SAME."""
    expected = {"pad1": (side - 1) // 2 + 1, "ceil": -(-(side - 3) // 2) + 1, "same": -(-side // 2)}
    assert {pool: MaxPool(pool).side(side) for pool in expected} == expected


@pytest.mark.parametrize("name", se_spec.list_architectures())
def test_named_like_finds_the_name_from_the_shapes(name):
    changed = {"se_resnet": {"bn_epsilon": 1e-3}, "se_densenet": {"transition_pool": "ceil"}}
    network = architecture(name)
    biased = {} if name.startswith("eca") else {"se_bias": True}
    like = se_spec.named_like(network.replace(num_classes=3, **biased, **changed[network.family]))
    assert like.name == name


CALLS = {
    'create_model("se_resnet50")': {},
    'create_model("se_resnet50", num_classes=10)': {"num_classes": 10},
    'create_model("se_resnet50", reduction=8, se_bias=True)': {"se_bias": True, "reduction": 8},
    'create_model("se_resnet50", squeeze="round8", se_bias=True)': {"se_bias": True, "squeeze": "round8"},
    'create_model("se_resnet50", stem="3x3")': {"stem": "3x3"},
    'create_model("se_resnet50", squeeze={"after_relu": True, "rounding": "constant"}, reduction=8)': {
        "squeeze": {"rounding": "constant", "reduction": 8, "after_relu": True}
    },
    'create_model("se_resnet50", widths=(8, 16), depths=(1, 2))': {"depths": (1, 2), "widths": (8, 16)},
    'create_model("se_resnet50", stem={"pool": "ceil"}, stride_in="conv1")': {
        "stem": {"pool": "ceil"},
        "stride_in": "conv1",
    },
}


@pytest.mark.parametrize("call", CALLS)
def test_the_call_that_creates_a_model_names_what_differs_and_creates_it(call):
    network = se_spec.architecture("se_resnet50", **CALLS[call])
    for name in (network.name, "unnamed"):
        made = se_spec.create_model_call(network.replace(name=name))
        assert sorted(made) == sorted(call), made
        assert eval(made, {"create_model": se_spec.architecture}).function_key() == network.function_key()


@pytest.mark.parametrize("name", se_spec.list_architectures())
def test_the_call_for_a_named_architecture_is_its_name(name):
    assert se_spec.create_model_call(se_spec.architecture(name)) == f'create_model("{name}")'
