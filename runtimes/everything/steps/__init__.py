"""The host's steps around a decoder that is asked for everything in a picture. numpy only.

Each is a loop over arrays that an app can do as well: grids of points, interpolation, counting,
boxes, suppression, run lengths, regions.
"""
