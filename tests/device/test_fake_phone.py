"""The simulated phones against the real `adb` client: connections, commands, files."""

from __future__ import annotations

import hashlib
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.device.fake_kit import TMP, failed, only_sandboxed, until


class TestConnection:
    def test_it_is_listed_with_the_names_of_its_properties(self, adb_server, phone):
        rows = adb_server.adb("devices", "-l").stdout.splitlines()[1:]
        assert rows[0].split()[:4] == [
            phone.serial,
            "device",
            "product:emu64xa",
            "model:sdk_gphone64_x86_64",
        ]

    def test_a_key_is_asked_for_once_and_known_by_its_signature_later(self, adb_server, phone):
        assert len(phone.keys) == 1
        adb_server.disconnect(phone)
        phone.faults.unauthorized = True
        adb_server.adb("connect", phone.serial)
        adb_server.disconnect(phone)
        phone.faults.unauthorized = False
        adb_server.connect(phone)
        assert len(phone.keys) == 1

    def test_the_keys_are_not_the_users(self, adb_environment, phone):
        home = Path(adb_environment["HOME"])
        assert home != Path.home()
        assert (home / ".android/adbkey").exists()

    def test_unauthorized(self, adb_server, phone):
        adb_server.disconnect(phone)
        phone.faults.unauthorized = True
        said = adb_server.adb("connect", phone.serial)
        assert (said.returncode, "failed to authenticate" in said.stdout) == (0, True)
        assert f"{phone.serial}\tunauthorized" in adb_server.adb("devices").stdout
        refused = adb_server.adb("shell", "true")
        assert failed(refused, "device unauthorized")

    def test_a_silent_phone_is_offline(self, adb_server, phone, adb_environment):
        adb_server.disconnect(phone)
        phone.faults.silent = True
        command = ["adb", "connect", phone.serial]
        # It would wait for ten seconds.
        with subprocess.Popen(command, env=adb_environment, stdout=subprocess.DEVNULL) as client:
            offline = f"{phone.serial}\toffline"
            assert until(lambda: offline in adb_server.adb("devices").stdout)
            client.kill()

    def test_a_lost_phone_comes_back_under_the_same_name(self, adb_server, phone, shell):
        phone.unplug()
        assert until(lambda: shell("true").returncode == 1)
        assert phone.serial in adb_server.adb("connect", phone.serial).stdout
        phone.plug()
        adb_server.connect(phone)
        assert shell("echo back").stdout == "back\n"

    def test_a_restart_ends_what_ran_and_keeps_the_files(self, adb_server, phone, shell):
        shell(f"touch {TMP}/kept; (sleep 100 &) >/dev/null 2>&1 </dev/null")
        assert until(lambda: phone.processes() == ["sleep 100"])
        phone.restart()
        adb_server.connect(phone)
        assert (phone.processes(), phone.files()) == ([], ["kept"])

    def test_two_phones_and_no_name(self, adb_server, phone, second_phone):
        refused = adb_server.adb("shell", "true")
        assert failed(refused, "more than one device")
        second_phone.set_property("ro.product.model", "other")
        model = adb_server.adb("-s", second_phone.serial, "shell", "getprop ro.product.model")
        assert model.stdout == "other\n"

    def test_no_phone(self, adb_server):
        assert "no devices/emulators found" in adb_server.adb("shell", "true").stderr


class TestShell:
    @pytest.mark.parametrize("code", [0, 5, 127, 255])
    def test_exit_code_and_both_outputs(self, shell, code):
        done = shell(f"echo out; echo err >&2; exit {code}")
        assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")

    def test_standard_input_and_its_end(self, shell):
        assert shell("cat; echo end", stdin="one\ntwo\n").stdout == "one\ntwo\nend\n"

    def test_a_megabyte_each_way(self, adb_server, phone):
        text = "0123456789abcde\n" * (1 << 16)
        assert adb_server.adb("shell", "cat", stdin=text).stdout == text

    def test_without_the_second_protocol_codes_and_errors_are_merged(self, adb_server, phone):
        done = adb_server.adb("shell", "-x", "echo out; echo err >&2; exit 5")
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(done.stdout.split()) == ["err", "out"]

    def test_exec_out_is_byte_for_byte(self, adb_server, phone, adb_environment):
        content = bytes(range(256)) * 100
        (phone.tmp / "bytes").write_bytes(content)
        command = ["adb", "exec-out", f"cat {TMP}/bytes"]
        done = subprocess.run(command, env=adb_environment, capture_output=True, check=True)
        assert done.stdout == content

    def test_eight_at_once(self, shell):
        wait = f"cd {TMP}; touch met.$$; while [ $(ls | grep -c met) -lt 8 ]; do sleep 0.05; done"
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda i: shell(f"{wait}; echo {i}"), range(8)))
        assert [one.stdout for one in done] == [f"{i}\n" for i in range(8)]

    def test_a_killed_client_leaves_the_jobs_of_a_shell_behind(self, phone, adb_environment):
        self.started_and_killed("sleep 101 & wait", adb_environment, phone, "sleep 101")
        assert phone.processes() == ["sleep 101"]

    def test_a_killed_client_ends_what_the_shell_became(self, phone, adb_environment):
        self.started_and_killed("exec sleep 102", adb_environment, phone, "sleep 102")
        assert until(lambda: phone.processes() == [])

    def started_and_killed(self, line, environment, phone, wanted):
        client = subprocess.Popen(["adb", "shell", line], env=environment, stdin=subprocess.PIPE)
        assert until(lambda: wanted in phone.processes())
        client.kill()
        client.communicate()
        # The daemon hears of it through the server: the shell itself goes first.
        assert until(lambda: not any(line in one for one in phone.processes()))

    def test_one_command_finds_and_kills_what_another_left(self, phone, shell):
        only_sandboxed(phone)
        shell("(sleep 103 &) >/dev/null 2>&1 </dev/null")
        pid = shell("pidof sleep").stdout.strip()
        assert pid in shell("ps -A -o PID,ARGS | grep 'sleep 103'").stdout
        assert shell(f"kill -9 {pid}").returncode == 0
        assert until(lambda: shell("pidof sleep").returncode == 1)
        assert phone.processes() == []

    def test_commands_are_remembered(self, phone, shell):
        shell("echo first")
        shell("echo second")
        assert phone.commands == ["echo first", "echo second"]


