"""ONNX files as model documents.

A file from somebody unknown is read in this order, and nothing of it is ever executed but the operators of a document::

    packing         pack_onnx: a file in, a model document out
    ├ reading       the file → a graph of plain Python: nodes, constants, inputs; everything checked
    │ ├ wire        bounds what parsing may cost, before anything is parsed
    │ └ tensors     constants, their bytes checked against their shapes
    ├ network       the graph → a module that torch traces as it does a user's own
    │ ├ fusing      a product and the bias after it are one layer
    │ ├ calls       what an operator sees of the node that it is called for
    │ ├ operators   by name ← elementwise, layers, normalisation, pooling, reductions, resizing, shaping
    │ ├ windows     what convolutions and pooling slide over images
    │ ├ sizes       arithmetic on shapes, which is done while tracing
    │ └ naming      the layers' qualified names, as far as the file tells them
    └ verification  the document's outputs against ONNX Runtime's

``docs/onnx.md`` says which operators there are.
"""
