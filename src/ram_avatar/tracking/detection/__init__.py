"""What a detector finds in a frame, and the topology that says which landmark is which."""
