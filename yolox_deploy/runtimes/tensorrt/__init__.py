"""TensorRT and TensorRT-RTX: the runtime, the CUDA layer below it, and an engine's sidecar."""
