"""The networks of the avatar. They know tensors only."""
