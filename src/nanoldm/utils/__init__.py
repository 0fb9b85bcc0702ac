"""What all other rooms use: errors, files, paths, random streams, devices, images."""
