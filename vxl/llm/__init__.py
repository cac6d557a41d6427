"""The language model: any Hugging Face decoder through vxl's own attention and cache."""
