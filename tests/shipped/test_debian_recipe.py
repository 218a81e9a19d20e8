# SPDX-License-Identifier: MIT
"""What examples/debian adds to kdump-tools, without a machine: each failure, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.mounting import needs_root
from support.staged import EIO, UNBIND, Stage, bind

DEBIAN = Path(__file__).parents[2] / "examples/debian"
CONFIG = "USE_KDUMP=1\nMAKEDUMP_ARGS='-c -d 31'\n"
ARGUMENTS = "-F -c -d 31 {root}/proc/vmcore"
_MAKEDUMPFILE = """for last; do :; done
case "$*" in
    *-F*) sed "s/^/made of /" "$last" ;;
    *) echo "the log" >"$last" ;;
esac"""


class KdumpTools(Stage):
    """kdump-config, as far as it matters here: its variables, and how it calls makedumpfile."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (self.root / "crash").mkdir()
        self.write("proc/mounts", "none / ext4 rw 0 0\n")
        self.write("proc/vmcore", "the true vmcore")
        self.place = f"KDUMP_STAMPDIR={self.root}/crash"
        for name in ("summary", "status", "filter-report", "badpages", "dmesg"):
            self.write(f"run/oldmemfs/{name}", f"our {name}")
        self.makedumpfile(_MAKEDUMPFILE)
        self.stub("umount", does=UNBIND.format(root=root))
        self.script(DEBIAN / "kdump-tools")

    def makedumpfile(self, does: str) -> None:
        self.stub("makedumpfile", does=does)

    def bind(self, text: str) -> None:
        """Our view, or what cannot be read, over /proc/vmcore."""
        bind(self, text)

    def save(self, words: str = ARGUMENTS) -> str:
        """The dump, as kdump-config has it made."""
        text = words.format(root=self.root)
        program = f". {self.root}/scripts-under-test/kdump-tools; {self.place}\n"
        done = self.run("sh", "-c", f"{program} makedumpfile {text} | cat >{self.root}/dump")
        self.told = done.stderr
        return (self.root / "dump").read_text()

    def beside(self) -> dict[str, str]:
        """What was saved beside the dump."""
        return {path.name: path.read_text() for path in (self.root / "crash").iterdir()}


REPORTS = {name: f"our {name}" for name in ("summary", "status", "filter-report", "badpages")}


@pytest.fixture
def kdump(tmp_path: Path) -> KdumpTools:
    return KdumpTools(tmp_path)


def test_the_view_is_the_dump(kdump: KdumpTools) -> None:
    kdump.bind("our vmcore-kern")
    assert kdump.save() == "our vmcore-kern"
    assert kdump.beside() == REPORTS
    assert kdump.calls() == []


def test_without_the_mount_it_saves_as_ever(kdump: KdumpTools) -> None:
    for name in REPORTS:
        (kdump.root / "run/oldmemfs" / name).unlink()
    assert kdump.save() == "made of the true vmcore"
    assert set(kdump.beside()) == {"lost"}
    assert kdump.calls() == ["makedumpfile -F -c -d 31 /proc/vmcore"]


def test_a_view_that_cannot_be_read_is_taken_away(kdump: KdumpTools) -> None:
    kdump.bind(EIO)
    assert kdump.save() == "made of the true vmcore"
    assert "makedumpfile filtered the true" in kdump.beside()["lost"]
    assert kdump.calls() == ["umount -l /proc/vmcore", "makedumpfile -F -c -d 31 /proc/vmcore"]


def test_a_copy_that_breaks_off_is_made_good(kdump: KdumpTools) -> None:
    """kdump-config sees only that its pipe was written."""
    kdump.bind("our vmcore-kern")
    kdump.stub("cat", does='[ "$1" = "" ] && exec /bin/cat\n'
               'printf half; echo "cat: $1: Input/output error" >&2; exit 1')  # fmt: skip
    assert kdump.save() == "half"
    beside = kdump.beside()
    assert beside["proc-vmcore.flat"] == "made of the true vmcore"
    assert "is not complete: cat: " in beside["lost"]


