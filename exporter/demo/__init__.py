"""The demo model: a small promptable SAM with its weights in the repository.

`scenes` makes pictures with known objects, `network` is the model, `train` made
`demo.safetensors` from them, `evaluate` measures it. Everything can be tried without a download.
`sample.png` is `scene(10_900_005, 480, 640)`: held out, not square.
"""
