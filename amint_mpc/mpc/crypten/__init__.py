"""Any `crypten.nn` module as a head, through CrypTen's own protocols on our link and with our masks.

generic_head.py   the head at one party
conv_module.py    the convolutional head as such a module
session.py        CrypTen for two parties in one thread
communicator.py   its messages over our channel
provider.py       its masks from our supply; tracing.py finds out which a step needs
"""
