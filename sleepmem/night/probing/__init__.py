"""The teacher questions itself about tonight's episodes. Values in, values out."""
