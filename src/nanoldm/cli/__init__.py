"""The command line. Every command is a dataclass: its fields are options, `run` does the work."""
