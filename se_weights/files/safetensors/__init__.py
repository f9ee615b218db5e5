"""safetensors: one file, shards with an index, and Hugging Face folders."""
