"""The demo model: a small promptable SAM with its weights in the repository.

`network` is the model; `profiles.lab.demo` trained it. You can try everything without a download.
`sample.png` is `exporter.scenes.scene.scene(10_900_005, 480, 640)`: held out, not square.
"""
