"""What all tests share."""

import signal

# A shell's background jobs ignore SIGINT, and all that they start does; tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
