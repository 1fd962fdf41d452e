"""Payloads of any command, derived from its declared payload type.

`samples` are the smallest ones, without chance. `strategies` draw random ones, most of them valid, over a few keys that
all commands share, so that they meet each other's traces. Where a type does not say enough, the name of the field does:
`pools` knows what to put into a field called `match` or `ttl`. A new command is covered once it is in the table; a new
kind of field may want an entry there.
"""
