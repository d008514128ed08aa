"""Proof that an artifact detects what its checkpoint detects; needs no PyTorch and no ONNX."""
