"""SE-ResNet, and its kin: SE-ResNeXt, SENet-154, ResNet-D, and the same networks without SE layers."""
