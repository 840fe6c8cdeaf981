"""Inputs and answers of the host's steps, as files that twins in other languages are tested with.

    python -m runtimes.golden_vectors        # make golden-vectors: writes cases/

store.py        arrays and JSON -> two files a topic
seeds.py        numbers for the cases, exact in every arithmetic
pixels.py       pictures -> the `image` input; orientations
prompting.py    prompts -> slots and drawn prompts
answers.py      outputs of the graphs -> masks, boxes, polygons
everything.py   everything in a picture, over the stand-in of regions.py, and its steps
tracking.py     objects through frames, with the networks.py of stand_ins.py
bundles.py      small bundles, one good and the others refused
refusals.py     wrong requests and their errors

README.md says what the files hold.
"""
