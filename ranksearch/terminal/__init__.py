"""What people read in a terminal: tables of studies and layers, messages, errors.

The command line and the demonstration share it.
"""
