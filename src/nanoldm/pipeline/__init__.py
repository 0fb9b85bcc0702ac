"""A trained model as one object: sampling settings, labels, saving and loading, folders."""
