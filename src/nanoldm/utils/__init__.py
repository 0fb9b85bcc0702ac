"""What all other packages use: errors, files, paths, random streams, devices, images."""
