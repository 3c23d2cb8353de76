#!/usr/bin/env python3
"""Types into an interactive shell on a terminal of its own and prints what the completed command is called with.

    type_in_shell.py bash|zsh SCRIPT TEXT...     sources SCRIPT; of each TEXT, "<TAB>" is the key. The commands in TEXT
                                                 have to be programs in the path that print a line "called: ..."
"""
import os
import pty
import re
import select
import sys

SHELLS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], "bind 'set enable-bracketed-paste off'; PS1='[ready]'"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; unset zle_bracketed_paste; unsetopt prompt_sp; PROMPT='[ready]'; RPROMPT="),
}
PROMPT = r"[\r\n]\[ready\]$"
DEADLINE_SECONDS = 100


class Shell:
    def __init__(self, command):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "dumb"
            os.execvp(command[0], command)

    def type(self, text):
        os.write(self.terminal, text.encode())

    def read_until(self, pattern):
        text = ""
        while not re.search(pattern, text):
            if not select.select([self.terminal], [], [], DEADLINE_SECONDS)[0]:
                sys.exit(f"no {pattern} in {DEADLINE_SECONDS} s; so far: {text!r}")
            text += os.read(self.terminal, 4096).decode(errors="replace")
        return text


def main():
    command, setup = SHELLS[sys.argv[1]]
    shell = Shell(command)
    # The prompt stands in what is typed too, but not at the beginning of a line.
    shell.type(f"{setup}; source {sys.argv[2]}\n")
    shell.read_until(PROMPT)
    for text in sys.argv[3:]:
        shell.type(text.replace("<TAB>", "\t") + "\n")
        print(re.search(r"\ncalled: (.*?)\r?\n", shell.read_until(r"\ncalled: (?s:.*)" + PROMPT)).group(1))


if __name__ == "__main__":
    main()
