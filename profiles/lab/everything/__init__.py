"""Everything in a picture, measured: what each way finds, and what a decoder's parts cost.

python -m profiles.lab.everything              the demo on held-out scenes
python -m profiles.lab.everything.speed        the published generator in torch beside ours
python -m profiles.lab.everything.decoder      MobileSAM's decoder, part by part, in one run
"""
