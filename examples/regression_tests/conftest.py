"""An example of a team's checkpoint, as `torch.save(model.state_dict(), path)` writes it."""

import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    import se_spec
    import se_weights
    from se_parity import trained_like_weights

    architecture = se_spec.architecture("se_resnet18", depths=(1, 1), widths=(8, 16), num_classes=5, reduction=4)
    path = tmp_path_factory.mktemp("checkpoints") / "ours.pth"
    se_weights.write(se_weights.Checkpoint(architecture, trained_like_weights(architecture)), path)
    return path
