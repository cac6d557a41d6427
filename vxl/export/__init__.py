"""A model in the layout of transformers: weights, and beside them its code, so that vxl need not be there."""
