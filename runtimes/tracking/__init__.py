"""Following objects through frames: what the host does between a video bundle's graphs. numpy only.

bank.py       what is kept of earlier frames, and which of it a frame sees
pruning.py    which memories are left out because they are alike
graphs.py     the bundle's graphs, loaded, and the arrays they take
decide.py     from a decoder's outputs to a frame's mask, pointer and score
drawn.py      a mask given as the prompt
follow.py     one object's frames

`runtimes.tracker` is the door.
"""
