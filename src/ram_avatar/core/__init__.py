"""What depends on nothing else in the package: errors, files, cache, progress, devices, the camera, images."""
