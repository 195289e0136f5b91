"""A secure head between two parties and nobody else: SecretFlow SPU, protocol CHEETAH (homomorphic encryption and
oblivious transfer, Huang et al. 2022, https://eprint.iacr.org/2022/207). Needs the extra `two-party`.

    program.py   what is computed: the head's formula in JAX
    process.py   SPU in a process of its own, one at each party
    messages.py  what is said to that process
    relay.py     carries the messages of the two processes over a link of ours
    engine.py    starts process and relay
    head.py      the head at one party (`amint_mpc.mpc.shared_head`)
"""
