"""Master and replicas: one journal on several nodes.

It knows records, not what they mean. A replica follows the bytes of its master's journal into its own, so that both
hold the same records under the same LSNs. `node.py` decides and does no I/O: it is told what has come and what time
it is, and says what is to be done. `link.py` does it for a replica, `transport/replication.py` for who is followed.
"""
