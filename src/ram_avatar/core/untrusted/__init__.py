"""The one way in for files that others made.

Avatars, captures, motions, recipes and pictures are shared, so any of them may be damaged or hostile. The readers here
bound what a file can ask for before anything is allocated, never run what it holds, and turn whatever is wrong into a
`UserError` of one line:

* `files`: regular files only, of bounded size
* `documents`: JSON and YAML without nesting, aliases or tags that blow up
* `records`: dataclasses from such documents, checked against their annotations
* `arrays`: zip archives and .npz files, their headers checked before anything is inflated
* `tensors`: safetensors, their shapes checked before anything is allocated
* `pictures`: PNG, JPEG and WebP, told by content, their sides checked before they are decoded

Video is decoded in a confined process instead (`video.untrusted`), since its decoders are too large to trust.
"""
