"""The msgpack files of flax.serialization."""
