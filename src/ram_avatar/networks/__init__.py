"""The avatar's networks: tensors in, tensors out."""
