"""Asks ONNX's checker and onnxruntime about an exported model.

    python test/reference/check_onnx.py MODEL.onnx PHOTO...

Prints one JSON object: the opset, the node types in order, and the logits (or features) of the photographs, prepared as the
model's metadata says, computed by onnxruntime in one batch and one by one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from preprocessing import decode, preprocess


def main() -> None:
    path, photos = sys.argv[1], [Path(photo) for photo in sys.argv[2:]]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    settings = metadata['repvgg.preprocessing']
    pixels = np.stack(
        [
            preprocess(decode(photo), settings['resize'], settings['crop'], settings['interpolation'])
            for photo in photos
        ]
    )
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (declared,) = session.get_inputs()
    if declared.type != 'tensor(uint8)':
        mean, std = (np.float32(settings[name]) for name in ('mean', 'std'))
        pixels = ((pixels.astype(np.float32) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    batch = session.run(None, {'input': pixels})[0]
    single = np.concatenate([session.run(None, {'input': image[None]})[0] for image in pixels])
    print(
        json.dumps(
            {
                'opset': model.opset_import[0].version,
                'nodes': [node.op_type for node in model.graph.node],
                'input': [declared.type, declared.shape],
                'logits': batch.tolist(),
                'largestBatchDifference': float(np.abs(batch - single).max()),
            }
        )
    )


if __name__ == '__main__':
    main()
