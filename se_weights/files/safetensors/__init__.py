"""safetensors files, shards with an index, and Hugging Face folders."""
