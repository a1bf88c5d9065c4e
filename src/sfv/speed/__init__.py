"""How a model is run: exact rewrites, precision, backends. The only importer of OpenVINO and ONNX; trains nothing."""