def test_what_makedumpfile_cannot_read_is_saved_whole(kdump: KdumpTools) -> None:
    kdump.bind(EIO)
    kdump.makedumpfile("printf half; exit 1")
    assert kdump.save() == "half"
    beside = kdump.beside()
    assert beside["proc-vmcore"] == "the true vmcore"
    assert "makedumpfile failed: " in beside["lost"]
    assert set(beside) == {*REPORTS, "lost", "proc-vmcore"}


def test_the_copy_breaks_off_and_makedumpfile_fails(kdump: KdumpTools) -> None:
    """What fails in a pipeline is seen, too."""
    kdump.bind("our vmcore-kern")
    kdump.makedumpfile("exit 1")
    kdump.stub(
        "cat",
        does='[ "$1" = "" ] && exec /bin/cat\n'
        'printf half; echo "cat: $1: Input/output error" >&2; exit 1',
    )
    assert kdump.save() == "half"
    assert kdump.beside()["proc-vmcore"] == "the true vmcore"


def test_a_full_disk_is_not_filled_again(kdump: KdumpTools) -> None:
    kdump.bind("x" * (1 << 20))
    program = f". {kdump.root}/scripts-under-test/kdump-tools; {kdump.place}\n"
    words = ARGUMENTS.format(root=kdump.root)
    kdump.run("sh", "-c", f"{program} makedumpfile {words} >/dev/full")
    beside = kdump.beside()
    assert beside["lost"].startswith("the dump is not complete: cat: write error: No space left")
    assert set(beside) == {*REPORTS, "lost"}
    assert kdump.calls() == []


def test_what_is_beside_it_goes_over_ssh(kdump: KdumpTools) -> None:
    kdump.bind("our vmcore-kern")
    kdump.place = f"SSH_KEY=k SSH_REMOTE_HOST=root@backup SSH_STAMPDIR={kdump.root}/crash"
    kdump.stub("ssh", does='shift 3; exec sh -c "$*"')
    assert kdump.save() == "our vmcore-kern"
    assert kdump.beside() == REPORTS
    assert len([call for call in kdump.calls() if call.startswith("ssh -i k root@backup ")]) == 4


def test_what_is_beside_it_goes_over_ftp(kdump: KdumpTools) -> None:
    kdump.bind("our vmcore-kern")
    kdump.place = "FTPPUT_ARGS='-u me' FTP_REMOTE_HOST=backup FTP_STAMPDIR=/srv/ FTP_STAMP=2026"
    kdump.stub("busybox", does="cat >/dev/null")
    assert kdump.save() == "our vmcore-kern"
    assert "busybox ftpput -u me backup /srv/badpages.2026 -" in kdump.calls()


LOG = "--dump-dmesg {root}/proc/vmcore {root}/crash/dmesg"


def test_the_log_is_makedumpfiles(kdump: KdumpTools) -> None:
    kdump.bind("our vmcore-kern")
    kdump.save(LOG)
    assert kdump.beside() == {"dmesg": "the log\n"}


def test_else_the_log_is_ours(kdump: KdumpTools) -> None:
    kdump.bind("our vmcore-kern")
    kdump.makedumpfile("exit 1")
    kdump.save(LOG)
    assert kdump.beside() == {"dmesg": "our dmesg"}


def test_else_it_comes_from_the_true_vmcore(kdump: KdumpTools) -> None:
    kdump.bind(EIO)
    kdump.link("run/oldmemfs/dmesg", EIO)
    kdump.makedumpfile('grep -q true "$2" && echo "the log" >"$3"')
    kdump.save(LOG)
    assert kdump.beside() == {"dmesg": "the log\n"}


def test_other_calls_are_not_touched(kdump: KdumpTools) -> None:
    kdump.makedumpfile("echo done")
    assert kdump.save("--mem-usage {root}/proc/kcore") == "done\n"


