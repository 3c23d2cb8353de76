"""A terminal for tests and pictures: runs a command in a pseudo-terminal and keeps what its screen would show."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
import unicodedata

ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


def columns_of(character):
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Screen:
    """What a VT100 makes of a text, without an end: all lines since the start. Like all terminals since, it keeps the
    cursor behind the last column until the next character, which goes to the next line. Knows the codes that programs
    here may use, and refuses others."""

    def __init__(self, columns):
        self.columns = columns
        self.lines = [[]]  # of (character, colour code)
        self.row = self.column = 0
        self.colour = ""

    def feed(self, text):
        position = 0
        while position < len(text):
            if text[position] == "\x1b":
                code = ESCAPE.match(text, position)
                if not code:
                    raise ValueError(f"unknown escape code: {text[position:position + 12]!r}")
                self._escape(code[1], code[2])
                position = code.end()
            else:
                self._put(text[position])
                position += 1

    def _put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append([])
        elif character == "\b":
            self.column = max(self.column - 1, 0)
        elif character >= " ":
            width = columns_of(character)
            if self.column + width > self.columns:
                self._put("\r")
                self._put("\n")
            line = self.lines[self.row]
            line.extend([(" ", "")] * (self.column + width - len(line)))
            line[self.column:self.column + width] = [(character, self.colour)] + [("", "")] * (width - 1)
            self.column += width
        elif character != "\a":
            raise ValueError(f"unknown control character {character!r}")

    def _escape(self, parameters, letter):
        if letter == "m":
            self.colour = "" if parameters in ("", "0") else parameters
        elif letter == "K" and parameters in ("", "0"):
            del self.lines[self.row][min(self.column, self.columns - 1):]
        else:
            raise ValueError(f"unknown escape code {parameters}{letter}")

    def text(self):
        """The lines, without blanks at their ends."""
        return ["".join(character for character, _ in line).rstrip() for line in self.lines]


class Terminal:
    """A command in a pseudo-terminal of its own, as its session's controlling one."""

    def __init__(self, command, columns, environment, folder):
        self.screen = Screen(columns)
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
                os.chdir(folder)
                os.execvpe(command[0], command, environment)
            finally:
                os._exit(127)
        self._part = b""  # of a character that is not whole yet

    def send(self, keys):
        os.write(self.fd, keys)

    def resize(self, columns):
        self.screen.columns = columns
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def read(self, seconds):
        """Waits for output that long, and shows it. False at its end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # nobody has the other end any more
            piece = b""
        self.output += piece
        whole = self._part + piece
        cut = len(whole)
        while cut > 0 and len(whole) - cut < 4 and whole[cut - 1] & 0xC0 == 0x80:
            cut -= 1
        if cut > 0 and whole[cut - 1] >= 0xC0:
            cut -= 1
        else:
            cut = len(whole)
        try:
            whole[cut:].decode()
            cut = len(whole)
        except UnicodeDecodeError:
            pass
        self.screen.feed(whole[:cut].decode())
        self._part = whole[cut:]
        return bool(piece)

    def wait(self, look=lambda screen: None, until=lambda screen: False, seconds=240):
        """Reads to the end of the output, or until `until` is true. Calls `look` after each piece."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.read(1):
                return
            look(self.screen)
            if until(self.screen):
                return
        raise TimeoutError("no end; the screen was:\n" + "\n".join(self.screen.text()))

    def end(self):
        """The exit code (minus a signal)."""
        self.wait()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
