"""Locks by which one run at a time has a thread, over all tasks, processes and machines.

A run of an agent with `exclusive=` acquires the lock of its thread before it reads the thread (`held_thread.holding`),
and has it until it ends. Before each superstep it checks that it still has the lock and that no other run replaces it;
before each write to the checkpointer, that it still has the lock. Sub-agents run under the lock of their caller.
"""
