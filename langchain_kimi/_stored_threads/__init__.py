"""Threads as a checkpointer stores them: what they take up, and which of their checkpoints may be deleted.

`retention` decides, without I/O, which checkpoints of a thread stay. `sqlite_threads` and `postgres_threads` read and
delete rows; `snapshots` computes the messages of a checkpoint whose ancestors are deleted.
"""
