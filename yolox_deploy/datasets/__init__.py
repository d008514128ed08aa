"""Annotated pictures in the formats that people have; all are read as what COCO's reader gives."""