class TestFiles:
    def test_fifty_megabytes_there_and_back(self, adb_server, phone, shell, tmp_path):
        content = random.Random(0).randbytes(50_000_000)
        (tmp_path / "big").write_bytes(content)
        assert adb_server.adb("push", tmp_path / "big", f"{TMP}/deep/er/big").returncode == 0
        wanted = hashlib.sha256(content).hexdigest()
        assert shell(f"sha256sum {TMP}/deep/er/big").stdout.split()[0] == wanted
        assert shell(f"stat -c %s {TMP}/deep/er/big").stdout == "50000000\n"
        assert adb_server.adb("pull", f"{TMP}/deep/er/big", tmp_path / "again").returncode == 0
        assert (tmp_path / "again").read_bytes() == content

    def test_a_folder_with_its_modes_and_links(self, adb_server, phone, shell, tmp_path):
        folder = tmp_path / "folder"
        (folder / "sub").mkdir(parents=True)
        (folder / "run.sh").write_text("#!/system/bin/sh\necho ran\n")
        (folder / "run.sh").chmod(0o755)
        (folder / "sub/data").write_bytes(b"\0\1")
        (folder / "same").symlink_to("sub/data")
        assert adb_server.adb("push", folder, TMP).returncode == 0
        names = ("", "/run.sh", "/same", "/sub", "/sub/data")
        assert phone.files() == [f"folder{name}" for name in names]
        assert shell(f"stat -c %a {TMP}/folder/run.sh").stdout == "755\n"
        assert shell(f"readlink {TMP}/folder/same").stdout == "sub/data\n"
        shell(f"ln -s sub/data {TMP}/folder/link; ln -s {TMP}/folder/sub {TMP}/absolute")
        adb_server.adb("pull", f"{TMP}/folder", tmp_path / "back")
        assert (tmp_path / "back/sub/data").read_bytes() == b"\0\1"
        adb_server.adb("pull", f"{TMP}/absolute/data", tmp_path / "data")
        assert (tmp_path / "data").read_bytes() == b"\0\1"

    def test_a_link_does_not_lead_out_of_the_phone(self, adb_server, phone, tmp_path):
        (tmp_path / "secret").write_text("of this host")
        (phone.tmp / "out").symlink_to(tmp_path / "secret")
        (phone.tmp / "up").symlink_to("../../../../../../../../etc/hostname")
        for name in ("out", "up"):
            assert adb_server.adb("pull", f"{TMP}/{name}", tmp_path / "got").returncode == 1
        assert not (tmp_path / "got").exists()

    @pytest.mark.parametrize(
        ("place", "why"),
        [
            ("/data/x", "Permission denied"),
            ("/system/x", "Read-only file system"),
            (f"{TMP}/../x", "Permission denied"),
        ],
    )
    def test_a_push_elsewhere_is_refused(self, adb_server, phone, tmp_path, place, why):
        (tmp_path / "x").write_text("x")
        done = adb_server.adb("push", tmp_path / "x", place)
        assert failed(done, f"couldn't create file: {why}")

    def test_a_folder_made_read_only(self, adb_server, faults, phone, tmp_path):
        (tmp_path / "x").write_text("x")
        faults.read_only = (f"{TMP}/mine",)
        assert adb_server.adb("push", tmp_path / "x", f"{TMP}/mine/x").returncode == 1
        assert adb_server.adb("push", tmp_path / "x", f"{TMP}/other").returncode == 0

    def test_a_missing_file(self, adb_server, phone, tmp_path):
        done = adb_server.adb("pull", f"{TMP}/none", tmp_path / "none")
        assert failed(done, "No such file or directory")

    def test_the_shell_writes_nowhere_else(self, phone, shell):
        only_sandboxed(phone)
        for folder in ("/", "/data", "/system/bin", "/sys/devices/system/cpu"):
            assert shell(f"touch {folder}/x").returncode == 1
        assert shell(f"touch {TMP}/x").returncode == 0

    def test_a_program_of_this_host_needs_its_own_loader_and_libraries(self, phone, shell):
        only_sandboxed(phone)
        program = phone.tmp / "true"
        program.write_bytes(Path("/bin/true").read_bytes())
        program.chmod(0o755)
        assert shell(f"{TMP}/true").returncode in {126, 127}
