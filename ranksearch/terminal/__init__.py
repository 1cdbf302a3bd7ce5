"""What people read in a terminal: tables of studies and layers, a study's picture, messages, errors.

The command line and the demonstration share it.
"""
