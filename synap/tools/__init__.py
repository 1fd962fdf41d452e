"""Programs for people in front of a running server: the shell, the load generator and the live view.

They talk to it over the wire only, as any client does, and know nothing of how it works.
"""
