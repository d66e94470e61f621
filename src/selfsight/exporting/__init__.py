"""An encoder as others use it: one folder that timm, transformers and ONNX Runtime load, checked before it is there."""
