#!/usr/bin/env python3
"""What users see of the programs: on terminals of several widths, through mpirun, and where there is no terminal."""
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from terminal import Terminal, columns_of

BIN = Path(os.environ["KANGPT_BIN"])
CONFIGURATION = """
run { device: CPU threads: 1 }
data { directory: "shards" sequence_length: 32 }
model { d_model: 16 layers: 2 heads: 2 head_dim: 8 kan_degree: 2 mlp_hidden: 32 }
optimizer { learning_rate: 3e-3 warmup_steps: 5 }
train { batch_size: 8 steps: 40 logical_shards: 2 }
checkpoint { interval_steps: 10 }
log { interval_steps: 1 validation_interval_steps: 10 validation_batches: 4 }
"""
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d (info|warning|error) kangpt_\w+")
PROGRESS = re.compile(r"(\[[━┈#.]+\] )?step \d+/\d+( \( *\d+ %\))?(  loss [\d.]+)?(  \d+ tokens/s)?(  ETA [\w. ]+)?")
START_ROWS = ["  model ", "  data ", "  batch ", "  steps ", "  time ", "  results "]
END_ROWS = ["  loss ", "  speed ", "  restarts ", "  read what it learnt: ", "  measure it: ", "  look at it: ",
            "  see its curves: "]
# From Open MPI 5 on it keeps what it reads back until a line ends, so that nothing can be drawn through it.
MPIRUN_PASSES_PARTS_ON = re.search(r"\((Open MPI|OpenRTE)\) 4\.", subprocess.run(
    ["mpirun", "--version"], capture_output=True, text=True).stdout) is not None
OF_THE_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "LC_ALL", "LC_CTYPE", "COLUMNS")


