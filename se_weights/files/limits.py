"""How much a file of weights may declare. SE-ResNet-152, the deepest, has 930 tensors with names of 30 letters."""

TENSORS = 100_000
NAME = 4096
"""Bytes of a name."""

RANK = 8
SIDE = 2**60
"""Values along an axis, or from one to the next: the bytes of so many are still a number that C can count to."""

FACTS = 2**16
"""Letters of what a file says of its architecture. Those of SE-ResNet-152 are 700."""

FILE_NAME = 255
"""Bytes of a file's name."""

DEPTH = 64
"""Levels of a tree or a document, one in the other."""

NODES = 400_000
"""Objects in a pickle, and its instructions; SE-ResNet-152 with its optimiser, Adam, has 80 thousand."""

HEADER = 16 * 2**20
"""Bytes of a header, an index or a document that is read at once. That of SE-ResNet-152 has 120 thousand."""

PICKLE = 64 * 2**20
"""Bytes of a pickle that refers to its storages. That of SE-ResNet-152 has 150 thousand."""

BOMB = 100, 256 * 2**20
"""A file declares too much where it is more than so many times its size, and more than so many bytes."""
