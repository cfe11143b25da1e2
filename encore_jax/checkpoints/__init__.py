"""Weights in files: Hugging Face folders, safetensors, GGUF, LoRA adapters."""
