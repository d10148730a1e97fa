"""Tool calls: checks of the arguments, the run of the tool, its errors, and calls that cannot run."""
