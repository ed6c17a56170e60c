"""What knows nothing of avatars: errors, files, archives, the cache, progress, devices, the camera, images."""
