"""What the camera did: where it moved, how it was exposed, where its picture ends."""
