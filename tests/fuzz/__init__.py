"""A mutation fuzzer for every reader of files from outside: `make fuzz ARGS='--minutes 30'`.

To add a reader: a file in `targets/` with `TARGET = Target(...)`, whose name is the file's name,
and its first inputs, a few small files, in `corpus/NAME/`. Nothing else: the command, the report
and the test that tries the corpus and some mutations in every test run find it by themselves.
An input that was a finding once goes into the corpus, under a name that says what it did.
"""
