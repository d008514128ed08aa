"""TensorRT and TensorRT-RTX: the runtime, the CUDA layer below it, and the engines' sidecars."""
