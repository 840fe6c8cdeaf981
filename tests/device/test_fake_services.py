"""The simulated phones against the real `adb` client: faults, services, arm64, their end."""

from __future__ import annotations

import os
import socket
import struct
import subprocess

import pytest

from tests.device.fake_kit import TMP, failed, until
from tests.fakes import system
from tests.fakes.sandbox import FORCED
from tests.fakes.server import AdbServer, Farm


class TestFaults:
    def test_the_cable_is_pulled_during_a_push(self, adb_server, faults, phone, tmp_path):
        (tmp_path / "big").write_bytes(bytes(20_000_000))
        faults.drop_after_bytes = 5_000_000
        assert adb_server.adb("push", tmp_path / "big", TMP).returncode == 1
        assert 0 < (phone.tmp / "big").stat().st_size < 20_000_000
        assert until(lambda: f"{phone.serial}\tdevice" not in adb_server.adb("devices").stdout)

    def test_the_cable_is_pulled_during_a_run(self, adb_server, faults, phone, shell):
        faults.drop_on, faults.drop_after_seconds = "sleep 104", 0.2
        assert shell("echo begun; exec sleep 104").stdout == "begun\n"
        assert until(lambda: phone.processes() == [])
        faults.drop_on = None
        phone.plug()
        adb_server.connect(phone)
        assert shell("echo back").stdout == "back\n"

    def test_a_full_device(self, adb_server, faults, phone, shell, tmp_path):
        (tmp_path / "big").write_bytes(bytes(3_000_000))
        faults.storage_bytes = 5 << 20
        assert adb_server.adb("push", tmp_path / "big", f"{TMP}/one").returncode == 0
        done = adb_server.adb("push", tmp_path / "big", f"{TMP}/two")
        assert failed(done, "No space left on device")
        assert phone.files() == ["one"]
        free = int(shell(f"df -k {TMP}").stdout.splitlines()[1].split()[3])
        assert 2000 < free < 2200

    def test_a_runner_killed_at_once(self, faults, shell):
        faults.kill = r"\./runner.*"
        assert shell(f"cd {TMP} && exec ./runner --all").returncode == 137

    def test_a_runner_killed_after_some_output(self, faults, phone, shell):
        (phone.tmp / "runner").write_text("echo partial; exec sleep 100")
        faults.kill, faults.kill_after_seconds = "runner|sleep", 0.3
        done = shell(f"sh {TMP}/runner; echo $?")
        assert (done.returncode, done.stdout) == (0, "partial\n137\n")

    def test_a_hang_ends_at_the_devices_timeout(self, faults, shell):
        faults.hang = r"\./runner.*"
        assert shell("exec timeout 0.3 ./runner --all").returncode in {124, 143}

    def test_a_hang_lasts(self, faults, phone, adb_environment):
        faults.hang = "runner"
        command = ["adb", "shell", "exec runner"]
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(command, env=adb_environment, timeout=0.5, check=False)
        assert until(lambda: phone.processes() == [])

    def test_garbled_output(self, faults, shell):
        faults.garble = "runner"
        (done, whole) = (shell("echo '{\"runner\": 1}' | cat"), shell("echo whole"))
        assert '{"runn' in done.stdout
        assert "garbled" in done.stdout
        assert "}" not in done.stdout
        assert whole.stdout == "whole\n"

    def test_a_clock_that_jumps(self, faults, shell):
        faults.clock = (0, 3600, -7200)
        first, second, third, fourth = (int(shell("date +%s").stdout) for _ in range(4))
        assert 3600 <= second - first < 3660
        assert -10800 <= third - second < -10740
        assert 0 <= fourth - third < 60

    def test_a_phone_that_never_cools(self, faults, shell):
        hot = system.sample("thermalservice-throttling.txt")
        faults.thermal = (system.sample("thermalservice-no-hal.txt"), hot)
        answers = [shell("dumpsys -t 5 thermalservice").stdout for _ in range(3)]
        assert ["Thermal Status: 2" in text for text in answers] == [False, True, True]

    def test_there_is_no_fault_of_another_name(self, faults):
        with pytest.raises(AttributeError, match="hangs"):
            faults.hangs = "x"