class System(Stage):
    """A Debian with kdump-tools and oldmemfs, on which setup.sh runs."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.config = self.write("etc/default/kdump-tools", CONFIG)
        self.unit = root / "etc/systemd/system/oldmemfs-kdump.service"
        self.unit.parent.mkdir(parents=True)
        self.program = self.write("usr/local/bin/oldmemfs", "#!/bin/sh\n")
        self.program.chmod(0o755)
        self.stub("systemctl")
        for name in ("kdump-tools", "oldmemfs-kdump.service"):
            self.script(DEBIAN / name)

    def setup(self, *words: str, status: int = 0) -> str:
        done = self.run("sh", self.script(DEBIAN / "setup.sh"), *words)
        assert done.returncode == status, done.stderr
        if status:
            assert done.stderr.count("\n") == 1
            assert not self.unit.exists()
            assert not (self.root / "usr/local/lib").exists()
            assert self.calls() == []
        return done.stdout + done.stderr


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@needs_root
@pytest.mark.parametrize("view", ["vmcore-kern", "vmcore"])
def test_it_is_set_up_and_taken_out_again(system: System, view: str) -> None:
    system.config.chmod(0o640)
    for _ in range(2):  # the second time changes nothing
        system.setup(*([view] if view == "vmcore" else []))
        assert f" -o bind={view}\n" in system.unit.read_text()
        added = system.config.read_text().removeprefix(CONFIG)
        assert added.count("\n") == 3
    shown = f"makedumpfile() {{ :; }}; . {system.config}; echo $MAKEDUMP_ARGS; type oldmemfs_core"
    told = system.run("sh", "-c", shown).stdout
    assert told.startswith("-c -d 31\noldmemfs_core is a shell function")
    assert system.calls() == ["systemctl enable oldmemfs-kdump.service"] * 2
    for _ in range(2):
        system.setup("--remove")
        assert system.config.read_text() == CONFIG
        assert system.config.stat().st_mode & 0o777 == 0o640
        assert not system.unit.exists()
        assert not (system.root / "usr/local/lib/oldmemfs").exists()
    assert system.calls()[2:] == ["systemctl disable oldmemfs-kdump.service"]


@needs_root
def test_what_stands_behind_our_lines_stays(system: System) -> None:
    system.setup()
    with system.config.open("a") as config:
        config.write("KDUMP_NUM_DUMPS=3\n")
    system.setup("--remove")
    assert system.config.read_text() == f"{CONFIG}KDUMP_NUM_DUMPS=3\n"


@needs_root
def test_without_the_file_kdump_tools_works_as_ever(system: System) -> None:
    """/usr/local is gone, say: kdump-config must not end."""
    system.setup()
    (system.root / "usr/local/lib/oldmemfs/kdump-tools").unlink()
    assert system.run("sh", "-ec", f". {system.config}; echo well").stdout == "well\n"


def test_help(system: System) -> None:
    told = system.setup("--help")
    assert "oldmemfs --setup-debian --remove" in told
    assert not system.unit.exists()
    assert system.config.read_text() == CONFIG


@pytest.mark.parametrize("view", ["dmesg", "vmcore-ker", "vmcore kern", "-x", "--removed", ""])
def test_a_wrong_view_is_refused(system: System, view: str) -> None:
    assert "vmcore-kern or vmcore" in system.setup(view, status=2)
    assert system.config.read_text() == CONFIG


def test_two_views_are_refused(system: System) -> None:
    assert "one VIEW at most" in system.setup("vmcore", "vmcore-kern", status=2)


@needs_root
@pytest.mark.parametrize("program", ["absent", "broken"])
def test_without_the_program_it_changes_nothing(system: System, program: str) -> None:
    if program == "absent":
        system.program.unlink()
    else:
        system.program.write_text("#!/bin/sh\nexit 1\n")
    assert "/usr/local/bin/oldmemfs" in system.setup(status=1)
    assert system.config.read_text() == CONFIG


@needs_root
def test_without_kdump_tools_it_changes_nothing(system: System) -> None:
    system.config.unlink()
    assert "install kdump-tools first" in system.setup(status=1)
    assert not system.config.exists()
    assert "without oldmemfs now" in system.run(
        "sh", system.script(DEBIAN / "setup.sh"), "--remove"
    ).stdout  # fmt: skip


@needs_root
def test_half_of_our_lines_are_not_touched(system: System) -> None:
    system.config.write_text(f"{CONFIG}# oldmemfs: begin\nKDUMP_NUM_DUMPS=3\n")
    assert "are no pair" in system.setup("--remove", status=1)
    assert "are no pair" in system.setup(status=1)


def test_another_user_is_refused(system: System) -> None:
    system.stub("id", does="echo 1000")
    assert "be root" in system.run("sh", system.script(DEBIAN / "setup.sh")).stderr
    assert not system.unit.exists()
