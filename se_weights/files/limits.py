"""What a file may declare at most. SE-ResNet-152, the deepest network, has 930 tensors with names of 30 characters."""

TENSORS = 100_000
"""Tensors in a file."""

NAME = 4096
"""Bytes of a name."""

RANK = 8
"""Axes of a tensor."""

AXIS = 2**60
"""Values along an axis, and from one value to the next: so many bytes can still be counted in a 64-bit integer."""

CONFIG = 2**16
"""Characters of an architecture's config in the metadata. That of SE-ResNet-152 has 700."""

FILE_NAME = 255
"""Bytes of a file name."""

DEPTH = 64
"""Nested levels of a tree or a document."""

OBJECTS = 400_000
"""Objects in a pickle, and its opcodes. A checkpoint of SE-ResNet-152 with its Adam optimizer has 80,000."""

HEADER = 16 * 2**20
"""Bytes of a header, an index or a document that is read as one block. That of SE-ResNet-152 has 120,000."""

PICKLE = 64 * 2**20
"""Bytes of a pickle without its storages. That of SE-ResNet-152 has 150,000."""

BOMB = 100, 256 * 2**20
"""A file is a bomb if it declares more than so many times its own size and more than so many bytes."""
