"""msgpack files that flax.serialization writes."""
