"""The named SE-DenseNets, and the DenseNets without SE layers (arXiv 1608.06993, table 1)."""

from se_spec.families.se_densenet.architecture import SEDenseNetArchitecture

_SIZES = {  # layers of each block, growth rate, initial features
    "121": ((6, 12, 24, 16), 32, 64),
    "161": ((6, 12, 36, 24), 48, 96),
    "169": ((6, 12, 32, 32), 32, 64),
    "201": ((6, 12, 48, 32), 32, 64),
    "264": ((6, 12, 64, 48), 32, 64),
}


def _densenet(version: str, se: bool) -> SEDenseNetArchitecture:
    blocks, growth_rate, initial = _SIZES[version]
    return SEDenseNetArchitecture(
        name=f"{'se_' * se}densenet{version}",
        block_config=blocks,
        growth_rate=growth_rate,
        num_init_features=initial,
        se_places=("layer",) if se else (),
    )


def se_densenets() -> list[SEDenseNetArchitecture]:
    """The named networks, in the order in which they are listed."""
    return [
        *(_densenet(version, True) for version in _SIZES if version != "264"),
        *(_densenet(version, False) for version in _SIZES),
        SEDenseNetArchitecture(  # 6n + 4 = 40 layers (arXiv 1608.06993, table 2) with bottlenecks: n = 6 a block
            name="se_densenet40_cifar",
            block_config=(6, 6, 6),
            growth_rate=12,
            num_init_features=24,
            stem="3x3",
            reduction=4,
            num_classes=10,
        ),
    ]
