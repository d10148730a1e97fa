"""Compaction: keeps a long thread within the model's window.

Before each request of an agent, `Compactor.is_due` compares the size of the next request (`window.py`) with the share
`Compaction.trigger` of the window. A request that the model refuses as too long triggers a compaction too
(`model_turn.py`). Then:

1. The reasoning of earlier user turns is dropped, where the model does not read it.
2. Until the request has its target size: old results of earlier turns are shortened, the oldest exchanges of earlier
   turns are removed, old results of the running turn are shortened, its oldest exchanges are removed (`plan.py`).
   The user's last message, the last exchange and system messages always stay.
3. Results that do not fit into the window even so stay whole in the state, and requests have excerpts of them.
4. What is dropped, shortened or removed is written to the archive, where the settings say so (`archive.py`); the model
   reads it again with the tool `recall` (`recall.py`).
5. The model is asked for a summary of the removed messages (`summary.py`), which replaces them.
   Without a summary, a note says how much was removed.

The beginning of the requests changes with it, and Kimi's prefix cache misses once; so compaction is rare and thorough.
"""
