"""The C program that runs on a device, and the compilers that build it.

`runtimes/remote` says what it is asked and reads what it answers; `android_harness/ways` gets it
there.
"""
