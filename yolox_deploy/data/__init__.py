"""COCO data: class names, and what reads and judges annotations."""
