"""A link between two parties: tensors and JSON in strict order, both ways, over TLS or inside one process.

    channel.py    the link as the rest of the program sees it
    outgoing.py   the queue of what is sent, and its thread
    incoming.py   what is read, ahead or not
    state.py      what both directions share, and what to say when the link breaks
    frames.py     the bytes of a message; what a peer may send
    wire.py       ordered bytes: what a channel needs of its carrier, and a carrier in memory
    tls.py        TLS 1.3 with pinned certificates: what both ends do alike
    connect.py    the end that connects
    listener.py   the end that listens
    tls_wire.py   two TLS connections as such bytes
    hashing.py    a channel whose frames are hashed on their way, for a log
    chained.py    a channel with one hash over all its frames

Knows no masks, no protocols and no experiments.
"""
