"""SE-DenseNet: densely connected networks (arXiv 1608.06993) with SE layers, and without."""
