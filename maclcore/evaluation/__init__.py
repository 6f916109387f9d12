"""How good embeddings are: the seven retrieval metrics, their floor and ceiling, what labels can be
read from them, and how far a difference can be trusted.

From here: `retrieval` (the metrics, of rankings by `ranking` and relevance by `relevance`; what
they compute is in `measures` and, where scores tie, in `ties`), `reference` (chance and oracle),
`classification` (mAP, F1 and accuracy of scores of labels), `transfer` (linear probe and nearest
neighbours on frozen features), `statistics`, and `embedding`, which alone needs a network. All of
it is functions of arrays: this room must not know what a run is, where results lie, or how a
network was trained.
"""