def setUpModule():
    global folder
    folder = tempfile.mkdtemp(prefix="kangpt-terminal-")
    Path(folder, "tiny.textproto").write_text(CONFIGURATION)
    for arguments in (["kangpt_stories", "--bytes", "60000", "--seed", "1", "--output", "stories.txt"],
                      ["kangpt_stories", "--bytes", "6000", "--seed", "2", "--output", "valid.txt"],
                      ["kangpt_preprocess", "--input", "stories.txt", "--validation", "valid.txt", "--output",
                       "shards"]):
        subprocess.run([BIN / arguments[0], *arguments[1:]], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def tearDownModule():
    shutil.rmtree(folder)


def environment(**changes):
    plain = {name: value for name, value in os.environ.items() if name not in OF_THE_TERMINAL}
    return {**plain, "TERM": "xterm-256color", "LANG": "C.UTF-8", "KANGPT_SHM": folder,
            "OMPI_MCA_orte_execute_quiet": "1", **changes}


def training(run, *settings, flags=(), ranks=2):
    command = ["mpirun", *flags, "-np", str(ranks), str(BIN / "kangpt_dist"), "--config", "tiny.textproto"]
    for setting in (f"run.directory={run}", *settings):
        command += ["--set", setting]
    return command


def is_progress(line):
    return "step " in line and "/" in line and PROGRESS.fullmatch(line) is not None


@unittest.skipUnless(MPIRUN_PASSES_PARTS_ON, "mpirun is none of Open MPI 4")
class OnATerminal(unittest.TestCase):
    def look(self, screen):
        """Whatever moment it is: at most one progress line, whole, and nothing glued to a message or to it."""
        lines = screen.text()
        self.assertLessEqual(sum(map(is_progress, lines)), 1, lines)
        self.look_for_whole_lines(screen)

    def look_for_whole_lines(self, screen):
        for line in screen.text():
            self.assertLessEqual(sum(map(columns_of, line)), screen.columns)
            if re.search(r"step \d+/\d+", line):
                self.assertTrue(is_progress(line), line)
            for message in LOG_LINE.finditer(line):
                self.assertEqual(message.start(), 0, line)

    def assert_sane(self, screen):
        """A shell's prompt would stand at the beginning of a line, in its own colour."""
        self.assertEqual(screen.colour, "")
        screen.feed("prompt$ ")
        self.assertEqual(sum(line.startswith("prompt$") for line in screen.text()), 1, screen.text())
        self.assertTrue(screen.text()[screen.row].startswith("prompt$"), screen.text())

    def assert_rows(self, lines, rows):
        for row in rows:
            self.assertEqual(sum(line.startswith(row) for line in lines), 1, f"{row}\n" + "\n".join(lines))

    def assert_whole_run(self, lines):
        text = "\n".join(lines)
        self.assert_rows(lines, START_ROWS + END_ROWS)
        self.assertRegex(text, r"training [\d,]+ parameters on 2 rank")
        self.assertRegex(text, r"done: \d+ steps, digest [0-9a-f]")
        self.assertFalse(any(map(is_progress, lines)), "the progress line is gone at the end")

    def run_to_the_end(self, columns, command, **changes):
        terminal = Terminal(command, columns, environment(**changes), folder)
        seen = set()

        def look(screen):
            self.look(screen)
            seen.update(filter(is_progress, screen.text()))
        started = time.monotonic()
        terminal.wait(look)
        code = terminal.end()
        self.assertEqual(code, 0, terminal.screen.text())
        redraws = len(re.findall(rb"\r(?!\n)", terminal.output))
        messages = len(LOG_LINE.findall("\n".join(terminal.screen.text())))  # without their colours
        self.assertLessEqual(redraws, 10 * (time.monotonic() - started) + 3 * messages + 4)
        self.assert_sane(terminal.screen)
        return terminal, seen

    def test_a_run_of_two_ranks(self):
        for columns in (80, 200):
            with self.subTest(columns=columns):
                terminal, progress = self.run_to_the_end(columns, training(f"at-{columns}"))
                self.assert_whole_run(terminal.screen.text())
                self.assertTrue(progress)
                self.assertTrue(all("ETA" in line and line.startswith("[") for line in progress), progress)
                self.assertIn(b"\x1b[32m", terminal.output)

    def test_ranks_that_crash_say_it_on_lines_of_their_own(self):
        faults = ("fault.inject=segv@rank=1,step=12,phase=reduce", "fault.inject=segv@rank=0,step=24,phase=reduce")
        terminal, _ = self.run_to_the_end(80, training("crashes", *faults))
        lines = terminal.screen.text()
        self.assert_whole_run(lines)
        text = "\n".join(lines)
        self.assertIn("warning kangpt_dist[rank 1]: ", text)
        self.assertRegex(text, r"  restarts    2 of the workers, recovered in ")

    def test_what_a_rank_on_another_node_says_begins_a_line_too(self):
        """It can't know of the terminal. The other node is this one, reached by what stands in for ssh."""
        shell = Path(folder, "no-ssh")
        shell.write_text('#!/bin/bash\nshift  # the host\nexec bash -c "$*"\n')
        shell.chmod(0o755)
        flags = ("--mca", "plm_rsh_agent", str(shell), "--host", f"{socket.gethostname()}:1,elsewhere:1")
        crash = "fault.inject=segv@rank=1,step=12,phase=reduce"
        terminal = Terminal(training("two-nodes", crash, flags=flags), 80, environment(), folder)
        terminal.wait(self.look_for_whole_lines)
        self.assertEqual(terminal.end(), 0)
        text = "\n".join(terminal.screen.text())
        self.assertRegex(text, r"\n\d\d:\d\d:\d\d warning kangpt_dist\[rank 1\]: ")
        self.assertIn("  restarts    1 of the workers", text)

    def test_no_colour_is_no_escape_code(self):
        terminal, progress = self.run_to_the_end(80, training("no-colour", "train.steps=12"), NO_COLOR="1")
        self.assertNotIn(b"\x1b", terminal.output)
        self.assertTrue(progress)
        self.assert_whole_run(terminal.screen.text())

    def test_a_terminal_that_can_draw_nothing_again_gets_plain_lines(self):
        for number, (changes, flags) in enumerate(((dict(TERM="dumb"), ()), (dict(CI="true"), ()),
                                                   ({}, ("--tag-output",)),
                                                   ({}, ("--output-filename", "kept")))):
            with self.subTest(changes=changes, flags=flags):
                command = training(f"plain-{number}", "train.steps=4", flags=flags)
                terminal = Terminal(command, 80, environment(**changes), folder)
                self.assertEqual(terminal.end(), 0)
                self.assertIsNone(re.search(rb"\r(?!\n)|\x1b", terminal.output.replace(b"\r\r\n", b"\r\n")))
                self.assertIn(b"done: 4 steps", terminal.output)

    def end_early(self, name, harm):
        """What the screen looks like when a run is ended by `harm` once it shows progress."""
        terminal = Terminal(training(name, "train.steps=100000"), 80, environment(), folder)
        self.addCleanup(terminal.kill)
        terminal.wait(self.look, lambda screen: any(map(is_progress, screen.text())))
        harm(terminal)
        terminal.end()
        self.assert_sane(terminal.screen)

    def test_ctrl_c_leaves_a_sane_screen(self):
        self.end_early("interrupted", lambda terminal: terminal.send(b"\x03"))

    def test_a_killed_mpirun_leaves_a_sane_screen(self):
        self.end_early("killed", lambda terminal: os.kill(terminal.pid, signal.SIGKILL))

    def test_the_line_follows_the_window(self):
        terminal = Terminal(training("resized", "train.steps=100000"), 200, environment(), folder)
        self.addCleanup(terminal.kill)

        def shows(columns):
            return lambda screen: any(is_progress(line) and len(line) <= columns for line in screen.text())
        terminal.wait(self.look, shows(200))
        for columns in (50, 24):
            terminal.resize(columns)
            terminal.wait(lambda screen: None, shows(columns))
        terminal.send(b"\x03")
        terminal.end()

    def test_preprocess_and_eval_at_forty_columns(self):
        commands = (["kangpt_preprocess", "--input", "stories.txt", "--output", "again"],
                    ["kangpt_eval", "--checkpoint", "evaluated", "--data", "shards"])
        subprocess.run(training("evaluated", "train.steps=4"), cwd=folder, env=environment(), check=True,
                       stderr=subprocess.DEVNULL)
        for command in commands:
            with self.subTest(command=command[0]):
                terminal = Terminal([str(BIN / command[0]), *command[1:]], 40, environment(), folder)
                self.assertEqual(terminal.end(), 0)
                self.assertRegex(terminal.output, rb"\r(train: |\[|batch )")
                self.assertFalse(any(re.match(r"\[|train: .*/s|batch ", line) for line in terminal.screen.text()))
                self.assert_sane(terminal.screen)


class WithoutATerminal(unittest.TestCase):
    def run_piped(self, run, steps="train.steps=12", **changes):
        result = subprocess.run(training(run, steps), cwd=folder, env=environment(**changes), capture_output=True,
                                timeout=240)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stderr

    def test_messages_are_plain_lines(self):
        text = self.run_piped("piped")
        self.assertNotRegex(text, rb"[\r\x1b]")
        OnATerminal.assert_whole_run(self, [line for line in text.decode().split("\n") if not is_progress(line)])
        self.assertTrue(any(map(is_progress, text.decode().split("\n"))))

    assert_rows = OnATerminal.assert_rows

    def test_a_stopped_run_and_its_next_start_say_where_they_are(self):
        errors = Path(folder, "stopped.txt")
        with errors.open("w") as file:
            run = subprocess.Popen(training("stopped", "train.steps=100000"), cwd=folder, env=environment(), stderr=file)
        self.addCleanup(run.kill)
        deadline = time.monotonic() + 240
        while not any(map(is_progress, errors.read_text().split("\n"))) and time.monotonic() < deadline:
            time.sleep(0.1)
        run.send_signal(signal.SIGUSR1)
        self.assertEqual(run.wait(240), 75)
        self.assert_rows(errors.read_text().split("\n"), ["  loss ", "  restarts    none"])
        steps = sum('"loss"' in line for line in Path(folder, "stopped", "metrics.jsonl").read_text().split("\n"))
        text = self.run_piped("stopped", f"train.steps={steps + 3}").decode()
        self.assertRegex(text, rf"\n  steps       {steps + 3:,}; {steps:,} are done; a checkpoint every 10\n")
        self.assertRegex(text, r"\n  time        about .* to go, at the [\d,]+ tokens/s of before\n")
        self.assertIn("\n  restarts    none; 2 starts\n", text)

    def test_colours_can_be_forced(self):
        for number, name in enumerate(("FORCE_COLOR", "CLICOLOR_FORCE")):
            text = self.run_piped(f"forced-{number}", **{name: "1"})
            self.assertIn(b"\x1b[32minfo\x1b[0m", text)
            self.assertNotIn(b"\r", text)


class TmuxScreen:
    """What is in the only window of a tmux server, as Screen has it."""

    def __init__(self, test, columns, command):
        self.columns = columns
        self._server = ["tmux", "-L", f"{Path(folder).name}-{columns}", "-f", "/dev/null"]
        test.addCleanup(subprocess.run, [*self._server, "kill-server"], capture_output=True)
        self.call("new-session", "-d", "-x", str(columns), "-y", "60", command)

    def call(self, *arguments):
        return subprocess.run([*self._server, *arguments], cwd=folder, env=environment(), check=True,
                              capture_output=True, text=True).stdout

    def type(self, command):
        self.call("send-keys", "-l", command)
        self.call("send-keys", "Enter")

    def text(self):
        return self.call("capture-pane", "-p", "-S", "-").split("\n")

    def wait(self, look, until, seconds=240):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            look(self)
            if until(self.text()):
                return
            time.sleep(0.2)
        raise TimeoutError("\n".join(self.text()))


@unittest.skipUnless(MPIRUN_PASSES_PARTS_ON, "mpirun is none of Open MPI 4")
@unittest.skipUnless(shutil.which("tmux"), "tmux is not installed")
class InTmux(unittest.TestCase):
    """The same in a terminal that many people use."""
    look = OnATerminal.look
    look_for_whole_lines = OnATerminal.look_for_whole_lines
    assert_rows = OnATerminal.assert_rows
    assert_whole_run = OnATerminal.assert_whole_run

    def test_a_run_of_two_ranks(self):
        for columns in (80, 200):
            with self.subTest(columns=columns):
                crash = "fault.inject=segv@rank=1,step=12,phase=reduce"
                command = shlex.join(training(f"tmux-{columns}", crash)) + "; echo over; sleep 1000"
                screen = TmuxScreen(self, columns, command)
                seen = set()

                def look(now):
                    self.look(now)
                    seen.update(filter(is_progress, now.text()))
                screen.wait(look, lambda lines: "over" in lines)
                self.assertTrue(seen)
                self.assert_whole_run(screen.text())
                screen.call("kill-server")

    def test_the_prompt_after_a_killed_mpirun_and_after_ctrl_c(self):
        screen = TmuxScreen(self, 80, "env 'PS1=prompt$ ' bash --norc")
        shell = screen.call("display", "-p", "#{pane_pid}").strip()
        for number in range(2):
            screen.call("clear-history")
            screen.type("clear")
            screen.wait(lambda now: None, lambda lines: [line for line in lines if line][-1:] == ["prompt$"])
            screen.type(shlex.join(training(f"tmux-{number}", "train.steps=100000")))
            screen.wait(lambda now: None, lambda lines: any(map(is_progress, lines)))
            if number == 0:
                mpirun = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0]
                os.kill(int(mpirun), signal.SIGKILL)
            else:
                screen.call("send-keys", "C-c")
            screen.wait(lambda now: None, lambda lines: [line for line in lines if line][-1:] == ["prompt$"])


if __name__ == "__main__":
    if not shutil.which("tmux"):
        print("[  SKIPPED ] terminal_test.InTmux (0 ms)")  # as GoogleTest says it, for tests/report_skipped.sh
    unittest.main()
