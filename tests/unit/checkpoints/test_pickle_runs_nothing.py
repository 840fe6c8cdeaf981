"""Whatever a pickle names, nothing of it is imported or called: shown by the interpreter's own log.

Python reports imports, executed code, opened files, sockets and processes to an audit hook. A
process reads pickles that name a module of the test's own, modules of the standard library that are
not loaded, and harmful calls, by every opcode that can name or call something.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

NAMES = (
    "canary.harm",
    "antigravity.fly",
    "this.s",
    "xmlrpc.client.ServerProxy",
    "os.system",
    "builtins.eval",
    "builtins.__import__",
    "importlib.import_module",
    "torch.hub.load",
    "functools.partial",
    "torch._utils._rebuild_tensor_v2",
    "torch._tensor._rebuild_from_type_v2",
    "collections.OrderedDict",
    "copyreg._reconstructor",
)

PROGRAM = """
    import json, sys
    from exporter.checkpoints.budget import Budget
    from exporter.checkpoints.pickled import read_pickle
    from exporter.errors import CheckpointError

    def text(value):
        return b"\\x8c" + bytes([len(value)]) + value.encode()

    def forms(module, name):
        one = b"c" + module.encode() + b"\\n" + name.encode() + b"\\n"
        put = text(module) + text(name) + b"\\x93"
        command = text("touch harm")
        inst = b"(" + command + b"i" + module.encode() + b"\\n" + name.encode() + b"\\n"
        state = b"}" + text("a") + command + b"s"
        for named in (one, put):
            yield named
            for call in (b"R", b"\\x81"):
                yield named + command + b"\\x85" + call
                yield named + command + b"\\x85" + call + state + b"b"
                yield named + command + b"\\x85" + call + text("k") + command + b"s"
            yield named + command + b"\\x85" + b"}" + b"\\x92"
            yield b"(" + named + command + b"o"
            yield named + b"Q"
            # a call whose function is the result of a call
            getattr = b"cbuiltins\\ngetattr\\n" + named + text("harm") + b"\\x86R"
            yield getattr + command + b"\\x85R"
            yield named + command + b"\\x85R" + command + b"\\x85R"
            rebuild = b"ctorch._tensor\\n_rebuild_from_type_v2\\n("
            yield rebuild + named + b"N" + command + b"\\x85NtR"
        yield inst

    def read(data):
        try:
            read_pickle(b"\\x80\\x04" + data + b".", 0, Budget(10_000))
        except CheckpointError:
            return 1
        return 0

    names = json.loads(sys.argv[1])
    read(b"N"), read(b"cos\\nsystem\\n)R")       # what reading itself imports is there now
    seen, tried, before = [], 0, set(sys.modules)
    pickles = [data for name in names for data in forms(*name.rsplit(".", 1))]
    watched = ("import", "exec", "compile", "open", "os.", "subprocess.", "socket.", "pickle.",
               "ctypes.", "marshal.", "urllib.", "shutil.", "builtins.", "code.")
    on = [True]
    sys.addaudithook(lambda event, args: on[0] and event.startswith(watched) and seen.append(event))
    refused = sum(map(read, pickles))
    on[0] = False
    loaded = sorted(set(sys.modules) - before)
    print(json.dumps({"seen": seen, "loaded": loaded, "tried": len(pickles), "refused": refused}))
"""


def watched(tmp_path, names):
    (tmp_path / "canary.py").write_text("open('harm', 'w').close()\ndef harm(*_): raise SystemExit")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{textwrap.dedent(PROGRAM)}"
    ran = subprocess.run(
        [sys.executable, "-c", program, json.dumps(names)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    return json.loads(ran.stdout)


def test_nothing_that_a_pickle_names_is_imported_or_run(tmp_path):
    found = watched(tmp_path, NAMES)
    assert (found["seen"], found["loaded"]) == ([], [])
    assert not (tmp_path / "harm").exists()
    assert found["tried"] == 27 * len(NAMES)
    assert 0 < found["refused"] < found["tried"]


def test_the_log_sees_what_a_loader_would_do(tmp_path):
    """The same pickle, made by Python's own loader: without this the test above proves little."""
    hook = "seen = []; sys.addaudithook(lambda event, args: seen.append(event))"
    load = "pickle.loads(b'ccanary\\nharm\\n.')"
    program = f"import json, pickle, sys; sys.path.insert(0, '.'); {hook}; {load}; print(seen)"
    (tmp_path / "canary.py").write_text("open('harm', 'w').close()\ndef harm(*_): raise SystemExit")
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "'import'" in ran.stdout
    assert "'exec'" in ran.stdout
    assert (tmp_path / "harm").exists()