class TestServices:
    def test_properties(self, shell):
        dump = shell("getprop").stdout
        assert "[ro.product.cpu.abi]: [x86_64]\n" in dump
        assert shell("getprop ro.sam_export.simulated").stdout == "1\n"
        assert shell("getprop ro.product.cpu.abilist").stdout == "x86_64,arm64-v8a\n"
        assert shell("getprop ro.none").stdout == "\n"

    def test_what_a_run_changes_is_kept_and_told(self, phone, shell):
        shell("svc power stayon usb; input keyevent KEYCODE_WAKEUP")
        shell("cmd power set-fixed-performance-mode-enabled true; settings put global wifi_on 1")
        assert phone.changes() == {
            "fixed_performance": ("0\n", "1\n"),
            "setting.global.stay_on_while_plugged_in": ("0\n", "2\n"),
            "setting.global.wifi_on": ("0\n", "1\n"),
            "wakefulness": ("Asleep\n", "Awake\n"),
        }
        assert "mWakefulness=Awake" in shell("dumpsys power").stdout
        assert shell("settings get global stay_on_while_plugged_in").stdout == "2\n"
        shell("svc power stayon false; input keyevent KEYCODE_SLEEP; settings put global wifi_on 0")
        shell("cmd power set-fixed-performance-mode-enabled false")
        assert phone.changes() == {}
        assert phone.calls[0] == "svc power stayon usb"

    def test_a_phone_without_the_performance_mode(self, faults, shell):
        faults.no_fixed_performance = True
        done = shell("cmd power set-fixed-performance-mode-enabled true")
        assert (done.returncode, "Failed" in done.stdout) == (255, True)

    def test_a_status_overridden_by_hand(self, phone, shell):
        shell("cmd thermalservice override-status 3")
        dump = shell("dumpsys thermalservice").stdout
        assert "IsStatusOverride: true\n" in dump
        assert "Thermal Status: 3\n" in dump
        shell("cmd thermalservice reset")
        assert shell("dumpsys thermalservice").stdout == system.sample(phone.model.thermal)

    def test_battery(self, phone, shell):
        assert "level: 100" in shell("dumpsys battery").stdout
        shell("dumpsys battery unplug")
        assert "(UPDATES STOPPED" in shell("dumpsys battery").stdout
        shell("dumpsys battery reset")
        assert phone.changes() == {}

    def test_cores(self, phone, shell):
        place = "/sys/devices/system/cpu"
        numbers = [core.index for core in phone.cores]
        assert shell(f"cat {place}/online").stdout == ",".join(map(str, numbers)) + "\n"
        phone.set_frequency(numbers[-1], 600_000, 900_000)
        files = f"{place}/cpu{numbers[-1]}/cpufreq/scaling_*_freq"
        assert shell(f"cat {files}").stdout.split() == ["600000", "900000"]
        assert shell(f"taskset {1 << numbers[-1]:x} true").returncode == 0
        phone.set_cores(system.eight_cores())
        assert shell(f"cat {place}/cpu7/cpufreq/cpuinfo_max_freq").stdout == "2914000\n"

    def test_who_and_what_it_is(self, shell):
        assert shell("uname -m").stdout == "x86_64\n"
        assert "android14" in shell("uname -a").stdout
        assert shell("getconf PAGE_SIZE").stdout == f"{os.sysconf('SC_PAGE_SIZE')}\n"


def arm64_program(text: bytes, code: int) -> bytes:
    """An arm64 ELF file without libraries: prints `text`, exits with `code`."""

    def move(register, value):
        return 0xD2800000 | value << 5 | register

    call, words = 0xD4000001, 8
    address = 0x10000000 | (words - 1) << 5 | 1  # adr x1: the text is behind the eight words
    print_it = (move(0, 1), address, move(2, len(text)), move(8, 64), call)
    program = struct.pack("<8I", *print_it, move(0, code), move(8, 93), call) + text
    base, start = 0x400000, 64 + 56
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<2HI3QI6H", 2, 183, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = start + len(program)
    segment = struct.pack("<2I6Q", 1, 5, 0, base, base, size, size, 0x10000)
    return ident + header + segment + program


