"""What every other part needs: errors, files, paths, random streams, devices, pictures. Knows nothing of the rest."""
