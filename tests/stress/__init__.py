"""The stress suite: laws that must hold for any input, tried with seeded cases in child processes that are watched.

`make stress MINUTES=60`, or `python -m tests.stress --minutes 2 --only NAME`; `--replay FILE` runs a stored failure
again. `tests/unit/test_stress.py` tries the first few cases of each property.

To add a property, write tests/stress/<name>.py (the suite finds it) with:

    def cases(rng):                      # a generator, with or without an end; all chance comes from rng
        while True:
            yield Case("text.png", rng.randbytes(100))          # name, bytes; options={...}: anything that JSON holds

    def check(case, folder):             # runs in a forked child, in an empty folder of its own
        photo = decode(case.data, case.name)                    # a UsageError: the case counts as refused
        if photo.pixels.dtype != np.uint8:
            raise Broken("the pixels are not bytes")            # WRONG: a law is broken
                                                                # any other exception, a signal, a traceback: CRASHED
    PROPERTY = Property("name", "The law in one sentence.", cases, check, share=2, seconds=5, mib=300)

A refusal is one line that names the file (`names=False` where there is none). Beyond `seconds` of CPU or `wall` seconds
a case is HUNG; beyond `mib` MiB above the child's memory before its first case it is FAT; a case may set limits.
A case that drives whole processes (kill -9, the page) is the same: it starts them inside `check`, with `block=1` and
longer limits; what it leaves running is killed, and its descendants' CPU time and memory are counted. A case that tries
many inputs returns {"whole": 90, "refused": 10}. Imports that are used by every case stand at the top of the file: they
are done once, before the children are forked.
"""