class TestArm64:
    def test_it_runs_arm64_programs(self, adb_server, phone_arm64, tmp_path):
        program = tmp_path / "ld-linux-aarch64.so.1"
        program.write_bytes(arm64_program(b"arm64 speaking\n", 7))
        program.chmod(0o755)
        adb_server.adb("push", program, TMP)
        done = adb_server.adb("shell", f"cd {TMP} && exec ./{program.name}")
        assert (done.returncode, done.stdout) == (7, "arm64 speaking\n")

    def test_it_looks_like_one(self, adb_server, phone_arm64):
        ask = "getprop ro.product.cpu.abi; uname -m; grep -c 'CPU part' /proc/cpuinfo"
        told = adb_server.adb("shell", ask).stdout.split()
        assert told == ["arm64-v8a", "aarch64", str(len(phone_arm64.cores))]
        phone_arm64.set_cores(system.eight_cores())
        assert adb_server.adb("shell", ask).stdout.split()[-1] == "8"


class TestLifetime:
    def test_a_reset_phone_is_as_new(self, faults, phone, shell):
        faults.hang = "x"
        shell("svc power stayon true; settings put global made 1; (sleep 105 &) >/dev/null 2>&1")
        shell(f"mkdir {TMP}/d; ln -s d {TMP}/l")
        phone.set_frequency(phone.cores[0].index, 1)
        phone.reset()
        frequency = f"/sys/devices/system/cpu/cpu{phone.cores[0].index}/cpufreq/scaling_cur_freq"
        assert (phone.root / frequency[1:]).read_text() == "300000\n"
        assert (phone.changes(), phone.files(), phone.processes()) == ({}, [], [])
        assert (phone.faults.hang, phone.commands, phone.calls) == (None, [], [])

    def test_without_namespaces(self, adb_server, farm, monkeypatch):
        monkeypatch.setenv(FORCED, "plain")
        phone = farm.phone(system.X86_64)
        assert (phone.sandbox.name, phone.sandbox.why) == ("plain", f"{FORCED}=plain")
        adb_server.connect(phone)
        try:
            done = adb_server.adb("shell", f"mkdir -p {TMP}/a && cd {TMP}/a && touch b && pwd")
            assert (done.stdout, phone.files()) == (f"{TMP}/a\n", ["a", "a/b"])
            assert adb_server.adb("shell", "getprop ro.product.cpu.abi").stdout == "x86_64\n"
            assert "HAL Ready: true" in adb_server.adb("shell", "dumpsys thermalservice").stdout
            adb_server.adb("shell", "svc power stayon usb; (sleep 106 &) >/dev/null 2>&1")
            assert list(phone.changes()) == ["setting.global.stay_on_while_plugged_in"]
            assert until(lambda: phone.processes() == ["sleep 106"])
            phone.reset()
            assert phone.processes() == []
        finally:
            adb_server.disconnect(phone)

    def test_nothing_runs_or_listens_afterwards(self, adb_server, tmp_path):
        server, farm = AdbServer(tmp_path), Farm(tmp_path)
        server.start()
        phone = farm.phone(system.X86_64)
        server.connect(phone)
        server.adb("shell", "(sleep 107 &) >/dev/null 2>&1 </dev/null")
        assert phone.processes() == ["sleep 107"]
        ports = [server.port, int(phone.serial.rpartition(":")[2])]
        farm.close()
        server.stop()
        for port in ports:
            with socket.socket() as one, pytest.raises(ConnectionRefusedError):
                one.connect(("127.0.0.1", port))
        assert until(lambda: not any(str(tmp_path) in line for line in everything_running()))
        assert "sleep 107" not in everything_running()


def everything_running():
    """Command lines of this host."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
